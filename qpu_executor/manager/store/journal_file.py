"""Reading the journal of a store that this process doesn't serve, without touching it.

Works beside a running manager, and on a copy of its file: nothing is locked or written.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from qpu_executor.errors import StoreError
from qpu_executor.manager.store.records import JournalRow
from qpu_executor.manager.store.rows import JOURNAL
from qpu_executor.manager.store.sqlite import APPLICATION_ID
from qpu_executor.model.values import ChunkId

_READ = f"SELECT {', '.join(JOURNAL.names)} FROM journal ORDER BY n"  # noqa: S608
_READ_CHUNKS = "SELECT task_id, n, qpu FROM chunks"


def read_journal(path: Path) -> Iterator[JournalRow]:
    """All journal rows of a SQLite store, in order, as of now.

    Raises StoreError for a file that isn't there, isn't a store, or can't be read.
    """
    return (JOURNAL.record(row) for row in _rows(path, _READ))


def read_chunk_qpus(path: Path) -> dict[ChunkId, str]:
    """Which QPU each chunk was sent to. Raises StoreError as `read_journal` does."""
    return {ChunkId(task_id, n): qpu for task_id, n, qpu in _rows(path, _READ_CHUNKS)}


def _rows(path: Path, query: str) -> Iterator[tuple[Any, ...]]:
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
            yield from connection.execute(query)
    except sqlite3.Error as error:
        raise StoreError(f"it can't be read: {error}", where=where) from None
