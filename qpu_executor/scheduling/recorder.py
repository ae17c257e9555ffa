"""Moves and the commands that save them, made together so that they can't differ."""

from __future__ import annotations

from qpu_executor.model.states import ChunkState, TaskState
from qpu_executor.model.timing import Instant
from qpu_executor.scheduling.admission import Limits
from qpu_executor.scheduling.commands import (
    Command,
    DiscardShots,
    SaveChunk,
    SaveHold,
    SaveTask,
    StartCalibration,
    StartChunk,
    StopChunk,
)
from qpu_executor.scheduling.state import Chunk, Task
from qpu_executor.scheduling.transitions import CHUNK_MOVES, TASK_MOVES, Story


class Recorder:
    """Changes the states of tasks and chunks, and collects the commands of one event.

    `limits`: counts the tasks by their state.
    """

    __slots__ = ("_limits", "cause", "commands", "discarded", "story")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.cause = 0
        self.commands: list[Command] = []
        self.discarded: list[Task] = []
        self.story = Story()

    def begin(self) -> list[Command]:
        """Number the next event; its commands will be in the list that is returned."""
        self.cause += 1
        self.commands = []
        return self.commands

    def task(
        self,
        task: Task,
        state: TaskState,
        *,
        error: str | None = None,
        permanent: bool = False,
        stopped_early: str | None = None,
    ) -> None:
        """Move a task. Raises InternalError for an illegal move."""
        if state not in TASK_MOVES[task.state]:
            raise self.story.illegal_task(task.task_id, task.state, state)
        self.story.note((self.cause, task.task_id, state))
        if self._limits.active:
            self._limits.moved(task, task.state, state)
        task.state = state
        done = task.shots_done
        self.commands.append(
            SaveTask(self.cause, task.task_id, state, done, error, permanent, stopped_early)
        )

    def chunk(
        self,
        chunk: Chunk,
        state: ChunkState,
        *,
        counted: int = 0,
        reason: str = "",
        charged_s: float = 0.0,
    ) -> None:
        """Move a chunk that is out. `counted`: its shots that count."""
        if state not in CHUNK_MOVES[chunk.state]:
            raise self.story.illegal_chunk(chunk.id, chunk.state, state)
        self.story.note((self.cause, chunk.id.task_id, state))
        chunk.state = state
        self.commands.append(SaveChunk(self.cause, chunk.id, state, counted, reason, charged_s))

    def start(self, chunk: Chunk, epoch: str | None) -> None:
        """Send a new chunk in the QPU's current epoch."""
        self.story.note((self.cause, chunk.id.task_id, ChunkState.SENT))
        self.commands.append(
            StartChunk(self.cause, chunk.id, chunk.qpu, chunk.first_shot, chunk.shots, epoch)
        )

    def stop(self, chunk: Chunk, reason: str) -> None:
        """Ask for an early end of a chunk, once."""
        if not chunk.stop_asked:
            chunk.stop_asked = True
            self.commands.append(StopChunk(self.cause, chunk.id, chunk.qpu, reason))

    def stop_noted(self, chunk: Chunk, why: str) -> None:
        """The same, and the first reason goes on record with the chunk's end."""
        chunk.note = chunk.note or why
        self.stop(chunk, why)

    def discard(self, task: Task, reason: str) -> None:
        """What the task has counted so far counts no longer."""
        self.discarded.append(task)
        if task.shots_done:
            self.commands.append(DiscardShots(self.cause, task.task_id, task.shots_done, reason))
        task.shots_done = 0
        if task.early_stop is not None:
            task.early_stop.shots = None

    def calibrate(self, qpu: str, reason: str) -> None:
        """Ask an idle QPU for a calibration."""
        self.commands.append(StartCalibration(self.cause, qpu, reason))

    def hold(
        self, qpu: str, session_id: str, since_at: Instant, ended_at: Instant, charged_s: float
    ) -> None:
        """A QPU was kept for a session."""
        self.commands.append(SaveHold(self.cause, qpu, session_id, since_at, ended_at, charged_s))
