"""Moves and the commands that save them, made together so that they can't differ."""

from __future__ import annotations

from qpu_executor.model.states import ChunkState, TaskState
from qpu_executor.scheduling.commands import Command, SaveChunk, SaveTask, StartChunk, StopChunk
from qpu_executor.scheduling.state import Chunk, Task
from qpu_executor.scheduling.transitions import Story


class Recorder:
    """Changes the states of tasks and chunks, and collects the commands of one event."""

    __slots__ = ("cause", "commands", "story")

    def __init__(self) -> None:
        self.cause = 0
        self.commands: list[Command] = []
        self.story = Story()

    def begin(self) -> list[Command]:
        """Number the next event; its commands will be in the list that is returned."""
        self.cause += 1
        self.commands = []
        return self.commands

    def task(
        self, task: Task, state: TaskState, *, error: str | None = None, permanent: bool = False
    ) -> None:
        """Move a task."""
        self.story.move_task(self.cause, task.task_id, task.state, state)
        task.state = state
        self.commands.append(
            SaveTask(self.cause, task.task_id, state, task.shots_done, error, permanent)
        )

    def chunk(self, chunk: Chunk, state: ChunkState, *, counted: int = 0, reason: str = "") -> None:
        """Move a chunk that is out. `counted`: its shots that count."""
        self.story.move_chunk(self.cause, chunk.id, chunk.state, state)
        chunk.state = state
        self.commands.append(SaveChunk(self.cause, chunk.id, state, counted, reason))

    def start(self, chunk: Chunk) -> None:
        """Send a new chunk."""
        self.story.move_chunk(self.cause, chunk.id, None, ChunkState.SENT)
        self.commands.append(
            StartChunk(self.cause, chunk.id, chunk.qpu, chunk.first_shot, chunk.shots)
        )

    def stop(self, chunk: Chunk, reason: str) -> None:
        """Ask for an early end of a chunk, once."""
        if not chunk.stop_asked:
            chunk.stop_asked = True
            self.commands.append(StopChunk(self.cause, chunk.id, chunk.qpu, reason))
