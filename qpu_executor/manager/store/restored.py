"""A store that was restored from a backup while the QPUs ran on.

Numbers that were given after the backup must not be given again: a QPU that is asked about
"chunk 0 of task 12" would answer for somebody else's. So the numbers of tasks and of the
journal go on far above those of the backup. Of the tasks that the backup knows, a QPU may
have run more chunks than it does: their ids are below `restored_below`, and each of their
chunks is asked about before it is started, for as long as they live.
"""

from __future__ import annotations

from sqlalchemy import Connection

from qpu_executor.manager.store import queries
from qpu_executor.manager.store.records import JournalRow
from qpu_executor.manager.store.rows import JOURNAL

SKIPPED = 1_000_000
"""More tasks, and journal rows, than come between a backup and the loss of its store.

Task ids end at 2^31, so that there is room for two thousand restores.
"""


def next_task_id(connection: Connection) -> int:
    """The smallest id that no task had, not even after a backup that was restored."""
    newest = connection.scalar(queries.newest_task_id) or 0
    below = connection.scalar(queries.restored_below) or 0
    return max(newest + 1, below + SKIPPED if below else 1)


def mark(connection: Connection) -> None:
    """Note that the store was restored from a backup, within the connection's transaction."""
    below = next_task_id(connection)
    connection.execute(queries.set_restored_below, {"below": below})
    newest = connection.execute(queries.newest_journal).first()
    n, at = (0, 0) if newest is None else (int(newest.n), int(newest.at))
    row = JournalRow(n + SKIPPED, at, "StoreRestored", data={"tasks_below": below})
    connection.execute(queries.add_journal, JOURNAL.values(row))
