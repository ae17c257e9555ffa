"""A PostgreSQL store's lock goes from a manager that has ended to the next one at once.

The server ends the first one's session some time later: here that never happens, or late.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qpu_executor.manager.store import postgresql_lock
from qpu_executor.manager.store.postgresql import PostgresDatabase
from qpu_executor.manager.store.sql import SqlStore
from qpu_executor.testing.postgres import Postgres
from qpu_executor.testing.relay import Relay, Way

TERMINATE = b"X\0\0\0\4"
"""What a client says last (https://www.postgresql.org/docs/current/protocol-message-formats.html)."""

CHILD = """
import asyncio, sys
from qpu_executor.manager.store.sql import SqlStore

async def main():
    store = SqlStore(sys.argv[1])
    await store.open()
    print("open", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def relay(postgres: Postgres) -> Iterator[Relay]:
    made = Relay(postgres.socket)
    made.start()
    yield made
    made.close()


def named(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]


def database(url: str, lease_s: float = 300) -> PostgresDatabase:
    return PostgresDatabase(url, password_file=None, lock_timeout_s=5, lease_s=lease_s, readers=1)


def test_who_closes_gives_the_lock_back_before_the_server_hears_of_the_end(
    postgres: Postgres, relay: Relay
) -> None:
    url = postgres.new_database()
    first = database(f"postgresql://postgres@127.0.0.1:{relay.port}/{named(url)}")
    second = database(url)
    assert first.lock() is None
    said_last = relay.swallow_at(TERMINATE, frozenset({Way.TO_SERVER}))
    first.release()
    assert said_last.wait(60)
    assert second.lock() is None
    second.release()


def test_who_closes_does_not_wait_for_good_for_a_server_that_never_answers(
    postgres: Postgres, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_lock, "_LET_GO_S", 0.1)
    url = f"postgresql://postgres@127.0.0.1:{relay.port}/{named(postgres.new_database())}"
    first = database(url, lease_s=10_000)  # otherwise it waits for half of that
    assert first.lock() is None
    relay.swallow()
    first.release()
    first.release()


@contextmanager
def manager_of(url: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has the store open."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, url],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            yield process
        finally:
            process.kill()


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_a_killed_managers_session_is_waited_for(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_lock, "_ENDING_S", 300.0)
    url = postgres.new_database()
    managers = (
        "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'qpu manager %' "
        "AND datname = current_database()"
    )
    with manager_of(url) as first:
        ((backend,),) = postgres.sql(managers, named(url))
        with stopped(int(backend)):
            first.kill()
            first.wait()
            store = SqlStore(url)
            opening = asyncio.create_task(store.open())
            refused = f"{managers} AND pid <> {backend} AND query LIKE '%pg_locks%'"
            while not await asyncio.to_thread(postgres.sql, refused, named(url)):
                assert not opening.done(), opening.exception()
    await opening
    await store.close()
