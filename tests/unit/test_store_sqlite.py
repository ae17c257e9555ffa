# ruff: noqa: ASYNC240  (small local files, and nothing else to do meanwhile)
"""SQLite's file: whose it is, who may use it, and what happens when it is damaged."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Select
from sqlalchemy.dialects import sqlite as dialect

from qpu_executor.errors import ConfigError, ManagerBusy, StoreError
from qpu_executor.manager.store import migrations, queries
from qpu_executor.manager.store.change_records import AddJournal
from qpu_executor.manager.store.lock import FileLock
from qpu_executor.manager.store.records import JournalRow, TaskFilter
from qpu_executor.manager.store.sql import SqlStore
from qpu_executor.model.states import TaskState
from qpu_executor.testing import frozen_store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "store.sqlite"


@pytest.fixture
async def filled(path: Path) -> Path:
    """A closed store with content."""
    store = SqlStore(path)
    await store.open()
    await frozen_store.fill(store)
    await store.close()
    return path


@pytest.fixture
async def store(filled: Path) -> AsyncIterator[SqlStore]:
    store = SqlStore(filled, busy_timeout_s=0.1)
    await store.open()
    yield store
    await store.close()


async def refusal(path: Path | str) -> StoreError:
    """The error with which a store refuses to open; it must let go of everything."""
    with pytest.raises(StoreError) as found:
        await SqlStore(path, busy_timeout_s=0.1).open()
    assert found.value.next_step
    assert found.value.__cause__ is None
    assert found.value.__suppress_context__ or found.value.__context__ is None
    return found.value


async def opened_and_loaded(path: Path) -> None:
    store = SqlStore(path)
    try:
        await store.open()
        await store.load()
    finally:
        await store.close()


# -- the file ---------------------------------------------------------------------------


async def test_a_new_store_and_its_directory_are_private(path: Path) -> None:
    store = SqlStore(path)
    assert not path.parent.exists()  # the constructor touches nothing
    await store.open()
    await store.apply([AddJournal(JournalRow(1, 1, "x"))])
    modes = {item.name: stat.S_IMODE(item.stat().st_mode) for item in path.parent.iterdir()}
    await store.close()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert modes == dict.fromkeys(
        ["store.sqlite", "store.sqlite-shm", "store.sqlite-wal", "store.sqlite.lock"], 0o600
    )
    assert sorted(os.listdir(path.parent)) == ["store.sqlite", "store.sqlite.lock"]


async def test_a_store_that_others_could_read_is_made_private(filled: Path) -> None:
    filled.chmod(0o644)
    store = SqlStore(f"sqlite:///{filled}")
    await store.open()
    await store.close()
    assert stat.S_IMODE(filled.stat().st_mode) == 0o600


async def test_the_writer_waits_for_the_disk_and_runs_in_wal_mode(store: SqlStore) -> None:
    assert store._opened is not None
    with store._opened.write_engine.begin() as connection:
        found = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    assert found == ["wal", 2, 1, 100]


@pytest.mark.parametrize(
    "address", ["sqlite://", "mysql://ann:secret@db/store", "nonsense://", "sqlite:///a?x=1"]
)
async def test_an_address_that_names_no_store_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="names no store") as found:
        await SqlStore(address).open()
    assert "secret" not in str(found.value)


async def test_a_directory_is_no_store(tmp_path: Path) -> None:
    assert "can't be used" in str(await refusal(tmp_path))


async def test_a_path_below_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "can't be used" in str(await refusal(tmp_path / "file" / "store.sqlite"))


async def test_an_opening_that_is_cancelled_lets_go_of_the_store(path: Path) -> None:
    store = SqlStore(path)
    opening = asyncio.ensure_future(store.open())
    while not path.exists():  # noqa: ASYNC110  (a thread makes it)
        await asyncio.sleep(0)  # until the thread is at work
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    other = SqlStore(path)
    await other.open()
    await other.close()


# -- the lock ---------------------------------------------------------------------------


async def test_a_second_manager_is_told_who_has_the_store(store: SqlStore, filled: Path) -> None:
    error = await refusal(filled)
    assert f"in use by process {os.getpid()}" in error.message
    await store.apply([AddJournal(JournalRow(900, 1, "x"))])  # the first one isn't disturbed


def test_a_lock_ends_with_its_holder_even_if_that_left_children(tmp_path: Path) -> None:
    source = (
        "import os, sys, pathlib; from qpu_executor.manager.store.lock import FileLock\n"
        "lock = FileLock(pathlib.Path(sys.argv[1])); assert lock.acquire() is None\n"
        "if os.fork() == 0:\n"
        "    print('forked', flush=True); sys.stdin.read(); os._exit(0)\n"
        "os._exit(0)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", source, str(tmp_path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"forked\n"  # what a fork does to a lock is done
        assert holder.wait() == 0  # its child lives on, until our end of stdin closes
        lock = FileLock(tmp_path / "lock")
        assert lock.acquire() is None
        told = FileLock(tmp_path / "lock").acquire()
        assert told is not None
        assert re.fullmatch(
            rf"process {os.getpid()} on {socket.gethostname()} since [-\d]+ [:\d]+ UTC", told
        )
        lock.release()
        lock.release()
        assert holder.stdin is not None
        holder.stdin.close()


# -- files that aren't ours -------------------------------------------------------------


async def test_a_file_that_is_no_database_stays_untouched(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"my thesis, the only copy\n" * 100)
    error = await refusal(path)
    assert "no SQLite database" in error.message
    assert path.read_bytes() == b"my thesis, the only copy\n" * 100
    assert not path.with_name("store.sqlite-wal").exists()


async def test_another_programs_database_stays_untouched(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE tasks (id INTEGER)")
    before = path.read_bytes()
    error = await refusal(path)
    assert "another program's database" in error.message
    assert path.read_bytes() == before


async def test_a_store_of_a_newer_version_names_both_and_stays_as_it_is(filled: Path) -> None:
    with closing(sqlite3.connect(filled, isolation_level=None)) as connection:
        connection.execute("UPDATE schema_version SET version_num = '0999'")
    error = await refusal(filled)
    assert "0999" in error.message
    assert migrations.HEAD in error.message
    assert error.next_step == "upgrade qpu-executor"
    with closing(sqlite3.connect(filled)) as connection:
        assert connection.execute("SELECT incarnation FROM meta").fetchall() == [(1,)]


# -- damage -----------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [1, 50, 99, 100, 4096, 20_000])
async def test_a_cut_off_store_is_refused(filled: Path, kept: int) -> None:
    os.truncate(filled, kept)
    await refusal(filled)
    assert filled.stat().st_size == kept


@pytest.mark.parametrize(
    ("at", "length"), [(0, 16), (0, 100), (16, 8), (40, 20), (100, 2000), (4096, 40_000)]
)
async def test_garbage_in_a_store_never_shows_a_stack_trace(
    filled: Path, at: int, length: int
) -> None:
    with filled.open("r+b") as file:
        file.seek(at)
        file.write(b"\xa5" * length)
    with pytest.raises(StoreError) as found:
        await opened_and_loaded(filled)
    assert found.value.next_step
    assert found.value.__suppress_context__ or found.value.__context__ is None


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE tasks SET state = 'QUEUED', qpus = 'not json'",
        "UPDATE chunks SET state = 'NONSENSE'",
        "UPDATE schema_version SET version_num = '0000'",
        "DROP TABLE meta",
        "DROP TABLE chunks",
    ],
)
async def test_content_that_cannot_be_ours_never_shows_a_stack_trace(
    filled: Path, damage: str
) -> None:
    with closing(sqlite3.connect(filled, isolation_level=None)) as connection:
        connection.execute(damage)
    with pytest.raises(StoreError, match="damaged") as found:
        await opened_and_loaded(filled)
    assert found.value.next_step
    assert found.value.__suppress_context__ or found.value.__context__ is None


async def test_a_wal_without_its_database_is_not_thrown_away(filled: Path) -> None:
    wal = filled.with_name("store.sqlite-wal")
    wal.write_bytes(b"what was committed last")
    filled.unlink()
    assert "damaged" in (await refusal(filled)).message
    assert wal.read_bytes() == b"what was committed last"


async def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    store = SqlStore(path)
    await store.open()
    assert store.incarnation == 1
    await store.close()


async def test_a_store_whose_creation_was_interrupted_is_completed(path: Path) -> None:
    store = SqlStore(path)
    await store.open()
    await store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        for (name,) in tables.fetchall():
            connection.execute(f"DROP TABLE {name}")
    await store.open()
    assert store.incarnation == 1
    await store.close()


async def test_writes_stop_while_the_file_is_gone(store: SqlStore, filled: Path) -> None:
    moved = filled.with_name("elsewhere")
    filled.rename(moved)
    with pytest.raises(ManagerBusy, match="gone"):
        await store.apply([AddJournal(JournalRow(900, 1, "x"))])
    shutil.copy(moved, filled)
    with pytest.raises(StoreError, match="replaced"):
        await store.apply([AddJournal(JournalRow(900, 1, "x"))])
    moved.replace(filled)
    await store.apply([AddJournal(JournalRow(900, 1, "x"))])
    assert [row.n for row in await store.journal(800)] == [900]


async def test_a_database_locked_at_opening_is_reported(filled: Path) -> None:
    with closing(sqlite3.connect(filled, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert "locked" in (await refusal(filled)).message
        other.execute("ROLLBACK")
    store = SqlStore(filled)
    await store.open()  # the refused one has let go
    await store.close()


# -- indexes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (queries.live_tasks, "ix_tasks_live"),
        (queries.live_chunks, "ix_tasks_live"),
        (queries.live_task_ids("s"), "ix_tasks_session_id"),
        (queries.tasks_page(TaskFilter(states=(TaskState.QUEUED,))), "ix_tasks_live"),
        (queries.tasks_page(TaskFilter(owner="o")), "ix_tasks_owner"),
        (queries.tasks_page(TaskFilter(session_id="s")), "ix_tasks_session_id"),
        (queries.tasks_by_key("o", ["k"]), "sqlite_autoindex_tasks_1"),
        (queries.program_owners("h"), "ix_tasks_program_hash"),
        (queries.session_by_key("o", "k"), "sqlite_autoindex_sessions_2"),
        (queries.open_sessions, "ix_sessions_open"),
        (queries.chunks_of([1, 2]), "sqlite_autoindex_chunks_1"),
        (queries.journal_page(5, None, None, False, 10), "PRIMARY KEY"),
        (queries.journal_page(5, "o", None, True, 10), "ix_journal_owner"),
        (queries.history_of([1, 2]), "ix_journal_task_states"),
    ],
)
async def test_a_query_uses_its_index(
    filled: Path, query: Select[tuple[object]], index: str
) -> None:
    compiled = query.compile(dialect=dialect.dialect(), compile_kwargs={"render_postcompile": True})
    parameters = [compiled.params[name] for name in compiled.positiontup or ()]
    with closing(sqlite3.connect(filled)) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {compiled}", parameters).fetchall()
    steps = [row[3] for row in plan]
    assert any(index in step for step in steps), steps


async def test_a_new_store_s_write_ahead_log_has_its_full_size_and_the_file_hasn_t(
    path: Path,
) -> None:
    store = SqlStore(path)
    await store.open()
    wal = path.with_name(path.name + "-wal")
    assert wal.stat().st_size >= 1000 * 4096
    await frozen_store.fill(store)
    assert wal.stat().st_size < 1100 * 4096
    await store.close()
    assert path.stat().st_size < 500_000
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        names = connection.execute("SELECT name FROM sqlite_master").fetchall()
    assert ("never_committed",) not in names
