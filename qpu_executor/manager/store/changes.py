"""Changes to SQL: puts many changes into few statements, within the caller's transaction.

Changes of one kind go to the database together, in their order. Kinds go in
the order in which rows refer to each other, and updates after every addition,
so that a task may be added and updated in one go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.sql.dml import Update, UpdateBase

from qpu_executor.errors import StoreError
from qpu_executor.manager.store import pruning_queries, queries, rows
from qpu_executor.manager.store.change_records import (
    NO_PROGRAM,
    AddChunk,
    AddJournal,
    AddProgram,
    AddSession,
    AddTask,
    AddToken,
    AskTask,
    Change,
    CloseSession,
    DiscardChunks,
    DropJournal,
    DropSession,
    DropWindow,
    ExpireTask,
    MarkSession,
    MoveSession,
    PutWindow,
    RevokeToken,
    UpdateChunk,
    UpdateTask,
)
from qpu_executor.manager.store.prepared import Prepared
from qpu_executor.manager.store.records import ProgramRow
from qpu_executor.model.states import ChunkState, TaskState

Values = dict[str, Any]
Item = TypeVar("Item")
Run = Callable[[UpdateBase, Sequence[Values]], int]
"""Runs a statement for each of these values; says how many rows it met."""

SLICE = 1000
"""Values bound to one IN list; databases limit them (SQLite 32766, PostgreSQL 65535)."""


def sliced(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """The items in runs of at most `SLICE`."""
    for start in range(0, len(items), SLICE):
        yield items[start : start + SLICE]


OfSession = AddSession | CloseSession | MarkSession | MoveSession
"""What happens to sessions, in its order."""


def write(connection: Connection, prepared: Prepared, changes: Sequence[Change]) -> None:
    """Run all changes. Raises StoreError where one refers to a row that isn't there."""
    run = partial(prepared.run, connection)
    programs: dict[str, ProgramRow] = {}
    adds: dict[type, list[Values]] = {
        kind: [] for kind in (AddTask, AddChunk, AddJournal, AddToken)
    }
    of_sessions: list[OfSession] = []
    task_updates: list[Values] = []
    chunk_updates: list[Values] = []
    discards: list[Values] = []
    revokes: list[Values] = []
    windows: dict[tuple[str, str], Values | None] = {}
    pruned = Pruned()
    for change in changes:
        match change:
            case AddProgram(program):
                programs.setdefault(program.hash, program)
            case AddTask(task):
                adds[AddTask].append(rows.TASK.values(task))
            case UpdateTask():
                task_updates.append(_task_update(change))
            case AskTask():
                task_updates.append(_task_asked(change))
            case AddChunk(chunk):
                adds[AddChunk].append(rows.CHUNK.values(chunk))
            case UpdateChunk():
                chunk_updates.append(_chunk_update(change))
            case DiscardChunks(task_id):
                discards.append({"of_task": task_id})
            case AddSession() | CloseSession() | MarkSession() | MoveSession():
                of_sessions.append(change)
            case AddToken(token):
                adds[AddToken].append(rows.TOKEN.values(token))
            case RevokeToken(token_id, at):
                revokes.append({"of_token": token_id, "at": at})
            case PutWindow(window):
                windows[window.qpu, window.name] = rows.WINDOW.values(window)
            case DropWindow(qpu, name):
                windows[qpu, name] = None
            case ExpireTask() | DropSession() | DropJournal():
                pruned.take(change)
            case AddJournal(row):
                adds[AddJournal].append(rows.JOURNAL.values(row))
    _add_programs(connection, run, programs)
    for one in of_sessions:
        _change_session(run, one)
    for kind, statement in (
        (AddTask, queries.add_tasks),
        (AddChunk, queries.add_chunks),
        (AddToken, queries.add_tokens),
    ):
        if adds[kind]:
            run(statement, adds[kind])
    _update(run, queries.update_tasks, task_updates, lambda of: f"task {of['of_task']}")
    _update(
        run,
        queries.update_chunks,
        chunk_updates,
        lambda of: f"chunk {of['of_task']}.{of['of_n']}",
    )
    if discards:  # after the updates, which may have ended the chunks that it is about
        run(queries.discard_chunks, discards)
    _update(run, queries.revoke_tokens, revokes, lambda of: f"token {of['of_token']!r}")
    if windows:
        _put_windows(run, windows)
    pruned.write(connection, run)
    if adds[AddJournal]:
        run(queries.add_journal, adds[AddJournal])


def _change_session(run: Run, change: OfSession) -> None:
    """One after the other: a key may pass from one session to the next within a transaction."""
    if isinstance(change, AddSession):
        session = change.session
        if session.key is not None:
            run(queries.free_session_key, [{"of_owner": session.owner, "of_key": session.key}])
        run(queries.add_sessions, [rows.SESSION.values(session)])
        return
    of: Values = {"of_session": change.session_id}
    if isinstance(change, CloseSession):
        statement, of = queries.close_sessions, {**of, "at": change.at, "because": change.because}
    elif isinstance(change, MoveSession):
        statement, of = queries.move_sessions, {**of, "new_ends_at": change.ends_at}
    else:
        statement, of = queries.mark_sessions, {**of, "new_lost_at": change.lost_at}
    _update(run, statement, [of], lambda of: f"session {of['of_session']!r}")


@dataclass(slots=True)
class Pruned:
    """What is dropped of a store in one transaction."""

    tasks: list[ExpireTask] = field(default_factory=list)
    sessions: list[DropSession] = field(default_factory=list)
    journal: list[DropJournal] = field(default_factory=list)

    def take(self, change: ExpireTask | DropSession | DropJournal) -> None:
        """One more."""
        match change:
            case ExpireTask():
                self.tasks.append(change)
            case DropSession():
                self.sessions.append(change)
            case DropJournal():
                self.journal.append(change)

    def write(self, connection: Connection, run: Run) -> None:
        """Drop it all: what refers to a row goes before it."""
        if self.tasks:
            nothing = ProgramRow(NO_PROGRAM, "expired", "")
            _add_programs(connection, run, {NO_PROGRAM: nothing})
            run(pruning_queries.drop_chunks, [{"of_task": one.task_id} for one in self.tasks])
            expire = [{"of_task": one.task_id, "at": one.at} for one in self.tasks]
            _update(run, pruning_queries.expire_tasks, expire, lambda of: f"task {of['of_task']}")
            hashes = {one.program_hash for one in self.tasks} - {NO_PROGRAM}
            run(pruning_queries.drop_programs, [{"of_hash": one} for one in sorted(hashes)])
        if self.sessions:
            run(
                pruning_queries.drop_sessions,
                [{"of_session": one.session_id} for one in self.sessions],
            )
        if self.journal:
            run(pruning_queries.drop_journal, [{"of_n": one.n} for one in self.journal])


def _put_windows(run: Run, windows: dict[tuple[str, str], Values | None]) -> None:
    """The last word on each window: replaced, or gone."""
    run(queries.drop_window, [{"of_qpu": qpu, "of_name": name} for qpu, name in windows])
    kept = [values for values in windows.values() if values is not None]
    if kept:
        run(queries.add_windows, kept)


def _add_programs(connection: Connection, run: Run, programs: dict[str, ProgramRow]) -> None:
    """Insert those that are new. Looking first is safe: there is one writer."""
    known: set[str] = set()
    for hashes in sliced(list(programs)):
        known.update(connection.scalars(queries.known_hashes(hashes)))
    new = [rows.PROGRAM.values(row) for hash_, row in programs.items() if hash_ not in known]
    if new:
        run(queries.add_programs, new)


def _update(
    run: Run,
    statement: Update,
    updates: list[Values],
    name: Callable[[Values], str],
) -> None:
    """Run an update for each; a row that isn't there would otherwise be passed over silently."""
    if not updates or run(statement, updates) == len(updates):
        return
    for update in updates:
        if run(statement, [update]) != 1:
            raise StoreError(
                f"an update was asked of {name(update)}, which isn't stored",
                next_step="report this: the manager and its store disagree",
            )


def _task_update(change: UpdateTask) -> Values:
    return {
        "of_task": change.task_id,
        "new_state": change.state.value,
        "new_shots_done": change.shots_done,
        "new_qpu": change.qpu,
        "new_error": change.error,
        "new_error_code": change.error_code,
        "new_permanent": change.permanent,
        "new_cancel_asked": change.cancel_asked,
        "new_hold_asked": change.hold_asked,
        "new_stopped_early": change.stopped_early,
        "new_held_because": None,
        "new_session_id": None,
        "new_wishes": None,
        "new_started_at": change.at if change.state is TaskState.RUNNING else None,
        "new_ended_at": change.at if change.state.final else None,
    }


def _task_asked(change: AskTask) -> Values:
    """The same statement as an update's, so that both keep their order on one task."""
    return {
        "of_task": change.task_id,
        "new_state": None,
        "new_shots_done": None,
        "new_qpu": None,
        "new_error": None,
        "new_error_code": None,
        "new_permanent": None,
        "new_cancel_asked": change.cancel_asked,
        "new_hold_asked": change.hold_asked,
        "new_stopped_early": None,
        "new_held_because": change.held_because,
        "new_session_id": change.session_id,
        "new_wishes": None if change.wishes is None else rows.to_json(change.wishes.values()),
        "new_started_at": None,
        "new_ended_at": None,
    }


def _chunk_update(change: UpdateChunk) -> Values:
    ended = change.state.ended
    ended_at = change.at if change.ended_at is None else change.ended_at
    starts = change.state is ChunkState.RUNNING
    return {
        "of_task": change.chunk.task_id,
        "of_n": change.chunk.n,
        "new_state": change.state.value,
        "new_reason": change.reason,
        "new_shots_counted": change.shots_counted if ended else None,
        "new_surplus": change.surplus if ended else None,
        "new_counts": rows.to_json(change.counts) if ended and change.counts is not None else None,
        "new_epoch": change.epoch,
        "new_setup_s": change.setup_s if ended else None,
        "new_device_s": change.device_s if ended else None,
        "new_charged_s": change.charged_s if ended else None,
        "new_versions": None if change.versions is None else rows.to_json(change.versions),
        "device_started_at": change.started_at,
        "new_started_at": change.at if starts else None,
        "new_ended_at": ended_at if ended else None,
    }
