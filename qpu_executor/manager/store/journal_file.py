"""Reading the journal of a store that this process doesn't serve, without touching it.

Works beside a running manager, and on a copy of its file: nothing is locked or written.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from qpu_executor.errors import StoreError
from qpu_executor.manager.store.records import JournalRow
from qpu_executor.manager.store.rows import JOURNAL
from qpu_executor.manager.store.sqlite import APPLICATION_ID

_READ = f"SELECT {', '.join(JOURNAL.names)} FROM journal ORDER BY n"  # noqa: S608


def read_journal(path: Path) -> Iterator[JournalRow]:
    """All journal rows of a SQLite store, in order, as of now.

    Raises StoreError for a file that isn't there, isn't a store, or can't be read.
    """
    where = f"store {path}"
    if not path.is_file():
        raise StoreError(
            "there is no such file", where=where, expected="the SQLite file of a manager's store"
        )
    try:
        uri = f"file:{quote(str(path.absolute()))}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            (found,) = connection.execute("PRAGMA application_id").fetchone()
            if found != APPLICATION_ID:
                raise StoreError("this is not a manager's store", where=where)
            for row in connection.execute(_READ):
                yield JOURNAL.record(row)
    except sqlite3.Error as error:
        raise StoreError(f"it can't be read: {error}", where=where) from None
