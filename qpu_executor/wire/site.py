"""QPUs, classes, sessions, the manager itself and its events on the wire (API v1)."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from qpu_executor.model.states import QpuState, TaskState
from qpu_executor.wire.tasks import Answer

API_VERSION = 1


class HealthOut(Answer):
    """Who answers. `instance`: another one means that the manager was restarted."""

    product: str = "qpu-executor"
    version: str
    api_versions: list[int]
    instance: str
    embedded: bool
    host: str
    caller: str = Field(description="who the manager takes the caller for")
    cursor: int = Field(description="number of the newest journal entry")
    now: datetime


class CapacityOut(Answer):
    """Chunks at once: free and in all."""

    available_slots: int
    max_slots: int


class QpuOut(Answer):
    """A QPU, in the words of QRMI's status() where it has one."""

    name: str
    kind: str
    status: Literal["online", "offline", "paused"]
    status_reason: str | None
    healthy: bool
    busy: bool
    capacity: CapacityOut
    pending_job_count: int
    state: QpuState
    device: str
    emulated: bool
    max_chunk_shots: int | None
    shot_rate_hz: float | None = Field(description="measured, else expected, else null")
    running: list[int] = Field(description="ids of the tasks that it works on (the caller's own)")
    epoch: str | None = None
    kept_until: datetime | None = Field(
        default=None, description="it is kept warm for a session until then at the latest"
    )


class QpuDetail(QpuOut):
    """A QPU with its Pulser device (abstract representation, JSON text), where it is one."""

    pulser_device: str | None


class QpuList(Answer):
    """All QPUs of the site."""

    qpus: list[QpuOut]


class JobClassOut(Answer):
    """A job class of the site."""

    name: str
    priority: int
    chunk_s: float
    max_shots: int | None
    description: str
    default: bool


class JobClassList(Answer):
    """All job classes, the most urgent first."""

    classes: list[JobClassOut]


class EventOut(Answer):
    """One entry of the event stream (`data:` of a server-sent event, its number as `id:`).

    Types: `task` (a state change, durable, numbered), `progress` (shots so far,
    unnumbered, may be skipped), `hello` (first on every stream).
    """

    type: Literal["task", "progress", "hello"]
    n: int | None = None
    task: int | None = None
    state: TaskState | None = None
    shots_done: int | None = None
    shots: int | None = None
    session: str | None = None
    reason: str | None = None
    at: datetime | None = None
    instance: str | None = None
