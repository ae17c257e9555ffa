"""SQL of pruning: what has expired, and dropping it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import (
    BigInteger,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    func,
    null,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.sql.elements import ColumnElement

from qpu_executor.manager.store.change_records import NO_PROGRAM
from qpu_executor.manager.store.tables import (
    AUDITED,
    AUDITED_KINDS,
    chunks,
    journal,
    programs,
    sessions,
    tasks,
)

expire_tasks = (
    update(tasks)
    .where(tasks.c.id == bindparam("of_task"))
    .values(
        expired_at=bindparam("at", type_=BigInteger),
        name="",
        session_id=null(),
        seed=0,
        program_hash=NO_PROGRAM,
        qpu_asked=null(),
        qpus="[]",
        error=null(),
        layout=null(),
        wishes="{}",
        stopped_early=null(),
    )
)
"""What stays says whose it was, how it ended, what it was charged to, and keeps its key."""

drop_chunks = delete(chunks).where(chunks.c.task_id == bindparam("of_task"))
drop_programs = delete(programs).where(
    programs.c.hash == bindparam("of_hash"),
    ~exists().where(tasks.c.program_hash == programs.c.hash),
)
drop_journal = delete(journal).where(journal.c.n == bindparam("of_n"))
drop_sessions = delete(sessions).where(
    sessions.c.id == bindparam("of_session"),
    sessions.c.closed_at.is_not(None),
    ~exists().where(tasks.c.session_id == sessions.c.id),
)

_open_session = exists().where(sessions.c.id == tasks.c.session_id, sessions.c.closed_at.is_(None))
_recalled_kinds = ("QpuDrained", "QpuResumed")
"""Which QPUs are drained is told by these alone, however old they are."""


def _expirable(before: int) -> list[ColumnElement[bool]]:
    return [
        tasks.c.ended_at.is_not(None),
        tasks.c.expired_at.is_(None),
        tasks.c.ended_at < before,
        ~_open_session,
    ]


def expirable(before: int, after_id: int, limit: int) -> Select[Any]:
    """Tasks that ended before an instant and haven't expired, but those of open sessions."""
    which = (*_expirable(before), tasks.c.id > after_id)
    return select(tasks).where(*which).order_by(tasks.c.id).limit(limit)


def count_expirable(before: int) -> Select[Any]:
    """How many there are."""
    return select(func.count()).select_from(tasks).where(*_expirable(before))


def old_journal(before: int, after: int, upto: int, limit: int) -> Select[Any]:
    """Numbers of rows in (after, upto) that tell of no task, or of one that expired and
    ended before an instant; neither drains nor the audit log.
    """
    told = journal.outerjoin(tasks, tasks.c.id == journal.c.task_id)
    return (
        select(journal.c.n)
        .select_from(told)
        .where(
            journal.c.n > after,
            journal.c.n < upto,
            journal.c.kind.not_in((*_recalled_kinds, *AUDITED_KINDS)),
            or_(
                tasks.c.id.is_(None),
                and_(tasks.c.expired_at.is_not(None), tasks.c.ended_at < before),
            ),
        )
        .order_by(journal.c.n)
        .limit(limit)
    )


def old_audit(after: int, upto: int, limit: int) -> Select[Any]:
    """Numbers of rows of the audit log in (after, upto)."""
    return (
        select(journal.c.n)
        .where(text("journal." + AUDITED), journal.c.n > after, journal.c.n < upto)
        .order_by(journal.c.n)
        .limit(limit)
    )


def next_journal(after: int) -> Select[Any]:
    """Number and instant of the first row above a number."""
    return (
        select(journal.c.n, journal.c.at).where(journal.c.n > after).order_by(journal.c.n).limit(1)
    )


def journal_of(numbers: Collection[int]) -> Select[Any]:
    """Rows by number."""
    return select(journal).where(journal.c.n.in_(numbers)).order_by(journal.c.n)


def old_sessions(before: int, limit: int) -> Select[Any]:
    """Ids of sessions that were closed before an instant and have no task."""
    return (
        select(sessions.c.id)
        .where(
            sessions.c.closed_at.is_not(None),
            sessions.c.closed_at < before,
            ~exists().where(tasks.c.session_id == sessions.c.id),
        )
        .order_by(sessions.c.id)
        .limit(limit)
    )
