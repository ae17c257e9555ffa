"""What can be pruned of a store, read on one connection; the pruning itself is changes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection

from qpu_executor.manager.store import pruning_queries, queries
from qpu_executor.manager.store.changes import sliced
from qpu_executor.manager.store.records import JournalRow, TaskRow
from qpu_executor.manager.store.rows import JOURNAL, TASK
from qpu_executor.model.values import Instant


@dataclass(frozen=True, slots=True)
class Prunable:
    """Before which instants: `results`: tasks ended, sessions closed; `journal`, `audit`: rows
    were written. None: nothing of the kind is pruned.
    """

    results: Instant | None = None
    journal: Instant | None = None
    audit: Instant | None = None


def expirable(connection: Connection, before: Instant, after_id: int, limit: int) -> list[TaskRow]:
    """Tasks that ended before an instant and haven't expired, of no open session, by id."""
    found = connection.execute(pruning_queries.expirable(before, after_id, limit))
    return [TASK.record(row) for row in found]


def old_journal(connection: Connection, which: Prunable, after: int, limit: int) -> list[int]:
    """Numbers of journal rows that nothing needs any more, above a number, in order."""
    found: list[int] = []
    newest = connection.execute(queries.newest_journal).first()
    if newest is None:
        return found
    if which.journal is not None:
        upto = _first_at(connection, which.journal, newest.n)
        page = pruning_queries.old_journal(which.journal, after, upto, limit)
        found += connection.scalars(page)
    if which.audit is not None:
        upto = _first_at(connection, which.audit, newest.n)
        found += connection.scalars(pruning_queries.old_audit(after, upto, limit))
    return sorted(found)[:limit]


def journal_rows(connection: Connection, numbers: Collection[int]) -> list[JournalRow]:
    """Journal rows by number, in order."""
    found: list[JournalRow] = []
    for some in sliced(sorted(numbers)):
        found += [
            JOURNAL.record(row) for row in connection.execute(pruning_queries.journal_of(some))
        ]
    return found


def old_sessions(connection: Connection, before: Instant, limit: int) -> list[str]:
    """Ids of sessions that were closed before an instant and have no task left."""
    return list(connection.scalars(pruning_queries.old_sessions(before, limit)))


def counts(connection: Connection, which: Prunable) -> tuple[int, int]:
    """How many tasks and journal rows could be pruned now."""
    tasks = 0
    if which.results is not None:
        tasks = connection.scalar(pruning_queries.count_expirable(which.results)) or 0
    rows, after = 0, 0
    while page := old_journal(connection, which, after, 10_000):
        rows, after = rows + len(page), page[-1]
    return tasks, rows


def _first_at(connection: Connection, at: Instant, newest: int) -> int:
    """Number of the first journal row that isn't older than an instant; the newest at most.

    Rows are written in the order of their instants, which have no index: it is found by halving.
    """
    low, high = 0, newest
    while low < high:
        middle = (low + high) // 2
        row = connection.execute(pruning_queries.next_journal(middle)).first()
        if row is None or row.at >= at:
            high = middle
        else:
            low = int(row.n)
    return min(low + 1, newest)
