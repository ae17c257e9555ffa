"""Every legal move of a task and of a chunk, in one table each.

A move that isn't in its table is a mistake of ours: `InternalError`, with what
happened to the task lately. `None` stands for "not there yet". The state
diagrams of the documentation are rendered from these tables.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TypeVar

from qpu_executor.errors import InternalError
from qpu_executor.model.states import ChunkState, TaskState
from qpu_executor.model.values import ChunkId

_S = TypeVar("_S", TaskState, ChunkState)

TASK_MOVES: Mapping[TaskState | None, Mapping[TaskState, str]] = {
    None: {
        TaskState.QUEUED: "submitted",
        TaskState.HELD: "submitted as held",
    },
    TaskState.HELD: {
        TaskState.QUEUED: "released",
        TaskState.COMPLETED: "enough shots",
        TaskState.FAILED: "can't run any more",
        TaskState.CANCELLED: "cancelled",
    },
    TaskState.QUEUED: {
        TaskState.RUNNING: "chunk sent",
        TaskState.HELD: "held",
        TaskState.COMPLETED: "enough shots",
        TaskState.FAILED: "can't run any more",
        TaskState.CANCELLED: "cancelled",
    },
    TaskState.RUNNING: {
        TaskState.RUNNING: "next chunk",
        TaskState.QUEUED: "gives way, shots kept",
        TaskState.HELD: "held, chunk ended",
        TaskState.COMPLETED: "all shots counted, or enough",
        TaskState.FAILED: "refused, too many faults, time limit",
        TaskState.CANCELLED: "cancelled, chunk ended",
    },
    TaskState.COMPLETED: {},
    TaskState.FAILED: {},
    TaskState.CANCELLED: {},
}

CHUNK_MOVES: Mapping[ChunkState | None, Mapping[ChunkState, str]] = {
    None: {ChunkState.SENT: "saved"},
    ChunkState.SENT: {
        ChunkState.RUNNING: "accepted",
        ChunkState.UNKNOWN: "no answer",
        ChunkState.FINISHED: "all shots",
        ChunkState.STOPPED: "stopped",
        ChunkState.LOST: "fault, refusal, never ran",
    },
    ChunkState.RUNNING: {
        ChunkState.UNKNOWN: "no answer",
        ChunkState.FINISHED: "all shots",
        ChunkState.STOPPED: "stopped",
        ChunkState.LOST: "fault, refusal",
    },
    ChunkState.UNKNOWN: {
        ChunkState.RUNNING: "runs after all",
        ChunkState.FINISHED: "had finished",
        ChunkState.STOPPED: "had stopped",
        ChunkState.LOST: "denied",
    },
    ChunkState.FINISHED: {},
    ChunkState.STOPPED: {},
    ChunkState.LOST: {},
}

_STORY_MOVES = 512


class Story:
    """The latest moves of all tasks, for the message of an `InternalError`.

    Bounded, so that its memory doesn't grow with the number of tasks. `note`: takes a
    move (number of the event, task id, new state).
    """

    __slots__ = ("_moves", "note")

    def __init__(self) -> None:
        self._moves: deque[tuple[int, int, str]] = deque(maxlen=_STORY_MOVES)
        self.note = self._moves.append

    def illegal_task(self, task_id: int, old: TaskState | None, new: TaskState) -> InternalError:
        """The error for a move that isn't in `TASK_MOVES`."""
        return self.error(f"illegal move {_name(old)} -> {new}", task_id)

    def illegal_chunk(
        self, chunk: ChunkId, old: ChunkState | None, new: ChunkState
    ) -> InternalError:
        """The error for a move that isn't in `CHUNK_MOVES`."""
        return self.error(f"chunk {chunk.n}: illegal move {_name(old)} -> {new}", chunk.task_id)

    def of(self, task_id: int) -> list[str]:
        """What happened to a task lately, oldest first, as `"#event STATE"`."""
        return [f"#{cause} {what}" for cause, which, what in self._moves if which == task_id]

    def error(self, message: str, task_id: int) -> InternalError:
        """An error that tells the task's story (for the caller to raise)."""
        story = ", ".join(self.of(task_id)) or "nothing noted"
        return InternalError(
            f"{message} (lately: {story})",
            where=f"task {task_id}",
            next_step="please report this with the manager's log",
        )


def state_diagram(moves: Mapping[_S | None, Mapping[_S, str]]) -> str:
    """A table of moves as Mermaid text (`stateDiagram-v2`), ends in a newline."""
    lines = ["stateDiagram-v2"]
    for old, targets in moves.items():
        start = "[*]" if old is None else str(old)
        lines += [f"    {start} --> {new}: {label}" for new, label in targets.items()]
        if not targets:
            lines.append(f"    {start} --> [*]")
    return "\n".join(lines) + "\n"


def _name(state: TaskState | ChunkState | None) -> str:
    return "(new)" if state is None else str(state)
