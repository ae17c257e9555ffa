"""What happened: the only inputs of the scheduling core.

Past tense, frozen, flat, and never a program or a count inside. The manager
posts them, a replay reads them from the journal, a simulator makes them.
"""

from __future__ import annotations

from dataclasses import dataclass

from qpu_executor.model.states import QpuState
from qpu_executor.model.values import ChunkId, JobClass, QpuSpec, TaskSpec


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
class ChunkStarted:
    """The QPU has accepted a chunk."""

    chunk: ChunkId


@dataclass(frozen=True, slots=True)
class ChunkFinished:
    """A chunk ended well. `shots`: delivered; `device_s`: seconds the QPU took for the shots."""

    chunk: ChunkId
    shots: int
    device_s: float


@dataclass(frozen=True, slots=True)
class ChunkStopped:
    """A chunk ended early on request. `shots`: partial shots that count (0 where none)."""

    chunk: ChunkId
    shots: int
    device_s: float


@dataclass(frozen=True, slots=True)
class ChunkLost:
    """A chunk's shots don't count, and the work can be done again.

    `fault`: the device failed at it (counts towards the task's limit of
    faults); false where it merely never ran there (a restart, say).
    """

    chunk: ChunkId
    reason: str
    fault: bool


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
    | ChunkStarted
    | ChunkFinished
    | ChunkStopped
    | ChunkLost
    | ChunkRefused
    | ChunkUnanswered
    | WokenUp
)
