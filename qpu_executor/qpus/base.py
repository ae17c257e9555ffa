"""The one interface between the manager and anything that takes shots.

An adapter is found by entry point (`qpu_executor.qpus`), is built from its
settings without side effects, and loads its SDK only in `open`. It decides
nothing: which chunk comes next, how long it is and whether it is repeated are
the manager's. It translates its SDK's errors, and never blocks the event loop.

`testing/contracts/qpu.py` is what every adapter has to pass.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from qpu_executor.errors import ProgramRefused
from qpu_executor.model.clock import Clock
from qpu_executor.model.states import QpuState
from qpu_executor.model.timing import CalibrationPlan
from qpu_executor.model.values import ChunkId, Instant
from qpu_executor.programs.program import Program, ProgramFacts


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an adapter can do; the manager plans with nothing else.

    `kinds`: kinds of programs that it runs. `slots`: chunks at once.
    `min_chunk_shots`, `max_chunk_shots`: limits of one chunk (None: none).
    `shot_rate_hz`: expected (None: unknown, measured as it goes).
    `can_ask`: an earlier incarnation's chunk can be asked about.
    `partial_results`: a stopped chunk gives the shots that it took.
    `send_ahead`: the next chunk may be handed over while one runs, begins right after it and
    can still be taken back. (Where chunks run beside each other, that is `slots`. The manager
    sends none ahead yet, since no device that it knows takes one.)
    `emulated`: no real atoms. `seeded`: counts follow from (seed, shot number).
    `setup_s`: expected before the first shot of a chunk; `switch_s`: on top of it where
    the chunk before was another task's; `layout_s`: on top of those where its register
    layout was another one. `can_calibrate`: a calibration starts when it is asked for;
    `calibration`: who starts it and how long it takes, as the QPU says (when it is due,
    `health` says). `limits`: for each of these that it can't do, the limit of the device or
    of its vendor's interface that is behind it.
    """

    kinds: frozenset[str]
    slots: int = 1
    min_chunk_shots: int = 1
    max_chunk_shots: int | None = None
    shot_rate_hz: float | None = None
    can_ask: bool = False
    partial_results: bool = False
    send_ahead: bool = False
    emulated: bool = False
    seeded: bool = False
    setup_s: float = 0.0
    switch_s: float = 0.0
    layout_s: float = 0.0
    can_calibrate: bool = False
    calibration: CalibrationPlan | None = None
    limits: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DeviceDescription:
    """`device_name` and, where the QPU is a Pulser device, its abstract representation (JSON)."""

    device_name: str
    pulser_device: str | None = None


@dataclass(frozen=True, slots=True)
class CalibrationStatus:
    """Where a QPU stands with its calibration, as far as it says so.

    `epoch`: that of shots taken now (None: unknown); `since`: when it began, which is
    the end of a calibration. `running`: one is going on now. `due_at`: when the next one
    is due (None: nobody knows). `quality`: a figure of merit, 0 to 1, as measured last: a QPU
    that measures it between calibrations reports the changes, any other the epoch's start.
    """

    epoch: str | None
    since: Instant | None = None
    running: bool = False
    due_at: Instant | None = None
    quality: float | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """`state` now, and the reason in words where it isn't UP; where it is, what an operator
    should look at all the same.

    `until`: when this is expected to change (None: unknown); it is looked at then.
    `outdated`: the device's limits aren't those that `capabilities` says any more, so it is
    DOWN, and the manager closes and opens the adapter to plan with the new ones.
    """

    state: QpuState
    reason: str = ""
    until: Instant | None = None
    calibration: CalibrationStatus | None = None
    outdated: bool = False


@dataclass(frozen=True, slots=True)
class ChunkOrder:
    """Run shots `first_shot .. first_shot + shots - 1` of a task.

    `seed` is the task's; an adapter with `seeded` draws shot i from (seed, i)
    alone, so that counts don't depend on how a task was cut into chunks.
    """

    chunk: ChunkId
    program: Program
    first_shot: int
    shots: int
    seed: int


class OutcomeKind(enum.Enum):
    """How a chunk ended, or that nobody knows."""

    FINISHED = "finished"
    STOPPED = "stopped"
    REFUSED = "refused"
    """The device refuses the program for good; its owner must act."""
    FAULT = "fault"
    """The device failed; the shots can be taken again."""
    NOT_KNOWN = "not known"
    """The QPU denies knowing the chunk: it never ran there, or was forgotten."""
    UNANSWERED = "unanswered"
    """The QPU doesn't answer: nobody knows what became of the chunk."""


@dataclass(frozen=True, slots=True)
class ChunkOutcome:
    """What became of a chunk.

    `counts`: bitstring -> times seen. `device_s`: seconds the QPU worked on the
    shots; `setup_s`: seconds before the first shot. `epoch`: calibration epoch,
    None where the device doesn't say. `started_at`, `ended_at`: microseconds on
    the manager's clock where the device says so, else None. `health`: the QPU's
    after the chunk, where that comes with the answer: the next chunk is planned with it.
    """

    kind: OutcomeKind
    counts: Mapping[str, int] = field(default_factory=dict, repr=False)
    device_s: float = 0.0
    setup_s: float = 0.0
    epoch: str | None = None
    message: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    started_at: Instant | None = None
    ended_at: Instant | None = None
    health: Health | None = field(default=None, compare=False)

    @property
    def shots(self) -> int:
        """Shots delivered: the sum of the counts."""
        return sum(self.counts.values())


class QpuAdapter(Protocol):
    """One QPU. All coroutines run on the manager's loop and must not block it."""

    @property
    def name(self) -> str:
        """The QPU's name in the site file."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do; constant between `open` and `close`."""

    async def open(self, clock: Clock, directory: Path) -> None:
        """Load the SDK and connect. Raises OperatorError (with what to type) if it can't.

        `clock`: the manager's, for whatever takes time here. `directory`: exists, and
        outlives the manager; the place for small files of its own, named after the QPU.
        """

    async def close(self) -> None:
        """Let go of everything. May be called twice, and under any other call, which then
        ends soon with an answer that it allows; never with a CancelledError.

        Running chunks of an emulator end as STOPPED; where they go on without the
        manager, whoever waits for them, or asks while it is closed, is told UNANSWERED,
        and they are found again once it is open.
        """

    async def describe(self) -> DeviceDescription:
        """The device as users have to build for it. Raises DeviceError."""

    async def health(self) -> Health:
        """Whether chunks can be sent now. Never raises."""

    def refusal(self, facts: ProgramFacts, shots: int) -> ProgramRefused | None:
        """Why this QPU can't run a program that its device allows; None if it can.

        Asked at admission with the task's shots (of all its chunks), so that a
        limit of the adapter's own (an emulator's memory, say) is told at once.
        """

    async def start(self, order: ChunkOrder) -> None:
        """Hand a chunk over; returns when the QPU has accepted it.

        Raises ProgramRefused (the owner's fault; never ran), DeviceError (never
        ran), or ManagerUnreachable (nobody knows: the chunk becomes UNKNOWN); closed
        meanwhile, one of the last two.
        """

    async def wait(self, chunk: ChunkId) -> ChunkOutcome:
        """Wait until the chunk ends. Never raises; a chunk it doesn't know is NOT_KNOWN.

        UNANSWERED for one of an earlier opening that it would have to look for: `ask` does.
        """

    async def ask(self, chunk: ChunkId) -> ChunkOutcome | None:
        """What became of a chunk, perhaps of an earlier incarnation. None: it runs now."""

    async def stop(self, chunk: ChunkId) -> None:
        """Ask for an early end; the outcome comes from `wait`. Unknown chunks are ignored."""

    async def calibrate(self) -> None:
        """Start a calibration, after the chunk that runs; `health` tells its course.

        Asked only with `can_calibrate`. Raises DeviceError if the QPU can't now.
        """


class AdapterFactory(Protocol):
    """What an entry point of the group `qpu_executor.qpus` names."""

    def __call__(self, name: str, settings: Mapping[str, Any]) -> QpuAdapter:
        """Build the adapter from its part of the site file. Raises ConfigError."""
