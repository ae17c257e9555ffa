"""QPUs, classes, sessions, the manager itself and its events on the wire (API v1)."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from qpu_executor.model.states import QpuState, TaskState
from qpu_executor.wire.policy import WindowOut
from qpu_executor.wire.tasks import Answer


class HealthOut(Answer):
    """Who answers. `instance`: another one means that the manager was restarted.

    `versions`: of Python and of what programs and QPUs depend on, on the manager's side.
    """

    product: str = "qpu-executor"
    version: str
    api_versions: list[int] = Field(description="of the API that it speaks, the oldest first")
    instance: str
    embedded: bool
    host: str
    caller: str = Field(description="who the manager takes the caller for")
    cursor: int = Field(description="number of the newest journal entry")
    now: datetime
    versions: dict[str, str] = Field(default_factory=dict)
    session_leases: bool = Field(
        default=False, description="sessions may have leases and name their Slurm jobs"
    )
    host_now: datetime | None = Field(
        default=None, description="the clock of the manager's host; `now` may run faster"
    )
    clock_ahead_s: float = Field(
        default=0.0,
        description="how far `now` is ahead of that (negative: behind) although it should be "
        "the same",
    )


class CapacityOut(Answer):
    """Chunks at once: free and in all."""

    available_slots: int
    max_slots: int


class CalibrationOut(Answer):
    """Where a QPU stands with its calibration; null: nobody knows.

    `epoch`: that of shots taken now. `since`: when the last calibration ended, `age_s` ago.
    `quality`: the latest value of the metric that is watched.
    """

    epoch: str | None
    since: datetime | None
    age_s: float | None
    due_at: datetime | None
    running: bool
    overdue: bool = Field(description="it was due, and nobody has reported one")
    quality: float | None


class CanOut(Answer):
    """What a QPU's adapter can do. What it can't, and whose limit that is, is in `limits`."""

    kinds: list[str] = Field(description="kinds of programs that it runs")
    min_chunk_shots: int
    partial_results: bool = Field(description="a stopped chunk gives the shots that it took")
    can_ask: bool = Field(description="a chunk of an earlier manager can be asked about")
    seeded: bool = Field(description="equal seeds give equal counts")
    can_calibrate: bool = Field(description="a calibration starts when it is asked for")
    setup_s: float = Field(description="expected before the first shot of a chunk")
    switch_s: float = Field(description="on top of that after another task's chunk")
    layout_s: float = Field(description="on top of those after another register layout")


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
    shot_rate_measured: bool = Field(
        default=False, description="shot_rate_hz was measured, and isn't just expected"
    )
    calibration: CalibrationOut | None = Field(
        default=None, description="null: nobody calibrates it, or says so"
    )
    next_window: WindowOut | None = Field(default=None, description="that is on, or comes next")
    job_classes: list[str] = Field(
        default_factory=list, description="whose tasks may run on it, the most urgent first"
    )
    can: CanOut | None = Field(default=None, description="null: an older manager doesn't say")
    limits: dict[str, str] = Field(
        default_factory=dict, description="what it can't do -> the documented limit behind that"
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
    qpus: list[str] | None = Field(default=None, description="null: all")
    fallback: list[str] = Field(default_factory=list, description="besides, and after those")
    max_queued: int | None = Field(default=None, description="waiting tasks of a user")
    max_running: int | None = Field(default=None, description="running tasks of a user")
    qpu_s_per_day: float | None = Field(default=None, description="charged to a user")
    min_share: float = Field(default=0.0, description="of the open QPU time, while it has work")
    allowed: bool = Field(default=True, description="the caller may submit tasks of it")


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
