"""Stores that earlier versions left behind are opened, upgraded and complete.

What version 0001 wrote is spelt out here, apart from the code that wrote it:
that code moves on with the schema.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from qpu_executor.manager.store import migrations
from qpu_executor.manager.store.change_records import AddJournal
from qpu_executor.manager.store.records import JournalRow, SessionRow, TaskFilter
from qpu_executor.manager.store.sql import SqlStore
from qpu_executor.manager.store.wishes import Wishes
from qpu_executor.model.states import ChunkState, DependencyKind, OnRecalibration, TaskState
from qpu_executor.model.stopping import StopRule
from qpu_executor.model.timing import Dependency
from qpu_executor.testing import frozen_store
from qpu_executor.testing.imported_store import import_store

FROZEN = sorted((Path(__file__).parents[1] / "data" / "stores").glob("*.sqlite"))
BEGIN_AT = 1_767_225_600_000_000


@dataclass(frozen=True)
class Frozen:
    """A copy of a store that an earlier version left: its address, and that version."""

    address: Path | str
    written_by: str

    def store(self) -> SqlStore:
        return SqlStore(self.address)


@pytest.fixture(params=FROZEN, ids=lambda path: path.stem)
def copied(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copy(request.param, tmp_path / "store.sqlite"))


@pytest.fixture(params=["sqlite", "postgresql"])
def frozen(request: pytest.FixtureRequest, copied: Path) -> Frozen:
    written_by = version_of(copied)
    if request.param == "sqlite":
        return Frozen(copied, written_by)
    url = request.getfixturevalue("postgres").new_database()
    import_store(copied, url)
    return Frozen(url, written_by)


def second(n: int) -> int:
    return BEGIN_AT + n * 1_000_000


def version_of(address: Path | str) -> str:
    if isinstance(address, str):
        with psycopg.connect(address) as database:
            row = database.execute("SELECT version_num FROM schema_version").fetchone()
        assert row is not None
        return str(row[0])
    with closing(sqlite3.connect(address)) as connection:
        ((version,),) = connection.execute("SELECT version_num FROM schema_version")
    return str(version)


WITHIN_ONE_STEP = frozenset({"0006", "0007", "0008"})
"""Nobody ever had a store of these: they came together with 0009."""


def test_every_version_of_the_schema_left_a_store_behind() -> None:
    stored = [path.stem for path in FROZEN]
    every = [f"{n:04}" for n in range(1, int(migrations.HEAD) + 1)]
    assert stored == [version for version in every if version not in WITHIN_ONE_STEP]
    assert [version_of(path) for path in FROZEN] == stored


async def test_its_tasks_are_complete(frozen: Frozen) -> None:
    store = frozen.store()
    await store.open()
    tasks = {task.id: task for task in await store.tasks(TaskFilter())}
    newest = await store.tasks_by_key("uid:1000", ["again", "key-1"])
    await store.close()
    assert {id_: (t.state, t.shots_done, t.started_at, t.ended_at) for id_, t in tasks.items()} == {
        1: (TaskState.COMPLETED, 100, second(10), second(14)),
        2: (TaskState.HELD, 0, None, None),
        3: (TaskState.RUNNING, 0, second(20), None),
        4: (TaskState.FAILED, 0, second(30), second(31)),
        5: (TaskState.CANCELLED, 25, second(32), second(33)),
        6: (TaskState.RUNNING, 0, second(24), None),
        7: (TaskState.QUEUED, 0, None, None),
    }
    failed = tasks[4]
    assert (failed.error, failed.error_code, failed.permanent) == (
        "the QPU refuses the program",
        "program-refused",
        True,
    )
    assert tasks[1].qpus == ("emu", "fresnel")
    assert tasks[1].seed == 2**62 + 1
    assert tasks[1].submitted_at == second(1)
    assert tasks[5].cancel_asked
    assert not tasks[6].divisible
    assert {key: task.id for key, task in newest.items()} == {"again": 7, "key-1": 1}


async def test_its_wishes_are_those_that_its_version_knew(frozen: Frozen) -> None:
    written_by = frozen.written_by
    store = frozen.store()
    await store.open()
    tasks = {task.id: task for task in await store.tasks(TaskFilter())}
    chunks = await store.chunks(tasks)
    await store.close()
    wishes = Wishes(
        begin_at=second(3600),
        depends_on=(Dependency(1), Dependency(3, DependencyKind.AFTER_ANY)),
        on_recalibration=OnRecalibration.RESTART,
        min_quality=0.5,
    )
    expected = {id_: Wishes() for id_ in tasks}
    if written_by != "0001":
        expected[7] = wishes
    if written_by >= "0003":
        expected[1] = Wishes(stop_when=StopRule(50, stderr=0.25, observable=(("ZI", 1.0),)))
    assert {id_: task.wishes for id_, task in tasks.items()} == expected
    early = {id_: task.stopped_early for id_, task in tasks.items() if task.stopped_early}
    said = {1: "standard error 0.2 after 100 shots (at most 0.25 wanted)"}
    assert early == (said if written_by >= "0003" else {})
    assert {task.layout for task in tasks.values()} == {None}
    assert not any(chunk.discarded for of in chunks.values() for chunk in of)


async def test_usage_since_is_what_its_chunks_took(frozen: Frozen) -> None:
    store = frozen.store()
    await store.open()
    taken = await store.usage(second(13))
    await store.close()
    assert [(one.owner, one.job_class, one.at, one.charged_s) for one in taken] == [
        ("uid:1000", "production", second(14), 0.5),
        ("uid:1001", "production", second(33), 0.25),
    ]


async def test_its_chunks_and_programs_are_complete(frozen: Frozen) -> None:
    store = frozen.store()
    await store.open()
    chunks = await store.chunks(range(1, 8))
    programs = await store.programs(["a1" * 32, "b2" * 32])
    await store.close()
    states = {id_: [chunk.state for chunk in of] for id_, of in chunks.items() if of}
    assert states == {
        1: [ChunkState.FINISHED, ChunkState.FINISHED],
        3: [ChunkState.LOST, ChunkState.RUNNING],
        4: [ChunkState.LOST],
        5: [ChunkState.STOPPED],
        6: [ChunkState.UNKNOWN],
    }
    first, last = chunks[1]
    assert (first.counts, first.epoch, first.device_s, first.setup_s, first.versions) == (
        {"00": 40, "01": 20},
        "emu-1",
        0.75,
        0.125,
        {"pulser": "1.9.1"},
    )
    assert (last.first_shot, last.counts, last.surplus, last.started_at, last.ended_at) == (
        60,
        {"10": 40},
        3,
        second(13),
        second(14),
    )
    assert programs["a1" * 32].qubit_ids == ("q0", "q1")
    assert (programs["a1" * 32].atoms, programs["a1" * 32].layout) == (2, "6a09e667")
    assert programs["b2" * 32].content == "né\n"


async def test_its_windows_and_tokens_are_complete(frozen: Frozen) -> None:
    written_by = frozen.written_by
    store = frozen.store()
    await store.open()
    windows, tokens = (await store.load()).windows, await store.tokens()
    await store.close()
    kept = written_by >= "0004"
    assert windows == ((frozen_store.WINDOW,) if kept else ())
    assert tokens == ([frozen_store.TOKEN] if kept else [])


async def test_a_manager_can_go_on_with_it(frozen: Frozen) -> None:
    store = frozen.store()
    await store.open()
    assert store.incarnation == 2
    snapshot = await store.load()
    assert [task.id for task in snapshot.live] == [2, 3, 6, 7]
    assert {id_: len(chunks) for id_, chunks in snapshot.chunks.items()} == {3: 2, 6: 1}
    assert (snapshot.next_task_id, snapshot.journal_n) == (8, 401)
    assert snapshot.latest_at == second(50)
    leased = (frozen_store.LEASED,) if frozen.written_by >= "0009" else ()
    assert snapshot.open_sessions == (
        SessionRow("s-open", "uid:1000", "physics", "scan", "run", "scan-1", BEGIN_AT + 1),
        *leased,
    )
    history = (await store.history([5]))[5]
    assert [(row.state, row.shots_done, row.owner) for row in history] == [
        (TaskState.QUEUED, 0, "uid:1001"),
        (TaskState.RUNNING, 0, "uid:1001"),
        (TaskState.CANCELLED, 25, "uid:1001"),
    ]
    assert history[0].data == {"note": ["né", 5, None]}
    await store.apply([AddJournal(JournalRow(402, second(60), "WokenUp"))])
    await store.close()
    assert version_of(frozen.address) == migrations.HEAD


def test_writing_one_leaves_a_single_file_and_replaces_none(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    frozen_store.write(path)
    assert [item.name for item in tmp_path.iterdir()] == ["store.sqlite"]
    with pytest.raises(FileExistsError):
        frozen_store.write(path)
