"""What is read from the store: each function runs queries on one connection, and
so sees one state of the store, and answers with records.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import replace

from sqlalchemy import Connection

from qpu_executor.manager.store import queries, restored
from qpu_executor.manager.store.changes import sliced
from qpu_executor.manager.store.records import (
    ChunkRow,
    JournalRow,
    ProgramRow,
    SessionRow,
    SessionTotals,
    Snapshot,
    TaskFilter,
    TaskRow,
    TokenRow,
    UsageRow,
)
from qpu_executor.manager.store.rows import CHUNK, JOURNAL, PROGRAM, SESSION, TASK, TOKEN, WINDOW
from qpu_executor.model.values import MAX_TASK_ID, Instant

_LARGEST = 2**63 - 1
"""Databases refuse to compare with more; nothing stored is larger."""


def snapshot(connection: Connection) -> Snapshot:
    """Live tasks with their chunks, open sessions, and where numbers and time stand."""
    live = tuple(TASK.record(row) for row in connection.execute(queries.live_tasks))
    chunks: dict[int, list[ChunkRow]] = {}
    for row in connection.execute(queries.live_chunks):
        chunk = CHUNK.record(row)
        chunks.setdefault(chunk.task_id, []).append(chunk)
    open_sessions = tuple(SESSION.record(row) for row in connection.execute(queries.open_sessions))
    newest = connection.execute(queries.newest_journal).first()
    journal_n, journal_at = (0, 0) if newest is None else (int(newest.n), int(newest.at))
    return Snapshot(
        live=live,
        chunks={task_id: tuple(of_task) for task_id, of_task in chunks.items()},
        next_task_id=restored.next_task_id(connection),
        journal_n=journal_n,
        latest_at=_latest(journal_at, live, chunks, open_sessions),
        open_sessions=open_sessions,
        drained=_drained(connection),
        windows=tuple(WINDOW.record(row) for row in connection.execute(queries.all_windows)),
        restored_below=connection.scalar(queries.restored_below) or 0,
    )


def _drained(connection: Connection) -> dict[str, str]:
    """QPUs whose latest word from an operator is a drain."""
    found: dict[str, str] = {}
    for kind, data in connection.execute(queries.drains):
        event = json.loads(data)
        found.pop(event["qpu"], None)
        if kind == "QpuDrained":
            found[event["qpu"]] = event["reason"]
    return found


def token(connection: Connection, token_id: str) -> TokenRow | None:
    """One token."""
    row = connection.execute(queries.token, {"of_token": token_id}).first()
    return None if row is None else TOKEN.record(row)


def tokens(connection: Connection) -> list[TokenRow]:
    """All tokens, oldest first."""
    return [TOKEN.record(row) for row in connection.execute(queries.all_tokens)]


def usage(connection: Connection, since: Instant) -> list[UsageRow]:
    """What was charged since an instant, oldest first."""
    found = [UsageRow(*row) for row in connection.execute(queries.usage(since))]
    for at, data in connection.execute(queries.holds(since)):
        hold = json.loads(data)
        kept_for = session(connection, hold["session_id"])
        if kept_for is not None:
            charged_s = float(hold["charged_s"])
            found.append(UsageRow(kept_for.account, kept_for.owner, "", charged_s, False, at))
    return sorted(found, key=lambda one: one.at)


def _latest(
    journal_at: Instant,
    live: Collection[TaskRow],
    chunks: dict[int, list[ChunkRow]],
    sessions: Collection[SessionRow],
) -> Instant:
    """The newest instant of the manager's clock (a device's own times don't count)."""
    return max(
        journal_at,
        max((task.started_at or task.submitted_at for task in live), default=0),
        max((chunk.sent_at for of_task in chunks.values() for chunk in of_task), default=0),
        max((session.opened_at for session in sessions), default=0),
    )


def _possible(task_ids: Iterable[int]) -> set[int]:
    """Those ids that a task can have at all."""
    return {id_ for id_ in task_ids if 0 < id_ <= MAX_TASK_ID}


def task(connection: Connection, task_id: int) -> TaskRow | None:
    """One task."""
    if not 0 < task_id <= MAX_TASK_ID:
        return None
    row = connection.execute(queries.task(task_id)).first()
    return None if row is None else TASK.record(row)


def tasks(connection: Connection, which: TaskFilter) -> list[TaskRow]:
    """A page of tasks in the order of their ids."""
    which = replace(which, after_id=min(which.after_id, _LARGEST), limit=min(which.limit, _LARGEST))
    if which.ids is None:
        return [TASK.record(row) for row in connection.execute(queries.tasks_page(which))]
    found: list[TaskRow] = []
    for ids in sliced(sorted(_possible(id_ for id_ in which.ids if id_ > which.after_id))):
        page = replace(which, ids=tuple(ids), limit=which.limit - len(found))
        found.extend(TASK.record(row) for row in connection.execute(queries.tasks_page(page)))
        if len(found) >= which.limit:
            break
    return found


def tasks_by_key(connection: Connection, owner: str, keys: Collection[str]) -> dict[str, TaskRow]:
    """The newest generation of each key that names a task of this owner."""
    found: dict[str, TaskRow] = {}
    for some in sliced(list(dict.fromkeys(keys))):
        for row in connection.execute(queries.tasks_by_key(owner, some)):
            found[row.key] = TASK.record(row)  # newer generations come later
    return found


def chunks(connection: Connection, task_ids: Collection[int]) -> dict[int, list[ChunkRow]]:
    """All chunks of these tasks, in order."""
    found: dict[int, list[ChunkRow]] = {task_id: [] for task_id in task_ids}
    for ids in sliced(sorted(_possible(found))):
        for row in connection.execute(queries.chunks_of(ids)):
            found[row.task_id].append(CHUNK.record(row))
    return found


def programs(connection: Connection, hashes: Collection[str]) -> dict[str, ProgramRow]:
    """Those of these programs that are stored."""
    found: dict[str, ProgramRow] = {}
    for some in sliced(list(dict.fromkeys(hashes))):
        for row in connection.execute(queries.programs_of(some)):
            found[row.hash] = PROGRAM.record(row)
    return found


def program_owners(connection: Connection, hash_: str) -> set[str]:
    """Owners of tasks that use a program."""
    return set(connection.scalars(queries.program_owners(hash_)))


def session(connection: Connection, session_id: str) -> SessionRow | None:
    """One session."""
    row = connection.execute(queries.session(session_id)).first()
    return None if row is None else SESSION.record(row)


def session_by_key(connection: Connection, owner: str, key: str) -> SessionRow | None:
    """The session that an owner opened with a key."""
    row = connection.execute(queries.session_by_key(owner, key)).first()
    return None if row is None else SESSION.record(row)


def sessions(connection: Connection, owner: str | None) -> list[SessionRow]:
    """Sessions, newest first."""
    return [SESSION.record(row) for row in connection.execute(queries.sessions_of(owner))]


def session_totals(
    connection: Connection, session_ids: Collection[str]
) -> dict[str, SessionTotals]:
    """What each of these sessions has had."""
    found = {one: SessionTotals() for one in session_ids}
    for ids in sliced(list(found)):
        for id_, tasks_, latest_at in connection.execute(queries.task_totals(ids)):
            found[id_] = SessionTotals(tasks=int(tasks_), latest_at=latest_at)
        for id_, shots, device_s, charged_s in connection.execute(queries.chunk_totals(ids)):
            found[id_] = replace(
                found[id_], shots=int(shots), device_s=float(device_s), charged_s=float(charged_s)
            )
    return found


def live_task_ids(connection: Connection, session_id: str) -> list[int]:
    """Tasks of a session that haven't ended."""
    return list(connection.scalars(queries.live_task_ids(session_id)))


def journal(
    connection: Connection,
    after: int,
    owner: str | None,
    session_id: str | None,
    states_only: bool,
    limit: int,
) -> list[JournalRow]:
    """Journal rows above a number, in order."""
    page = queries.journal_page(
        min(after, _LARGEST), owner, session_id, states_only, min(limit, _LARGEST)
    )
    return [JOURNAL.record(row) for row in connection.execute(page)]


def audit(
    connection: Connection, before: int | None, since: Instant, limit: int
) -> list[JournalRow]:
    """Rows of the audit log, the newest first."""
    page = queries.audit_page(
        _LARGEST if before is None else min(before, _LARGEST), min(since, _LARGEST), limit
    )
    return [JOURNAL.record(row) for row in connection.execute(page)]


def history(connection: Connection, task_ids: Collection[int]) -> dict[int, list[JournalRow]]:
    """State changes of these tasks, in order."""
    found: dict[int, list[JournalRow]] = {task_id: [] for task_id in task_ids}
    for ids in sliced(sorted(_possible(found))):
        for row in connection.execute(queries.history_of(ids)):
            found[row.task_id].append(JOURNAL.record(row))
    return found
