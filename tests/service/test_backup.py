"""A backup is restored although the QPU ran on: what it did since isn't done again.

What was executed is read from the controller's own ledger.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.errors import StoreError, UnknownTask
from qpu_executor.manager.store.backup import back_up
from qpu_executor.manager.store.change_records import AddJournal
from qpu_executor.manager.store.records import JournalRow
from qpu_executor.manager.store.restored import SKIPPED
from qpu_executor.manager.store.sql import SqlStore
from qpu_executor.programs.program import Program
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.testing.controller.ledger import executed_by_mark
from qpu_executor.testing.controller.process import ControllerProcess
from qpu_executor.testing.postgres import Postgres
from qpu_executor.testing.sequences import small_sequence

SITE = """
manager:
  listen: {{listen}}
  store: {{{{{store}, directory: files}}}}
  health_every_s: 0.2
default_class: development
job_classes:
  development: {{{{priority: 100, chunk_s: 0.5}}}}
qpus:
  fresnel: {{{{kind: pasqal-controller, url: "{url}", shot_rate_hz: 100, silence_s: 1}}}}
"""

SHOTS = 300


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[ControllerProcess]:
    made = ControllerProcess(tmp_path, "--coins", "--shot-s", "0.01")
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def program() -> Program:
    return to_program(small_sequence())


class SqliteBackup:
    """With `qpu admin backup`."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "backup.sqlite"
        self.store = "path: store.sqlite"

    def take(self, manager: Any) -> None:
        command = ("admin", "backup", str(self.file), "--site", str(manager._site))
        done = subprocess.run(
            [sys.executable, "-m", "qpu_executor.cli.main", *command],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def put_back(self, manager: Any) -> str:
        for ending in ("", "-wal", "-shm"):
            manager.store.with_name(manager.store.name + ending).unlink(missing_ok=True)
        self.file.rename(manager.store)
        return self.store


class PostgresBackup:
    """With pg_dump, into a database of its own."""

    def __init__(self, server: Postgres) -> None:
        self._server = server
        self._url = server.new_database()
        self.store = f"url: '{self._url}'"
        self._dump = ""

    def take(self, manager: Any) -> None:
        database = self._url.partition("?")[0].rpartition("/")[2]
        self._dump = self._server.command("pg_dump", database=database)

    def put_back(self, manager: Any) -> str:
        url = self._server.new_database()
        database = url.partition("?")[0].rpartition("/")[2]
        file = self._server.directory / "dump.sql"
        file.write_text(self._dump)
        self._server.command("psql", "-X", "-q", "-f", str(file), database=database)
        return f"url: '{url}'"


@pytest.fixture(params=["sqlite", "postgresql"])
def backup(request: pytest.FixtureRequest, tmp_path: Path) -> SqliteBackup | PostgresBackup:
    if request.param == "sqlite":
        return SqliteBackup(tmp_path)
    return PostgresBackup(request.getfixturevalue("postgres"))


def wait_for_ended(controller: ControllerProcess, jobs: int) -> None:
    while sum(line["event"] == "ended" for line in controller.ledger) < jobs:
        time.sleep(0.01)


def test_chunks_that_ran_since_the_backup_are_asked_about_and_not_repeated(
    make_manager: Any,
    controller: ControllerProcess,
    program: Program,
    backup: SqliteBackup | PostgresBackup,
) -> None:
    served = make_manager(site=SITE.format(url=controller.url, store=backup.store))
    served.start()
    with served.connect() as client:
        task = client.submit(program, SHOTS)
        wait_for_ended(controller, 2)
        backup.take(served)
        result = task.result(timeout=120)
        forgotten = client.submit(program, 5)
        forgotten.result(timeout=120)
    served.kill()
    before = controller.ledger
    served._text = SITE.format(url=controller.url, store=backup.put_back(served))
    served.start("--restored")
    with served.connect() as client:
        again = client.task(task.id).result(timeout=120)
        with pytest.raises(UnknownTask):
            client.task(forgotten.id).result(timeout=120)
        assert controller.ledger == before
        # Killed and started without the option: it is known that a backup was restored.
        served.kill()
        served.start()
        new = client.submit(program, 5)
        assert new.id >= SKIPPED
        assert new.result(timeout=120).shots == 5
    assert again.counts == result.counts
    assert again.shots == SHOTS
    by_mark = executed_by_mark(controller.ledger)
    assert sum(by_mark.values()) == SHOTS + 5 + 5
    assert sum(line["event"] == "began" for line in controller.ledger) == len(by_mark)


async def test_numbers_go_on_above_all_that_were_given_after_the_backup(tmp_path: Path) -> None:
    seen = []
    for restored in (False, True, False, True):
        store = SqlStore(tmp_path / "store.sqlite", restored=restored)
        await store.open()
        snapshot = await store.load()
        seen.append((snapshot.next_task_id, snapshot.restored_below, snapshot.journal_n))
        await store.close()
    once, twice = SKIPPED + 1, 2 * SKIPPED + 1
    assert seen == [(1, 0, 0), (once, 1, SKIPPED), (once, 1, SKIPPED), (twice, once, 2 * SKIPPED)]


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
async def test_where_no_backup_was_put_in_place_nothing_new_is_made(
    tmp_path: Path, request: pytest.FixtureRequest, engine: str
) -> None:
    address: Path | str = tmp_path / "mistyped.sqlite"
    if engine == "postgresql":
        address = request.getfixturevalue("postgres").new_database()
    with pytest.raises(StoreError, match="no backup was put in place"):
        await SqlStore(address, restored=True).open()
    assert "mistyped.sqlite" not in os.listdir(tmp_path)
    store = SqlStore(address)
    await store.open()
    assert store.incarnation == 1
    await store.close()


async def test_a_backup_is_not_mixed_with_the_log_of_the_store_before(tmp_path: Path) -> None:
    path, copy = tmp_path / "store.sqlite", tmp_path / "copy.sqlite"
    store = SqlStore(path)
    await store.open()
    back_up(path, copy)
    await store.apply([AddJournal(JournalRow(1, 1, "x"))])
    wal = path.with_name("store.sqlite-wal")
    kept = wal.read_bytes()
    await store.close()
    copy.replace(path)
    wal.write_bytes(kept)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="-wal file of the store that was there before") as told:
        await SqlStore(path, restored=True).open()
    assert "remove store.sqlite-wal and store.sqlite-shm" in (told.value.next_step or "")
    assert path.read_bytes() == before
    wal.unlink()
    store = SqlStore(path, restored=True)
    await store.open()
    assert [row.kind for row in await store.journal(0)] == ["StoreRestored"]
    await store.close()
