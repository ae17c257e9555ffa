"""A COMMIT that nobody answered: whether it went in is found out, and nothing goes in twice."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from qpu_executor.errors import ManagerBusy, StoreError
from qpu_executor.manager.store.change_records import AddJournal, Change
from qpu_executor.manager.store.records import JournalRow
from qpu_executor.manager.store.sql import SqlStore


@pytest.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlStore]:
    address: Path | str = tmp_path / "store.sqlite"
    if request.param == "postgresql":
        address = request.getfixturevalue("postgres").new_database()
    store = SqlStore(address)
    await store.open()
    yield store
    await store.close()


@contextmanager
def unanswered(store: SqlStore, *, goes_in: bool) -> Iterator[None]:
    """Commits of the writer fail; `goes_in`: although the database carried them out."""
    assert store._opened is not None
    dialect: Any = store._opened.write_engine.dialect
    commit: Callable[[Any], None] = dialect.do_commit

    def fail(connection: Any) -> None:
        if goes_in:
            commit(connection)
        if dialect.name == "sqlite":
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error
        connection.dbapi_connection.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    dialect.do_commit = fail
    yield
    dialect.do_commit = commit


def row(n: int) -> list[Change]:
    return [AddJournal(JournalRow(n, n, "x"))]


async def stored(store: SqlStore) -> list[int]:
    return [one.n for one in await store.journal(0)]


@pytest.mark.parametrize("goes_in", [True, False])
async def test_the_same_changes_handed_in_again_are_in_once(store: SqlStore, goes_in: bool) -> None:
    changes = row(1)
    with unanswered(store, goes_in=goes_in), pytest.raises(ManagerBusy):
        await store.apply(changes)
    await store.apply(changes)
    assert await stored(store) == [1]
    with pytest.raises(StoreError):  # equal, but not the same: somebody's mistake
        await store.apply(row(1))


@pytest.mark.parametrize("goes_in", [True, False])
async def test_others_in_between_do_not_confuse_it(store: SqlStore, goes_in: bool) -> None:
    mine, group = row(1), [row(n) for n in range(2, 8)]
    with unanswered(store, goes_in=goes_in):
        outcomes = await asyncio.gather(*map(store.apply, [mine, *group]), return_exceptions=True)
        assert {type(one) for one in outcomes} == {ManagerBusy}
    await store.apply(row(8))
    await store.apply([])
    with unanswered(store, goes_in=goes_in), pytest.raises(ManagerBusy):
        await store.apply([])
    await asyncio.gather(*map(store.apply, [*group, mine]))
    assert await stored(store) == list(range(1, 9))


async def test_a_doubt_that_can_not_be_settled_yet_stays_one(store: SqlStore) -> None:
    changes = row(1)
    with unanswered(store, goes_in=True), pytest.raises(ManagerBusy):
        await store.apply(changes)
    with unanswered(store, goes_in=False):
        for _ in range(3):
            with pytest.raises(ManagerBusy):
                await store.apply(row(2))
    await store.apply(changes)
    assert await stored(store) == [1]


async def test_a_store_put_back_behind_its_managers_back_is_noticed(store: SqlStore) -> None:
    await store.apply(row(1))
    assert store._opened is not None
    with store._opened.write_engine.begin() as other:
        other.exec_driver_sql("UPDATE meta SET commits = commits - 1")
    with pytest.raises(StoreError, match="was a backup put in place"):
        await store.apply(row(2))
