"""What a manager and an emulator farm say to each other: JSON over HTTP, version 1.

Both sides validate what they get with these shapes and bound its size, so neither can be
made to load anything but numbers and text. Routes and rules: `docs/qpus/farm.md`.
Requests refuse unknown fields; answers may gain some in later versions.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

PROTOCOL = 1
CHUNKS = "/v1/chunks"
HEALTH = "/v1/health"
CAPABILITIES = "/v1/capabilities"
DEVICE = "/v1/device"

MAX_REQUEST_BYTES = 8 << 20
"""Of a request: a chunk with its program."""
MAX_ANSWER_BYTES = 64 << 20
"""Of an answer: a chunk's counts, or a device."""
MAX_WAIT_S = 30.0
"""How long the farm holds a question about a chunk that runs."""

Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,100}$")]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Bitstring = Annotated[str, Field(pattern=r"^[01]{1,4096}$")]
State = Literal["running", "finished", "stopped", "refused", "fault"]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class ChunkRequest(_Request):
    """Shots `first_shot .. first_shot + shots - 1` of a program; `id` names them for good."""

    id: Key
    kind: Annotated[str, Field(max_length=100)]
    content: Annotated[str, Field(max_length=MAX_REQUEST_BYTES)]
    first_shot: Annotated[int, Field(ge=0, lt=2**62)]
    shots: Annotated[int, Field(ge=1, le=10**7)]
    seed: Annotated[int, Field(ge=0, lt=2**128)]


class ChunkReport(_Answer):
    """What a chunk is doing, or how it ended; `counts` where it finished.

    `device_s`: seconds of drawing shots; `setup_s`: seconds before, of emulation and waiting.
    """

    id: Key
    state: State
    counts: dict[Bitstring, Annotated[int, Field(gt=0)]] = {}
    device_s: Seconds = 0.0
    setup_s: Seconds = 0.0
    message: str = ""
    versions: dict[str, str] = {}


class FarmHealth(_Answer):
    """Whether chunks are taken. `farm`: this start of the farm; `device`: hash of its device."""

    protocol: int
    farm: str
    device: str
    state: Literal["up", "down"]
    reason: str = ""
    running: Annotated[int, Field(ge=0)] = 0
    workers: Annotated[int, Field(ge=0)] = 0


class FarmCapabilities(_Answer):
    """What the farm can do; constant as long as `FarmHealth.farm` is the same.

    `kinds`: of programs; `slots`: chunks at once; `backends`: emulators, with versions.
    The others are limits of one emulation (`emulator_choice.EmulationLimits`).
    """

    protocol: int
    version: str
    kinds: list[str]
    slots: Annotated[int, Field(ge=1, le=10_000)]
    max_chunk_shots: Annotated[int, Field(ge=1)] | None = None
    backends: dict[str, str]
    backend: str | None = None
    max_atoms: Annotated[int, Field(ge=1)]
    memory_bytes: Annotated[float, Field(gt=0)]
    run_s: Annotated[float, Field(gt=0)]
    max_bond_dim: Annotated[int, Field(ge=1)]


class FarmDevice(_Answer):
    """The device that programs are checked against: Pulser's abstract representation (JSON)."""

    name: Annotated[str, Field(min_length=1)]
    pulser_device: str


class Problem(_Answer):
    """Why a request was refused. `error`: a code; `rule`: where a program was refused."""

    error: Literal[
        "bad-request", "unauthorised", "unknown", "conflict", "refused", "too-large", "unavailable"
    ]
    message: str
    rule: str | None = None
    next_step: str | None = None
