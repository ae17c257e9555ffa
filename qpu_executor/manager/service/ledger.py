"""One batch of the manager's loop: what is to be saved, done and told, in this order.

The ledger turns the core's commands into changes of the store, journal rows
and orders for the devices. Nothing of it happens before the store has
committed the changes; if that fails, all of it is tried again as one.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace

from qpu_executor.errors import InternalError
from qpu_executor.manager.service.broadcast import Progress
from qpu_executor.manager.service.fleet import Fleet
from qpu_executor.manager.store.change_records import (
    AddChunk,
    AddJournal,
    AddProgram,
    AddTask,
    AskTask,
    Change,
    DiscardChunks,
    UpdateChunk,
    UpdateTask,
)
from qpu_executor.manager.store.records import ChunkRow, JournalRow, SessionRow, TaskRow
from qpu_executor.model.events import (
    ClassesChanged,
    Event,
    QpuRegistered,
    TaskSubmitted,
    WindowsChanged,
)
from qpu_executor.model.states import ChunkState, TaskState
from qpu_executor.model.values import Instant
from qpu_executor.qpus.base import ChunkOutcome
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

DeviceCommand = StartChunk | StopChunk | StartCalibration
"""What reaches a device, once the turn that decided on it is saved."""

_NESTED = (ClassesChanged, QpuRegistered, TaskSubmitted, WindowsChanged)
"""Events that hold other values than plain ones."""


@dataclass(slots=True)
class Ledger:
    """`live`: committed rows of tasks that haven't ended; readers see these, so they are
    never changed here. `touched`: their successors, which `live` takes over after the commit.

    `journal_n`: number of the newest journal row. `told`: rows for event streams.
    """

    live: dict[int, TaskRow]
    fleet: Fleet
    journal_n: int
    incarnation: int
    touched: dict[int, TaskRow] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    told: list[JournalRow] = field(default_factory=list)
    progress: list[Progress] = field(default_factory=list)
    device_commands: list[DeviceCommand] = field(default_factory=list)
    answers: list[Callable[[], None]] = field(default_factory=list)
    """Called after the commit: they complete the callers' futures."""

    def row(self, task_id: int) -> TaskRow | None:
        """A live task as this turn sees it."""
        return self.touched.get(task_id) or self.live.get(task_id)

    def record_event(self, event: Event, now: Instant) -> None:
        """Journal an event of the core (what a replay reads)."""
        data = _plain(event)
        task_id = _task_of(data)
        row = self.row(task_id) if task_id is not None else None
        self._journal(
            now,
            type(event).__name__,
            task_id=task_id,
            owner=row.owner if row else None,
            session_id=row.session_id if row else None,
            data=data,
        )

    def record(
        self,
        kind: str,
        data: Mapping[str, object],
        now: Instant,
        session: SessionRow | None = None,
    ) -> None:
        """Journal something that is about no task. `session`: the one that it is about."""
        self._journal(
            now,
            kind,
            task_id=None,
            owner=None if session is None else session.owner,
            session_id=None if session is None else session.id,
            data=data,
        )

    def carry_out(self, command: Command, outcome: ChunkOutcome | None, now: Instant) -> None:
        """Note everything that a command of the core asks for.

        `outcome`: what the device said of the chunk whose end is being saved.
        """
        match command:
            case SaveTask():
                self._save_task(command, now)
            case SaveChunk():
                self._save_chunk(command, outcome, now)
            case StartChunk():
                self._add_chunk(command, now)
                self.device_commands.append(command)
            case StopChunk() | StartCalibration():
                self.device_commands.append(command)
            case DiscardShots():
                self._discard_shots(command, now)
            case SaveHold():
                self.record("SaveHold", _fields(command), now)

    def add_task(self, program: AddProgram, task: AddTask, now: Instant) -> None:
        """Save a new task and its program, and tell its owner the first state."""
        self.changes += [program, task]
        self.touched[task.task.id] = task.task
        self._tell(task.task, now, cause=0)

    def remember(self, asked: AskTask) -> None:
        """Note what was asked of a task, for its row and for a restart."""
        row = self._known(asked.task_id)
        self.touched[row.id] = replace(
            row,
            cancel_asked=row.cancel_asked if asked.cancel_asked is None else asked.cancel_asked,
            hold_asked=row.hold_asked if asked.hold_asked is None else asked.hold_asked,
            held_because=(row.held_because if asked.held_because is None else asked.held_because),
            session_id=asked.session_id or row.session_id,
            wishes=row.wishes if asked.wishes is None else asked.wishes,
        )
        self.changes.append(asked)

    # -- commands -------------------------------------------------------------

    def _known(self, task_id: int) -> TaskRow:
        found = self.row(task_id)
        if found is None:
            raise InternalError("the core speaks of a task that isn't alive", where=str(task_id))
        return found

    def _save_task(self, command: SaveTask, now: Instant) -> None:
        before = self._known(command.task_id)
        code = None
        if command.error is not None:
            code = "program-refused" if command.permanent else "task-failed"
        after = replace(
            before,
            state=command.state,
            shots_done=command.shots_done,
            error=command.error,
            error_code=code,
            permanent=command.permanent,
            stopped_early=command.stopped_early,
            started_at=before.started_at or (now if command.state is TaskState.RUNNING else None),
            ended_at=now if command.state.final else None,
        )
        if after == before:
            return
        self.touched[before.id] = after
        self.changes.append(
            UpdateTask(
                before.id,
                now,
                command.state,
                command.shots_done,
                error=command.error,
                error_code=code,
                permanent=command.permanent or None,
                stopped_early=command.stopped_early,
            )
        )
        if after.state is not before.state:
            self._tell(after, now, command.cause)
        elif after.shots_done != before.shots_done:
            self.progress.append(
                Progress(after.id, after.owner, after.session_id, after.shots_done, after.shots)
            )

    def _discard_shots(self, command: DiscardShots, now: Instant) -> None:
        """The shots stay on record, in chunks that count no longer."""
        row = self._known(command.task_id)
        row = replace(row, shots_done=row.shots_done - command.shots)
        self.touched[row.id] = row
        self.changes += [
            UpdateTask(row.id, now, row.state, row.shots_done),
            DiscardChunks(row.id),
        ]
        self._journal(
            now,
            "DiscardShots",
            task_id=row.id,
            owner=row.owner,
            session_id=row.session_id,
            cause=command.cause,
            data=_fields(command),
        )
        self.progress.append(Progress(row.id, row.owner, row.session_id, row.shots_done, row.shots))

    def _save_chunk(self, command: SaveChunk, outcome: ChunkOutcome | None, now: Instant) -> None:
        if outcome is None or not command.state.ended:
            self.changes.append(
                UpdateChunk(
                    command.chunk,
                    now,
                    command.state,
                    reason=command.reason,
                    charged_s=command.charged_s,
                )
            )
            return
        kept = cut_counts(outcome.counts, command.shots_counted, seed=str(command.chunk))
        self.changes.append(
            UpdateChunk(
                command.chunk,
                now,
                command.state,
                shots_counted=command.shots_counted,
                surplus=max(0, outcome.shots - command.shots_counted),
                counts=kept,
                epoch=outcome.epoch,
                started_at=outcome.started_at,
                ended_at=outcome.ended_at,
                setup_s=outcome.setup_s,
                device_s=outcome.device_s,
                reason=command.reason or outcome.message,
                versions=outcome.versions,
                charged_s=command.charged_s,
            )
        )

    def _add_chunk(self, command: StartChunk, now: Instant) -> None:
        qpu = self.fleet.get(command.qpu)
        task = self._known(command.chunk.task_id)
        if task.qpu != command.qpu:
            task = replace(task, qpu=command.qpu)
            self.touched[task.id] = task
            self.changes.append(
                UpdateTask(task.id, now, task.state, task.shots_done, qpu=command.qpu)
            )
        self.changes.append(
            AddChunk(
                ChunkRow(
                    task_id=command.chunk.task_id,
                    n=command.chunk.n,
                    state=ChunkState.SENT,
                    qpu=command.qpu,
                    device=qpu.description.device_name,
                    emulated=qpu.capabilities.emulated,
                    first_shot=command.first_shot,
                    shots=command.shots,
                    sent_at=now,
                    incarnation=self.incarnation,
                    epoch=command.epoch,
                )
            )
        )

    # -- journal --------------------------------------------------------------

    def _tell(self, row: TaskRow, now: Instant, cause: int) -> None:
        data: dict[str, object] = {"error": row.error} if row.error else {}
        if row.stopped_early is not None:
            data["stopped_early"] = row.stopped_early
        self.told.append(
            self._journal(
                now,
                "TaskState",
                task_id=row.id,
                owner=row.owner,
                session_id=row.session_id,
                state=row.state,
                shots_done=row.shots_done,
                cause=cause,
                data=data,
            )
        )

    def _journal(
        self,
        now: Instant,
        kind: str,
        *,
        task_id: int | None,
        owner: str | None,
        session_id: str | None,
        data: Mapping[str, object],
        state: TaskState | None = None,
        shots_done: int | None = None,
        cause: int = 0,
    ) -> JournalRow:
        self.journal_n += 1
        row = JournalRow(
            n=self.journal_n,
            at=now,
            kind=kind,
            task_id=task_id,
            owner=owner,
            session_id=session_id,
            state=state,
            shots_done=shots_done,
            cause=cause,
            data=data,
        )
        self.changes.append(AddJournal(row))
        return row


def _plain(event: Event) -> dict[str, object]:
    """An event as a mapping that goes into JSON; only those with nested values need `asdict`."""
    if isinstance(event, _NESTED):
        return {key: value for key, value in asdict(event).items() if value is not None}
    return _fields(event)


def _fields(value: Event | DiscardShots | SaveHold) -> dict[str, object]:
    return {one.name: getattr(value, one.name) for one in fields(value)}


def _task_of(data: Mapping[str, object]) -> int | None:
    """The task that an event (as a mapping) is about."""
    for value in (data.get("task_id"), data.get("chunk"), data.get("task")):
        match value:
            case int():
                return value
            case (int() as task_id, _):
                return task_id
            case {"task_id": int() as task_id}:
                return task_id
    return None


def cut_counts(counts: Mapping[str, int], shots: int, seed: str) -> dict[str, int]:
    """`shots` of the counted ones, drawn without replacement (all, if there are no more).

    A device that delivers more than it was asked for doesn't say which shots
    came first; drawing at random (repeatably, by `seed`) keeps the statistics.
    """
    surplus = sum(counts.values()) - shots
    if surplus <= 0:
        return dict(counts)
    population = sorted(counts)
    draw = random.Random(seed)  # noqa: S311  (statistics, not secrets)
    kept = draw.sample(population, k=shots, counts=[counts[bits] for bits in population])
    return dict(Counter(kept))
