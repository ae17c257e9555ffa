"""`qpu admin backup`: a whole copy of a store that is in use, or nothing at all."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from qpu_executor.cli.main import main
from qpu_executor.errors import StoreError
from qpu_executor.manager.store import backup
from qpu_executor.manager.store.backup import back_up
from qpu_executor.manager.store.change_records import AddJournal
from qpu_executor.manager.store.records import JournalRow, TaskFilter
from qpu_executor.manager.store.sql import SqlStore
from qpu_executor.testing import frozen_store


async def test_a_copy_holds_what_was_applied_and_nothing_of_later(tmp_path: Path) -> None:
    path, target = tmp_path / "store.sqlite", tmp_path / "copy.sqlite"
    store = SqlStore(path)
    await store.open()
    await frozen_store.fill(store)
    back_up(path, target)
    await store.apply([AddJournal(JournalRow(900, 1, "later"))])
    copy = SqlStore(target)
    await copy.open()
    assert await copy.tasks(TaskFilter()) == await store.tasks(TaskFilter())
    assert 900 not in [row.n for row in await copy.journal(0)]
    await copy.close()
    await store.close()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def refusal(path: Path, target: Path) -> str:
    with pytest.raises(StoreError) as found:
        back_up(path, target)
    return str(found.value)


def test_what_cannot_be_copied_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "copy.sqlite"
    other = tmp_path / "other.sqlite"
    sqlite3.connect(other).execute("CREATE TABLE one (n)").connection.close()
    assert "no such file" in refusal(tmp_path / "none.sqlite", target)
    assert "not a manager's store" in refusal(other, target)
    assert "is there already" in refusal(other, other)
    assert "can't be copied" in refusal(other, tmp_path / "none" / "copy.sqlite")
    assert os.listdir(tmp_path) == ["other.sqlite"]


def test_a_store_in_postgresql_is_left_to_its_own_tool(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(
        "manager: {store: 'postgresql://qpu@db/qpu'}\ndefault_class: d\n"
        "job_classes: {d: {priority: 1}}\nqpus: {e: {kind: pulser-emulator}}\n"
    )
    with pytest.raises(SystemExit) as ended:
        main(["admin", "backup", str(tmp_path / "copy"), "--site", str(site)])
    assert ended.value.code == 2
    assert "pg_dump --format=custom" in capsys.readouterr().err


async def test_a_copy_that_is_interrupted_has_no_name_and_touches_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, target = tmp_path / "store.sqlite", tmp_path / "copy.sqlite"
    store = SqlStore(path)
    await store.open()
    await store.close()
    somebodys = tmp_path / "copy.sqlite.part"
    somebodys.write_text("precious")
    there_while_it_is_copied = []

    def halfway(file: Path) -> None:
        there_while_it_is_copied.append(target.exists())
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(backup, "_to_disk", halfway)
    assert "No space left" in refusal(path, target)
    monkeypatch.undo()
    assert there_while_it_is_copied == [False]
    assert [name for name in os.listdir(tmp_path) if name.startswith("copy")] == [somebodys.name]
    assert somebodys.read_text() == "precious"
    target.symlink_to(tmp_path / "nowhere")
    assert "is there already" in refusal(path, target)


async def test_a_copy_needs_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, target = tmp_path / "store.sqlite", tmp_path / "copy.sqlite"
    store = SqlStore(path)
    await store.open()
    await store.close()

    def refused(source: Path, name: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    back_up(path, target)
    with closing(sqlite3.connect(target)) as copy:
        assert copy.execute("SELECT incarnation FROM meta").fetchall() == [(1,)]
    assert "is there already" in refusal(path, target)
