"""Every SQL statement of the store, by name.

Writes are made for `executemany`: one statement serves every change of its
kind, and a bound None leaves the column as it is.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Float,
    Select,
    Table,
    bindparam,
    case,
    delete,
    func,
    insert,
    select,
    text,
    true,
    update,
)
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import TypeEngine

from qpu_executor.manager.store.records import TaskFilter
from qpu_executor.manager.store.tables import (
    AUDITED,
    LIVE,
    LIVE_STATES,
    RECALLED,
    Text,
    chunks,
    journal,
    meta,
    programs,
    sessions,
    tasks,
    tokens,
    windows,
)

_is_live = text("tasks." + LIVE)


def _kept(
    table: Table, column: str, type_: type[TypeEngine[Any]] | TypeEngine[Any]
) -> ColumnElement[Any]:
    """The bound value `new_<column>`; where that is None, what is there already."""
    return func.coalesce(bindparam(f"new_{column}", type_=type_), table.c[column])


# -- meta -------------------------------------------------------------------------------

stored_number = select(meta.c.incarnation, meta.c.commits).where(meta.c.id == 1).with_for_update()
"""Waits for a transaction that counts up, where the database can do that."""

first_incarnation = insert(meta).values(id=1, incarnation=1, commits=0, restored_below=0)
next_incarnation = update(meta).where(meta.c.id == 1).values(incarnation=meta.c.incarnation + 1)

restored_below = select(meta.c.restored_below).where(meta.c.id == 1)
set_restored_below = (
    update(meta).where(meta.c.id == 1).values(restored_below=bindparam("below", type_=BigInteger))
)

count_up = (
    update(meta)
    .where(
        meta.c.id == 1,
        meta.c.incarnation == bindparam("of_incarnation", type_=BigInteger),
        meta.c.commits == bindparam("of_number", type_=BigInteger),
    )
    .values(commits=meta.c.commits + 1)
)
"""Every transaction's first statement: the fence, and the mark that says that it went in."""

# -- writes -----------------------------------------------------------------------------

add_programs = insert(programs)
add_sessions = insert(sessions)
add_tasks = insert(tasks)
add_chunks = insert(chunks)
add_journal = insert(journal)

add_tokens = insert(tokens)
revoke_tokens = (
    update(tokens)
    .where(tokens.c.id == bindparam("of_token"))
    .values(revoked_at=func.coalesce(tokens.c.revoked_at, bindparam("at", type_=BigInteger)))
)
all_tokens = select(tokens).order_by(tokens.c.issued_at, tokens.c.id)
token = select(tokens).where(tokens.c.id == bindparam("of_token"))

add_windows = insert(windows)
drop_window = delete(windows).where(
    windows.c.qpu == bindparam("of_qpu"), windows.c.name == bindparam("of_name")
)
all_windows = select(windows).order_by(windows.c.qpu, windows.c.name)

close_sessions = (
    update(sessions)
    .where(sessions.c.id == bindparam("of_session"))
    .values(
        closed_at=func.coalesce(sessions.c.closed_at, bindparam("at", type_=BigInteger)),
        closed_because=case(
            (sessions.c.closed_at.is_(None), bindparam("because", type_=Text)),
            else_=sessions.c.closed_because,
        ),
    )
)

mark_sessions = (
    update(sessions)
    .where(sessions.c.id == bindparam("of_session"))
    .values(lost_at=bindparam("new_lost_at", type_=BigInteger))
)

move_sessions = (
    update(sessions)
    .where(sessions.c.id == bindparam("of_session"))
    .values(ends_at=bindparam("new_ends_at", type_=BigInteger))
)

free_session_key = (
    update(sessions)
    .where(
        sessions.c.owner == bindparam("of_owner"),
        sessions.c.key == bindparam("of_key"),
        sessions.c.closed_at.is_not(None),
    )
    .values(key=None)
)
"""A closed session's key may be another's: one names the open session, if there is one."""

update_tasks = (
    update(tasks)
    .where(tasks.c.id == bindparam("of_task"))
    .values(
        state=_kept(tasks, "state", Text),
        shots_done=_kept(tasks, "shots_done", BigInteger),
        qpu=_kept(tasks, "qpu", Text),
        error=_kept(tasks, "error", Text),
        error_code=_kept(tasks, "error_code", Text),
        permanent=_kept(tasks, "permanent", Boolean),
        cancel_asked=_kept(tasks, "cancel_asked", Boolean),
        hold_asked=_kept(tasks, "hold_asked", Boolean),
        stopped_early=_kept(tasks, "stopped_early", Text),
        held_because=_kept(tasks, "held_because", Text),
        session_id=_kept(tasks, "session_id", Text),
        wishes=_kept(tasks, "wishes", Text),
        started_at=func.coalesce(tasks.c.started_at, bindparam("new_started_at", type_=BigInteger)),
        ended_at=_kept(tasks, "ended_at", BigInteger),
    )
)

update_chunks = (
    update(chunks)
    .where(chunks.c.task_id == bindparam("of_task"), chunks.c.n == bindparam("of_n"))
    .values(
        state=bindparam("new_state", type_=Text),
        reason=bindparam("new_reason", type_=Text),
        shots_counted=_kept(chunks, "shots_counted", BigInteger),
        surplus=_kept(chunks, "surplus", BigInteger),
        counts=_kept(chunks, "counts", Text),
        epoch=_kept(chunks, "epoch", Text),
        setup_s=_kept(chunks, "setup_s", Float),
        device_s=_kept(chunks, "device_s", Float),
        charged_s=_kept(chunks, "charged_s", Float),
        versions=_kept(chunks, "versions", Text),
        started_at=func.coalesce(
            bindparam("device_started_at", type_=BigInteger),
            chunks.c.started_at,
            bindparam("new_started_at", type_=BigInteger),
        ),
        ended_at=_kept(chunks, "ended_at", BigInteger),
    )
)

discard_chunks = (
    update(chunks)
    .where(chunks.c.task_id == bindparam("of_task"), chunks.c.shots_counted > 0)
    .values(discarded=true())
)

# -- what a manager starts from ---------------------------------------------------------

live_tasks = select(tasks).where(_is_live).order_by(tasks.c.id)
live_chunks = (
    select(chunks)
    .where(chunks.c.task_id.in_(select(tasks.c.id).where(_is_live)))
    .order_by(chunks.c.task_id, chunks.c.n)
)
open_sessions = (
    select(sessions)
    .where(sessions.c.closed_at.is_(None))
    .order_by(sessions.c.opened_at, sessions.c.id)
)
newest_task_id = select(func.max(tasks.c.id))
newest_journal = select(journal.c.n, journal.c.at).order_by(journal.c.n.desc()).limit(1)

drains = (
    select(journal.c.kind, journal.c.data)
    .where(text("journal." + RECALLED), journal.c.kind.in_(("QpuDrained", "QpuResumed")))
    .order_by(journal.c.n)
)

_MINUTE = 60_000_000


def usage(since: int) -> Select[Any]:
    """What was charged for chunks that ended since an instant, by user, class and minute."""
    kinds = (tasks.c.account, tasks.c.owner, tasks.c.job_class)
    return (
        select(
            *kinds, func.sum(chunks.c.charged_s), chunks.c.discarded, func.max(chunks.c.ended_at)
        )
        .join(tasks, tasks.c.id == chunks.c.task_id)
        .where(chunks.c.ended_at.is_not(None), chunks.c.ended_at >= since, chunks.c.charged_s > 0)
        .group_by(*kinds, chunks.c.discarded, chunks.c.ended_at // _MINUTE)
    )


def holds(since: int) -> Select[Any]:
    """QPUs that were kept for sessions since an instant."""
    return select(journal.c.at, journal.c.data).where(
        text("journal." + RECALLED), journal.c.kind == "SaveHold", journal.c.at >= since
    )


# -- reads ------------------------------------------------------------------------------


def tasks_page(which: TaskFilter) -> Select[Any]:
    """A page of tasks in the order of their ids. `ids` must be few enough to bind."""
    query = select(tasks).where(tasks.c.id > which.after_id)
    if which.ids is not None:
        query = query.where(tasks.c.id.in_(which.ids))
    if which.owner is not None:
        query = query.where(tasks.c.owner == which.owner)
    if which.session_id is not None:
        query = query.where(tasks.c.session_id == which.session_id)
    if not which.expired:
        query = query.where(tasks.c.expired_at.is_(None))
    if which.states is not None:
        query = query.where(tasks.c.state.in_([state.value for state in which.states]))
        if set(which.states) <= set(LIVE_STATES):
            query = query.where(_is_live)  # says nothing new, but lets the small index be used
    return query.order_by(tasks.c.id).limit(which.limit)


def task(task_id: int) -> Select[Any]:
    """One task."""
    return select(tasks).where(tasks.c.id == task_id)


def tasks_by_key(owner: str, keys: Collection[str]) -> Select[Any]:
    """Every generation of these keys, older ones first."""
    return (
        select(tasks)
        .where(tasks.c.owner == owner, tasks.c.key.in_(keys))
        .order_by(tasks.c.generation)
    )


def live_task_ids(session_id: str) -> Select[Any]:
    """Ids of a session's live tasks."""
    return select(tasks.c.id).where(tasks.c.session_id == session_id, _is_live).order_by(tasks.c.id)


def chunks_of(task_ids: Collection[int]) -> Select[Any]:
    """All chunks of these tasks, in order."""
    return (
        select(chunks).where(chunks.c.task_id.in_(task_ids)).order_by(chunks.c.task_id, chunks.c.n)
    )


def programs_of(hashes: Collection[str]) -> Select[Any]:
    """Those of these programs that are stored."""
    return select(programs).where(programs.c.hash.in_(hashes))


def known_hashes(hashes: Collection[str]) -> Select[Any]:
    """Those of these hashes that are stored, without the programs."""
    return select(programs.c.hash).where(programs.c.hash.in_(hashes))


def program_owners(hash_: str) -> Select[Any]:
    """Owners of tasks that use a program."""
    return select(tasks.c.owner).where(tasks.c.program_hash == hash_).distinct()


def session(session_id: str) -> Select[Any]:
    """One session."""
    return select(sessions).where(sessions.c.id == session_id)


def session_by_key(owner: str, key: str) -> Select[Any]:
    """The session that an owner opened with a key."""
    return select(sessions).where(sessions.c.owner == owner, sessions.c.key == key)


def sessions_of(owner: str | None) -> Select[Any]:
    """Sessions of an owner (None: of everybody), newest first."""
    query = select(sessions)
    if owner is not None:
        query = query.where(sessions.c.owner == owner)
    return query.order_by(sessions.c.opened_at.desc(), sessions.c.id.desc())


def task_totals(session_ids: Collection[str]) -> Select[Any]:
    """How many tasks each of these sessions has had, and when one was last new or at its end."""
    latest = func.max(func.coalesce(tasks.c.ended_at, tasks.c.submitted_at))
    return (
        select(tasks.c.session_id, func.count(), latest)
        .where(tasks.c.session_id.in_(session_ids))
        .group_by(tasks.c.session_id)
    )


def chunk_totals(session_ids: Collection[str]) -> Select[Any]:
    """Shots that count, device-seconds and charged seconds of each of these sessions."""
    counts = case((chunks.c.discarded.is_(true()), 0), else_=chunks.c.shots_counted)
    return (
        select(
            tasks.c.session_id,
            func.sum(counts),
            func.sum(chunks.c.setup_s + chunks.c.device_s),
            func.sum(chunks.c.charged_s),
        )
        .join(tasks, tasks.c.id == chunks.c.task_id)
        .where(tasks.c.session_id.in_(session_ids))
        .group_by(tasks.c.session_id)
    )


def journal_page(
    after: int, owner: str | None, session_id: str | None, states_only: bool, limit: int
) -> Select[Any]:
    """Journal rows above a number, in order."""
    query = select(journal).where(journal.c.n > after)
    if owner is not None:
        query = query.where(journal.c.owner == owner)
    if session_id is not None:
        query = query.where(journal.c.session_id == session_id)
    if states_only:
        query = query.where(journal.c.state.is_not(None))
    return query.order_by(journal.c.n).limit(limit)


def audit_page(before: int, since: int, limit: int) -> Select[Any]:
    """Rows of the audit log below a number and not before an instant, the newest first."""
    return (
        select(journal)
        .where(text("journal." + AUDITED), journal.c.n < before, journal.c.at >= since)
        .order_by(journal.c.n.desc())
        .limit(limit)
    )


def history_of(task_ids: Collection[int]) -> Select[Any]:
    """State changes of these tasks, in order."""
    return (
        select(journal)
        .where(journal.c.task_id.in_(task_ids), journal.c.state.is_not(None))
        .order_by(journal.c.n)
    )
