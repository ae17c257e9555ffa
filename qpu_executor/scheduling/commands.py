"""What the core asks for: imperative, frozen, flat.

The manager saves every command of an event in one transaction and only then
lets `StartChunk` and `StopChunk` reach a device. `cause` is the number of the
event that led to the command (the core counts its events from 1). Those that nearly
every decision makes are named tuples: those are made in a third of the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from qpu_executor.model.states import ChunkState, TaskState
from qpu_executor.model.values import ChunkId, Instant


class SaveTask(NamedTuple):
    """Record a task's state. `shots_done`: counted so far. `error`: why it FAILED.

    `stopped_early`: why it is COMPLETED with fewer shots than it asked for.
    """

    cause: int
    task_id: int
    state: TaskState
    shots_done: int
    error: str | None = None
    permanent: bool = False
    stopped_early: str | None = None


class SaveChunk(NamedTuple):
    """Record a chunk's state. `shots_counted`: those that count for the task.

    `charged_s`: seconds that its account was charged for it.
    """

    cause: int
    chunk: ChunkId
    state: ChunkState
    shots_counted: int = 0
    reason: str = ""
    charged_s: float = 0.0


class StartChunk(NamedTuple):
    """Save the chunk as SENT, then hand it to the QPU.

    `first_shot`: the index, within the task, of its first shot: with the task's
    seed it determines the shots, however the task was cut into chunks. `epoch`: the
    QPU's calibration epoch as far as it is known.
    """

    cause: int
    chunk: ChunkId
    qpu: str
    first_shot: int
    shots: int
    epoch: str | None = None


@dataclass(frozen=True, slots=True)
class StopChunk:
    """Ask the QPU to end a chunk early. What became of it arrives as an event."""

    cause: int
    chunk: ChunkId
    qpu: str
    reason: str


@dataclass(frozen=True, slots=True)
class DiscardShots:
    """Record that the shots a task had counted so far count no longer (they stay on record).

    `shots`: how many. What the device took for them is charged as the site's table says.
    """

    cause: int
    task_id: int
    shots: int
    reason: str


@dataclass(frozen=True, slots=True)
class StartCalibration:
    """Ask an idle QPU to calibrate itself. Its start and end arrive as events."""

    cause: int
    qpu: str
    reason: str


@dataclass(frozen=True, slots=True)
class SaveHold:
    """Record that a QPU was kept for a session, idle, between two instants. `charged_s`:
    seconds charged for it to the session's account.
    """

    cause: int
    qpu: str
    session_id: str
    since_at: Instant
    ended_at: Instant
    charged_s: float


Command = SaveTask | SaveChunk | StartChunk | StopChunk | DiscardShots | StartCalibration | SaveHold
