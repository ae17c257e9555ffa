"""What is there to be held against each other when a history is over."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Table, create_engine, func, select

from qpu_executor.manager.store.records import ChunkRow, JournalRow, TaskFilter, TaskRow, UsageRow
from qpu_executor.manager.store.sql import SqlStore
from qpu_executor.manager.store.tables import chunks as chunk_table
from qpu_executor.manager.store.tables import tasks as task_table
from qpu_executor.model.states import ChunkState, TaskState
from qpu_executor.model.values import ChunkId
from qpu_executor.qpus.pasqal_controller.messages import mark_of
from qpu_executor.testing.controller.ledger import read_ledger


@dataclass(frozen=True)
class Evidence:
    """`ledger`: the controller's lines. `instance`: makes marks of chunks.

    `wanted`: (user, key) -> shots that somebody meant to submit. `told`: (user, key, task)
    for each acknowledgement that a client got. `results`: (user, key) -> counts, as clients
    got them in the end.
    """

    tasks: Sequence[TaskRow]
    chunks: Mapping[int, Sequence[ChunkRow]]
    journal: Sequence[JournalRow]
    usage: Sequence[UsageRow]
    ledger: Sequence[Mapping[str, Any]]
    instance: UUID
    wanted: Mapping[tuple[str, str], int]
    told: Sequence[tuple[str, str, int]]
    results: Mapping[tuple[str, str], Mapping[str, int]]

    def mark(self, chunk: ChunkId) -> str:
        """The chunk's name in the ledger."""
        return mark_of(self.instance, chunk)

    @property
    def all_chunks(self) -> list[ChunkRow]:
        """Of all tasks, oldest task first."""
        return [one for task in self.tasks for one in self.chunks[task.id]]


async def read_evidence(
    store_address: str,
    record: Path,
    ledger: Path,
    wanted: Mapping[tuple[str, str], int],
    told: Sequence[tuple[str, str, int]],
    results: Mapping[tuple[str, str], Mapping[str, int]],
) -> Evidence:
    """Everything, once no manager has the store open. `record`: of the QPU's adapter."""
    store = SqlStore(store_address)
    await store.open()
    try:
        tasks = await store.tasks(TaskFilter(limit=100_000))
        return Evidence(
            tasks=tasks,
            chunks=await store.chunks([task.id for task in tasks]),
            journal=await store.journal(0, limit=1_000_000),
            usage=await store.usage(0),
            ledger=read_ledger(ledger),
            instance=instance_of(record),
            wanted=wanted,
            told=told,
            results=results,
        )
    finally:
        await store.close()


def instance_of(record: Path) -> UUID:
    """Whose marks a manager's record of sent jobs makes."""
    head, _, _ = record.read_bytes().partition(b"\n")
    return UUID(json.loads(head)["instance"])


def open_chunks(store_address: str) -> Counter[ChunkState]:
    """States of chunks that haven't ended, in a store whose manager was just killed."""
    found = Counter({ChunkState(one): n for one, n in _by_state(store_address, chunk_table)})
    return Counter({state: n for state, n in found.items() if not state.ended})


def live_tasks(store_address: str) -> int:
    """How many tasks haven't ended, whoever has the store open."""
    rows = _by_state(store_address, task_table)
    return sum(n for state, n in rows if not TaskState(state).final)


def _by_state(store_address: str, table: Table) -> list[tuple[str, int]]:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(f"file:{store_address}?mode=ro", uri=True)

    if "://" in store_address:
        engine = create_engine(driven(store_address))
    else:
        engine = create_engine("sqlite://", creator=connect)
    state = table.c.state
    try:
        with engine.connect() as connection:
            rows = connection.execute(select(state, func.count()).group_by(state)).all()
    finally:
        engine.dispose()
    return [(state, n) for state, n in rows]


def driven(url: str) -> str:
    """A PostgreSQL store's URL as SQLAlchemy wants it."""
    return url.replace("postgresql:", "postgresql+psycopg:", 1)
