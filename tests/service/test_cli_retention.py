"""`qpu admin prune` against a real manager whose tasks ended long ago, and what is left of them."""

from __future__ import annotations

import json
import resource
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.cli.main import main
from qpu_executor.client import TaskOrder
from qpu_executor.errors import TaskExpired
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.testing.sequences import small_sequence

DAY = 86_400_000_000


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, output, errors."""
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """What a full disk is to a file: a write beyond so many bytes fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def made_older(store: Path, days: int) -> None:
    """As if everything in it had happened so many days earlier."""
    columns = {
        "tasks": ("submitted_at", "started_at", "ended_at"),
        "chunks": ("sent_at", "started_at", "ended_at"),
        "journal": ("at",),
    }
    with closing(sqlite3.connect(store)) as connection, connection:
        for table, names in columns.items():
            moved = ", ".join(f"{name} = {name} - {days * DAY}" for name in names)
            connection.execute(f"UPDATE {table} SET {moved}")


def test_old_tasks_are_exported_dropped_and_replayed_from_the_export(
    make_manager: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served = make_manager()
    served.start()
    program = to_program(small_sequence())
    with served.connect() as client:
        old = client.submit(program, 20, key="old")
        assert old.result(timeout=120).shots == 20
    assert served.stop() == 0
    made_older(served.store, 100)
    served.start()
    with served.connect() as client:
        young = client.submit(program, 30)
        young.result(timeout=120)
    at = ("--manager", served.url)
    export = tmp_path / "old.jsonl"
    code, out, _ = run(capsys, "admin", "prune", "--dry-run", *at)
    assert (code, out.split()[:2]) == (0, ["1", "tasks"])
    full = tmp_path / "full.jsonl"
    with files_of_at_most(500):
        code, out, err = run(capsys, "admin", "prune", "--export", str(full), *at)
    assert (code, out) == (1, "")
    assert "can't be written: File too large" in err
    assert f"{full}" in err
    code, out, _ = run(capsys, "admin", "prune", "--dry-run", *at)
    assert (code, out.split()[:2]) == (0, ["1", "tasks"]), "what isn't exported isn't dropped"
    code, out, err = run(capsys, "admin", "prune", "--export", str(export), *at)
    assert (code, err) == (0, "")
    assert out.startswith("dropped: 1 tasks, ")
    assert export.stat().st_mode & 0o777 == 0o600
    records = [json.loads(line) for line in export.read_text().splitlines()]
    assert records[0]["program"]["content"] == program.content
    assert {one["record"] for one in records} == {"task", "journal"}
    code, _, err = run(capsys, "admin", "prune", "--export", str(export), *at)
    assert (code, "isn't there yet" in err) == (2, True), "an export is never written over"
    with served.connect() as client:
        with pytest.raises(TaskExpired, match=f"task {old.id}"):
            client.task(old.id).result(timeout=120)
        with pytest.raises(TaskExpired, match="new key"):
            client.submit_many([TaskOrder(program, 20, key="old")])
        assert client.task(young.id).result(timeout=120).shots == 30
    code, _, err = run(capsys, "show", str(old.id), *at)
    assert code == 2
    assert "expired" in err
    site = str(served.directory / "site.yaml")
    code, _, err = run(capsys, "replay", str(served.store), "--site", site, "--policy", "fifo")
    assert (code, "of this journal were pruned" in err) == (0, True), err
    code, out, err = run(capsys, "replay", str(export), "--site", site, "--policy", "fifo")
    assert (code, err) == (0, ""), err
    code, out, _ = run(capsys, "audit", "--since", "1d", *at)
    assert code == 0
    assert {"export", "prune"} <= set(out.split())


def test_a_broken_export_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export = tmp_path / "e.jsonl"
    export.write_text('{"record": "journal", "row": {}}\n')
    site = Path(__file__).parents[2] / "configs" / "site.yaml"
    code, _, err = run(capsys, "replay", str(export), "--site", str(site))
    assert code == 1
    assert "can't be understood" in err
    export.write_text('{"record": "task", "chunks": []}\n{"rec')
    code, _, err = run(capsys, "replay", str(export), "--site", str(site))
    assert code == 1
    assert "line 2" in err
