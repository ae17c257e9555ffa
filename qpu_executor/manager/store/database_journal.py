"""Reading the journal of a store in PostgreSQL that this process doesn't serve.

Works beside a running manager: nothing is locked or written.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Select, select

from qpu_executor.errors import StoreError
from qpu_executor.manager.store.address import named_database
from qpu_executor.manager.store.records import JournalRow
from qpu_executor.manager.store.rows import JOURNAL
from qpu_executor.manager.store.tables import chunks, journal
from qpu_executor.model.values import ChunkId

_JOURNAL = select(*(journal.c[name] for name in JOURNAL.names)).order_by(journal.c.n)
_CHUNKS = select(chunks.c.task_id, chunks.c.n, chunks.c.qpu)


def read_journal(url: str, password_file: Path | None) -> Iterator[JournalRow]:
    """All journal rows of a store, in order, as of now. Raises ConfigError or StoreError."""
    return (JOURNAL.record(row) for row in _rows(url, password_file, _JOURNAL))


def read_chunk_qpus(url: str, password_file: Path | None) -> dict[ChunkId, str]:
    """Which QPU each chunk was sent to. Raises ConfigError or StoreError."""
    found = _rows(url, password_file, _CHUNKS)
    return {ChunkId(task_id, n): qpu for task_id, n, qpu in found}


def _rows(url: str, password_file: Path | None, query: Select[Any]) -> Iterator[Any]:
    database = named_database(
        url, password_file=password_file, busy_timeout_s=5.0, lease_s=10.0, readers=1
    )
    engine = database.read_engine()
    try:
        with engine.connect().execution_options(yield_per=1000) as connection:
            yield from connection.execute(query)
    except database.errors as error:
        found = database.translate(error)
        raise StoreError(found.message, where=found.where, next_step=found.next_step) from None
    finally:
        engine.dispose()
