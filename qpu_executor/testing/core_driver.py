"""Drives a Scheduler as a manager would, and checks its laws after every event.

The driver keeps books of its own, from the events it posts and the commands it
gets, and compares: shots counted (law 1), chunks per slot (law 2), boundaries
(law 3, in `calendar_book.py`), moves, one final state per task. It knows nothing of
how the core decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from qpu_executor.model.events import (
    ChunkFinished,
    ChunkStopped,
    Event,
    QpuRegistered,
    QpuReported,
    StoppingRuleMet,
    TaskCancelAsked,
    TaskRebound,
    TaskSubmitted,
)
from qpu_executor.model.states import ChunkState, DependencyKind, QpuState, TaskState
from qpu_executor.model.timing import Timing
from qpu_executor.model.values import ChunkId, Instant, TaskSpec
from qpu_executor.scheduling.commands import (
    Command,
    DiscardShots,
    SaveChunk,
    SaveTask,
    StartCalibration,
    StartChunk,
    StopChunk,
)
from qpu_executor.scheduling.scheduler import Scheduler
from qpu_executor.scheduling.transitions import CHUNK_MOVES, TASK_MOVES
from qpu_executor.testing.calendar_book import CalendarBook


def task_spec(task_id: int, **changes: Any) -> TaskSpec:
    """A task of 100 shots for the QPU "alpha", submitted at instant `task_id`."""
    values: dict[str, Any] = {
        "owner": "ada",
        "account": "physics",
        "job_class": "development",
        "shots": 100,
        "qpus": ("alpha",),
        "submitted_at": task_id,
    }
    return TaskSpec(task_id=task_id, **{**values, **changes})


@dataclass(slots=True)
class TaskBook:
    """What the driver knows of a task. `counted`: shots, by the driver's own count;
    `saved`: by the chunks that the core saved. `enough`: with so many shots its stopping
    rule is met, as far as the driver said so; `stopped_early`: why it has fewer than asked."""

    spec: TaskSpec
    state: TaskState | None = None
    counted: int = 0
    saved: int = 0
    chunks: int = 0
    error: str | None = None
    permanent: bool = False
    enough: int | None = None
    stopped_early: str | None = None
    history: list[TaskState] = field(default_factory=list)


@dataclass(slots=True)
class CoreDriver:
    """A scheduler and the books about it. `out`: the chunks at the QPUs, with their states.

    `now` grows by `step` microseconds with every event.
    """

    scheduler: Scheduler = field(default_factory=Scheduler)
    now: Instant = 0
    step: int = 1000
    tasks: dict[int, TaskBook] = field(default_factory=dict)
    out: dict[ChunkId, StartChunk] = field(default_factory=dict)
    states: dict[ChunkId, ChunkState] = field(default_factory=dict)
    slots: dict[str, int] = field(default_factory=dict)
    up: set[str] = field(default_factory=set)
    stops: set[ChunkId] = field(default_factory=set)
    cancels: set[ChunkId] = field(default_factory=set)
    calendar: CalendarBook = field(default_factory=CalendarBook)
    events: int = 0

    def post(self, *events: Event) -> list[Command]:
        """Post events, check everything after each; the commands of all of them, in order."""
        commands: list[Command] = []
        for event in events:
            commands += self._post(event)
        return commands

    def _post(self, event: Event) -> list[Command]:
        self.now += self.step
        self.events += 1
        if isinstance(event, TaskSubmitted):
            self.tasks[event.task.task_id] = TaskBook(event.task)
        elif isinstance(event, TaskRebound) and event.task_id in self.tasks:
            self._rebind(event)
        elif isinstance(event, QpuRegistered):
            self.slots[event.qpu.name] = event.qpu.slots
            self._report(event.qpu.name, event.qpu.state)
        elif isinstance(event, QpuReported):
            self._report(event.qpu, event.state)
        elif isinstance(event, ChunkFinished | ChunkStopped) and event.chunk in self.out:
            book = self.tasks[event.chunk.task_id]
            book.counted += min(event.shots, book.spec.shots - book.counted)
        elif isinstance(event, TaskCancelAsked):
            self.cancels |= {chunk for chunk in self.out if chunk.task_id == event.task_id}
        elif isinstance(event, StoppingRuleMet) and event.task_id in self.live():
            self.tasks[event.task_id].enough = event.shots
        self.calendar.note(event, self.now)
        commands = self.scheduler.handle(event, self.now)
        for command in commands:
            assert command.cause == self.events, command
            self._apply(command)
        self._compare()
        return commands

    def _rebind(self, event: TaskRebound) -> None:
        book = self.tasks[event.task_id]
        timing = replace(book.spec.timing or Timing(), session_ends_at=event.session_ends_at)
        book.spec = replace(book.spec, session_id=event.session_id, timing=timing)

    def _report(self, qpu: str, state: QpuState) -> None:
        if state is QpuState.UP:
            self.up.add(qpu)
        else:
            self.up.discard(qpu)

    def _apply(self, command: Command) -> None:
        match command:
            case SaveTask():
                self._save_task(command)
            case SaveChunk():
                self._save_chunk(command)
            case StartChunk():
                self._start(command)
            case StopChunk():
                assert command.chunk in self.out, command
                assert command.chunk not in self.stops, command
                self.stops.add(command.chunk)
            case DiscardShots():
                book = self.tasks[command.task_id]
                assert command.shots == book.counted == book.saved > 0, (book, command)
                self.calendar.check_discard(book.spec, command)
                book.counted = book.saved = 0
                book.enough = None
            case StartCalibration():
                assert not self.busy(command.qpu), command
                self.calendar.check_calibration(command, self.now)

    def _save_task(self, command: SaveTask) -> None:
        book = self.tasks[command.task_id]
        assert command.state in TASK_MOVES[book.state], (book.history, command)
        assert command.shots_done == book.counted == book.saved, (book, command)
        assert (command.error is not None) == (command.state is TaskState.FAILED), command
        book.state = command.state
        book.history.append(command.state)
        book.error, book.permanent = command.error, command.permanent
        book.stopped_early = command.stopped_early

    def _save_chunk(self, command: SaveChunk) -> None:
        assert command.state in CHUNK_MOVES[self.states[command.chunk]], command
        self.states[command.chunk] = command.state
        if command.state.ended:
            del self.out[command.chunk]
            self.tasks[command.chunk.task_id].saved += command.shots_counted
        else:
            assert command.shots_counted == 0, command

    def _start(self, command: StartChunk) -> None:
        book = self.tasks[command.chunk.task_id]
        assert book.state is TaskState.RUNNING, command
        assert command.chunk.n == book.chunks, command
        assert command.first_shot == book.counted, command
        assert command.qpu in book.spec.qpus, command
        assert command.qpu in self.up, command
        rate_hz = view.rate_hz if (view := self.scheduler.qpu(command.qpu)) else None
        self.calendar.check_start(book.spec, command, book.counted, rate_hz, self.now)
        self._check_dependencies(book.spec)
        assert command.shots > 0, command
        assert command.chunk.task_id not in {chunk.task_id for chunk in self.out}, command
        assert self.busy(command.qpu) < self.slots[command.qpu], command
        book.chunks += 1
        self.out[command.chunk] = command
        self.states[command.chunk] = ChunkState.SENT

    def _compare(self) -> None:
        self.scheduler.check()
        running = {chunk.task_id for chunk in self.out}
        for task_id, book in self.tasks.items():
            assert book.counted <= book.spec.shots, book
            assert (book.state is TaskState.RUNNING) == (task_id in running), (task_id, book)
            self._compare_early_stop(book)
        for chunk in self.cancels - self.out.keys():
            book = self.tasks[chunk.task_id]
            assert book.state in (TaskState.CANCELLED, TaskState.FAILED), chunk
            assert book.state is TaskState.CANCELLED or book.error, chunk

    def _compare_early_stop(self, book: TaskBook) -> None:
        """Complete means all shots, or enough and a reason; who has enough doesn't go on."""
        missing = book.counted < book.spec.shots
        enough = missing and book.enough is not None and book.counted >= book.enough
        if book.state is TaskState.COMPLETED:
            assert not missing or enough, book
            assert (book.stopped_early is not None) == missing, book
            assert not missing or book.counted >= (book.spec.min_shots or book.spec.shots), book
            return
        assert book.stopped_early is None, book
        if book.state in (TaskState.QUEUED, TaskState.HELD):
            assert not enough, book

    def _check_dependencies(self, spec: TaskSpec) -> None:
        for dependency in spec.timing.depends_on if spec.timing is not None else ():
            other = self.tasks[dependency.task_id]
            assert other.state is not None, dependency
            assert other.state.final, dependency
            if dependency.kind is DependencyKind.AFTER_OK:
                assert other.state is TaskState.COMPLETED, dependency

    def busy(self, qpu: str) -> int:
        """Chunks that are at a QPU."""
        return sum(start.qpu == qpu for start in self.out.values())

    def live(self) -> Sequence[int]:
        """Ids of the tasks that haven't ended."""
        return [i for i, book in self.tasks.items() if not (book.state and book.state.final)]
