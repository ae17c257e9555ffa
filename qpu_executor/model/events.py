"""What happened: the only inputs of the scheduling core.

Past tense, frozen, flat, and never a program or a count inside. The manager
posts them, a replay reads them from the journal, a simulator makes them.
"""

from __future__ import annotations

from dataclasses import dataclass

from qpu_executor.model.states import QpuState
from qpu_executor.model.timing import Window
from qpu_executor.model.values import ChunkId, Instant, JobClass, QpuSpec, TaskSpec


@dataclass(frozen=True, slots=True)
class ClassesChanged:
    """The site's job classes are now these."""

    classes: tuple[JobClass, ...]


@dataclass(frozen=True, slots=True)
class QpuRegistered:
    """A QPU joined, or its specification changed."""

    qpu: QpuSpec


@dataclass(frozen=True, slots=True)
class QpuReported:
    """A QPU's state was seen to be this."""

    qpu: str
    state: QpuState
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TaskSubmitted:
    """A task was admitted."""

    task: TaskSpec


@dataclass(frozen=True, slots=True)
class TaskCancelAsked:
    """Somebody who may do so asked for the end of a task."""

    task_id: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TaskHoldAsked:
    """Somebody asked to keep a task back (a running chunk is finished first)."""

    task_id: int


@dataclass(frozen=True, slots=True)
class TaskReleaseAsked:
    """Somebody asked to let a held task go on."""

    task_id: int


@dataclass(frozen=True, slots=True)
class TaskRebound:
    """A task belongs to another session from now on, which has another end (None: none)."""

    task_id: int
    session_id: str
    session_ends_at: Instant | None = None


@dataclass(frozen=True, slots=True)
class ChunkStarted:
    """The QPU has accepted a chunk."""

    chunk: ChunkId


@dataclass(frozen=True, slots=True)
class ChunkFinished:
    """A chunk ended well. `shots`: delivered; `device_s`: seconds the QPU took for the shots;
    `setup_s`: seconds that it took before the first one.
    """

    chunk: ChunkId
    shots: int
    device_s: float
    setup_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ChunkStopped:
    """A chunk ended early on request. `shots`: partial shots that count (0 where none)."""

    chunk: ChunkId
    shots: int
    device_s: float
    setup_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ChunkLost:
    """A chunk's shots don't count, and the work can be done again.

    `fault`: the device failed at it (counts towards the task's limit of
    faults); false where it merely never ran there (a restart, say). `device_s`,
    `setup_s`: seconds that the QPU spent on it all the same, as far as it says so.
    """

    chunk: ChunkId
    reason: str
    fault: bool
    device_s: float = 0.0
    setup_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ChunkRefused:
    """The QPU refuses this program for good: the task's owner must act."""

    chunk: ChunkId
    reason: str


@dataclass(frozen=True, slots=True)
class ChunkUnanswered:
    """The QPU doesn't say what became of a chunk."""

    chunk: ChunkId
    reason: str


@dataclass(frozen=True, slots=True)
class TaskStopAsked:
    """An operator asked to stop a task's chunk now and to let the task wait again."""

    task_id: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StoppingRuleMet:
    """Somebody judged that a task has enough with `shots` counted shots, and why.

    Those that count already, or with them the ones of the chunk whose end is posted next.
    """

    task_id: int
    shots: int
    reason: str


@dataclass(frozen=True, slots=True)
class QpuDrained:
    """An operator asked that a QPU takes nothing new, whatever it reports of itself."""

    qpu: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class QpuResumed:
    """An operator asked that a drained QPU takes chunks again."""

    qpu: str


@dataclass(frozen=True, slots=True)
class WindowsChanged:
    """The windows of a QPU are now these: the ones that are on and all that are known."""

    qpu: str
    windows: tuple[Window, ...]


@dataclass(frozen=True, slots=True)
class CalibrationDue:
    """Somebody found that a QPU has to be calibrated.

    `due_at`: when; None: before it takes another chunk (what runs may end). An
    instant to come is planned for like that of the QPU's plan, which it replaces.
    """

    qpu: str
    reason: str = ""
    due_at: Instant | None = None


@dataclass(frozen=True, slots=True)
class CalibrationStarted:
    """A QPU is being calibrated; it takes no chunk until `CalibrationEnded`."""

    qpu: str


@dataclass(frozen=True, slots=True)
class CalibrationEnded:
    """A calibration is over, or one that ended earlier became known.

    `epoch`: the id of the new epoch, None where the device doesn't say.
    `ended_at`: None stands for now. `quality`: measured with it, if it was.
    `worked`: False leaves the epoch as it was.
    """

    qpu: str
    epoch: str | None = None
    ended_at: Instant | None = None
    quality: float | None = None
    worked: bool = True


@dataclass(frozen=True, slots=True)
class CalibrationReported:
    """A QPU reported the value of a metric."""

    qpu: str
    metric: str
    value: float


@dataclass(frozen=True, slots=True)
class WarmHoldAsked:
    """A session wants to keep a QPU for its next task; it may within the QPU's bounds.

    `linger_s`: how long the QPU waits after each of the session's tasks. `until_at`: the
    end of it all (past: the wish is over). `contiguous`: nobody else's task runs on the
    QPU until then. A QPU is kept for one session at a time; a run of another session that
    is on isn't ended by this, a linger is.
    """

    session_id: str
    qpu: str
    account: str
    owner: str
    linger_s: float
    until_at: Instant
    contiguous: bool = False


@dataclass(frozen=True, slots=True)
class WokenUp:
    """The instant that `next_wakeup()` named has come."""


Event = (
    ClassesChanged
    | QpuRegistered
    | QpuReported
    | TaskSubmitted
    | TaskCancelAsked
    | TaskHoldAsked
    | TaskReleaseAsked
    | TaskRebound
    | ChunkStarted
    | ChunkFinished
    | ChunkStopped
    | ChunkLost
    | ChunkRefused
    | ChunkUnanswered
    | TaskStopAsked
    | StoppingRuleMet
    | QpuDrained
    | QpuResumed
    | WindowsChanged
    | CalibrationDue
    | CalibrationStarted
    | CalibrationEnded
    | CalibrationReported
    | WarmHoldAsked
    | WokenUp
)
