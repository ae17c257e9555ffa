"""What the core asks for: imperative, frozen, flat.

The manager saves every command of an event in one transaction and only then
lets `StartChunk` and `StopChunk` reach a device. `cause` is the number of the
event that led to the command (the core counts its events from 1).
"""

from __future__ import annotations

from dataclasses import dataclass

from qpu_executor.model.states import ChunkState, TaskState
from qpu_executor.model.values import ChunkId


@dataclass(frozen=True, slots=True)
class SaveTask:
    """Record a task's state. `shots_done`: counted so far. `error`: why it FAILED."""

    cause: int
    task_id: int
    state: TaskState
    shots_done: int
    error: str | None = None
    permanent: bool = False


@dataclass(frozen=True, slots=True)
class SaveChunk:
    """Record a chunk's state. `shots_counted`: those that count for the task."""

    cause: int
    chunk: ChunkId
    state: ChunkState
    shots_counted: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StartChunk:
    """Save the chunk as SENT, then hand it to the QPU.

    `first_shot`: the index, within the task, of its first shot: with the task's
    seed it determines the shots, however the task was cut into chunks.
    """

    cause: int
    chunk: ChunkId
    qpu: str
    first_shot: int
    shots: int


@dataclass(frozen=True, slots=True)
class StopChunk:
    """Ask the QPU to end a chunk early. What became of it arrives as an event."""

    cause: int
    chunk: ChunkId
    qpu: str
    reason: str


Command = SaveTask | SaveChunk | StartChunk | StopChunk
