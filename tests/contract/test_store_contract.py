"""What every store must do. A new implementation is one more parameter of `stores`.

Longer than other files, because it is one suite: all that a store promises, in one place.
"""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import psycopg.conninfo
import pytest
from sqlalchemy import Engine, event

from qpu_executor.errors import ManagerBusy, StoreError
from qpu_executor.manager.store.base import Store
from qpu_executor.manager.store.change_records import (
    AddChunk,
    AddJournal,
    AddProgram,
    AddSession,
    AddTask,
    AddToken,
    AskTask,
    Change,
    CloseSession,
    DiscardChunks,
    DropJournal,
    DropSession,
    DropWindow,
    ExpireTask,
    MarkSession,
    MoveSession,
    PutWindow,
    RevokeToken,
    UpdateChunk,
    UpdateTask,
)
from qpu_executor.manager.store.pruning import Prunable
from qpu_executor.manager.store.records import (
    ChunkRow,
    JournalRow,
    ProgramRow,
    SessionRow,
    SessionTotals,
    TaskFilter,
    TaskRow,
    TokenRow,
    UsageRow,
    WindowRow,
)
from qpu_executor.manager.store.sql import SqlStore
from qpu_executor.manager.store.wishes import Wishes
from qpu_executor.model.needs import QpuNeeds
from qpu_executor.model.sessions import SlurmJob, TaskFate
from qpu_executor.model.states import ChunkState, DependencyKind, OnRecalibration, TaskState
from qpu_executor.model.stopping import StopRule
from qpu_executor.model.timing import Dependency
from qpu_executor.model.values import ChunkId
from qpu_executor.testing.postgres import Postgres


class SqliteStores:
    """Stores on one SQLite file, and the ways in which that file can be in trouble."""

    def __init__(self, directory: Path, at_end: ExitStack) -> None:
        self.path = directory / "state" / "store.sqlite"
        self._connections: list[sqlite3.Connection] = []
        self._at_end = at_end
        event.listen(Engine, "connect", self._connected)
        at_end.callback(event.remove, Engine, "connect", self._connected)

    def _connected(self, connection: sqlite3.Connection, _record: object) -> None:
        self._connections.append(connection)

    def make(self) -> Store:
        return SqlStore(self.path, busy_timeout_s=0.1)

    def let_a_second_one_in(self) -> None:
        """As if the lock had failed to keep a second manager out."""
        self.path.with_name(self.path.name + ".lock").unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Another process has locked the database."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            yield
            other.execute("ROLLBACK")

    @contextmanager
    def full(self) -> Iterator[None]:
        """There is no room for more than is stored now."""
        writer = self._connections[0]
        (pages,) = writer.execute("PRAGMA page_count").fetchone()
        (most,) = writer.execute("PRAGMA max_page_count").fetchone()
        writer.execute(f"PRAGMA max_page_count = {pages}")
        yield
        writer.execute(f"PRAGMA max_page_count = {most}")

    def construction(self) -> str:
        """Python source of an expression that makes the store in another process."""
        return f"SqlStore({str(self.path)!r})"


class PostgresStores:
    """Stores in one PostgreSQL database, and the ways in which that can be in trouble."""

    def __init__(self, server: Postgres) -> None:
        self.url = server.new_database()
        self._server = server
        self._database = psycopg.conninfo.conninfo_to_dict(self.url)["dbname"]

    def make(self) -> Store:
        return SqlStore(self.url, busy_timeout_s=0.1)

    def let_a_second_one_in(self) -> None:
        """As if the database had given the lock away, and the next one has it already."""
        self._sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name LIKE 'qpu manager %' AND datname = current_database()"
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Another session has locked what every write needs."""
        with psycopg.connect(self.url) as other:
            other.execute("LOCK TABLE meta IN EXCLUSIVE MODE")
            yield
            other.rollback()

    @contextmanager
    def full(self) -> Iterator[None]:
        """The database says what it says when its disk is full, where a large row is added."""
        self._sql(
            "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "IF length(NEW.content) > 100000 THEN RAISE EXCEPTION USING ERRCODE = '53100', "
            "MESSAGE = 'could not extend file: no space left on device'; END IF; "
            "RETURN NEW; END $$"
        )
        self._sql(
            "CREATE TRIGGER no_room BEFORE INSERT ON programs "
            "FOR EACH ROW EXECUTE FUNCTION no_room()"
        )
        yield
        self._sql("DROP TRIGGER no_room ON programs")

    def construction(self) -> str:
        """Python source of an expression that makes the store in another process."""
        return f"SqlStore({self.url!r})"

    def _sql(self, statement: str) -> None:
        self._server.sql(statement, str(self._database))


Stores = SqliteStores | PostgresStores


@pytest.fixture(params=["sqlite", "postgresql"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stores]:
    if request.param == "postgresql":
        yield PostgresStores(request.getfixturevalue("postgres"))
        return
    with ExitStack() as at_end:
        yield SqliteStores(tmp_path, at_end)


@pytest.fixture
async def store(stores: Stores) -> AsyncIterator[Store]:
    store = stores.make()
    await store.open()
    await store.apply([AddProgram(PROGRAM)])
    yield store
    await store.close()


PROGRAM = ProgramRow(
    "p" * 64, "pulser", '{"é": 1}', 3, 1000, "layout", ("q0", "q1", "q2"), added_at=5
)


def a_task(id_: int, state: TaskState = TaskState.QUEUED, **fields: object) -> TaskRow:
    task = TaskRow(
        id=id_,
        owner="ann",
        account="physics",
        session_id=None,
        name=f"task {id_}",
        state=state,
        job_class="production",
        priority=-3,
        shots=100,
        shots_done=0,
        seed=2**63 - 1,
        program_hash=PROGRAM.hash,
        qpu_asked=None,
        qpus=("emu", "fresnel"),
        divisible=True,
        key=None,
        key_origin="user",
        generation=1,
        body_hash="b",
        submitted_at=1_767_225_600_000_000 + id_,
    )
    return replace(task, **fields)  # type: ignore[arg-type]


def a_chunk(task_id: int, n: int = 0, **fields: object) -> ChunkRow:
    chunk = ChunkRow(
        task_id, n, ChunkState.SENT, "emu", "AnalogDevice", True, 0, 50, sent_at=100, incarnation=1
    )
    return replace(chunk, **fields)  # type: ignore[arg-type]


def a_session(id_: str, owner: str = "ann", **fields: object) -> SessionRow:
    session = SessionRow(id_, owner, "physics", "scan", "run", key=None, opened_at=10)
    return replace(session, **fields)  # type: ignore[arg-type]


# -- tasks ------------------------------------------------------------------------------


async def test_a_task_is_read_back_as_it_was_added(store: Store) -> None:
    full = a_task(
        2**31 - 1,
        TaskState.FAILED,
        qpu_asked="emu",
        key="k",
        started_at=7,
        ended_at=8,
        qpu="emu",
        error="it broke",
        error_code="task-failed",
        permanent=True,
        cancel_asked=True,
        hold_asked=True,
        divisible=False,
    )
    await store.apply([AddTask(a_task(1)), AddTask(full)])
    assert await store.task(1) == a_task(1)
    assert await store.task(full.id) == full
    assert await store.task(2) is None


async def test_running_sets_started_at_only_the_first_time(store: Store) -> None:
    await store.apply([AddTask(a_task(1))])
    await store.apply([UpdateTask(1, 100, TaskState.RUNNING, 0, qpu="emu")])
    await store.apply([UpdateTask(1, 200, TaskState.QUEUED, 30)])
    await store.apply([UpdateTask(1, 300, TaskState.RUNNING, 30)])
    assert await store.task(1) == a_task(
        1, TaskState.RUNNING, started_at=100, shots_done=30, qpu="emu"
    )


@pytest.mark.parametrize("state", [TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED])
async def test_a_final_state_sets_ended_at(store: Store, state: TaskState) -> None:
    await store.apply([AddTask(a_task(1)), UpdateTask(1, 400, state, 100)])
    assert await store.task(1) == a_task(1, state, shots_done=100, ended_at=400)


async def test_none_leaves_a_tasks_fields_as_they_are(store: Store) -> None:
    told = UpdateTask(
        1,
        5,
        TaskState.QUEUED,
        0,
        qpu="emu",
        error="e",
        error_code="c",
        permanent=True,
        cancel_asked=True,
        hold_asked=True,
    )
    await store.apply([AddTask(a_task(1)), told])
    before = await store.task(1)
    await store.apply([UpdateTask(1, 6, TaskState.QUEUED, 0)])
    assert await store.task(1) == before
    await store.apply([UpdateTask(1, 6, TaskState.QUEUED, 0, permanent=False, hold_asked=False)])
    assert before is not None
    assert await store.task(1) == replace(before, permanent=False, hold_asked=False)


async def test_asking_changes_only_what_was_asked_and_keeps_its_place_among_updates(
    store: Store,
) -> None:
    await store.apply(
        [
            AddTask(a_task(1)),
            AskTask(1, hold_asked=True),
            UpdateTask(1, 5, TaskState.HELD, 0, hold_asked=False),
            AskTask(1, cancel_asked=True),
        ]
    )
    assert await store.task(1) == a_task(1, TaskState.HELD, cancel_asked=True, hold_asked=False)


async def test_a_listing_filters_and_pages_by_id(store: Store) -> None:
    await store.apply([AddSession(a_session("s"))])
    states = list(TaskState)
    await store.apply(
        [
            AddTask(
                a_task(
                    n,
                    states[n % len(states)],
                    owner="bob" if n % 2 else "ann",
                    session_id="s" if n > 20 else None,
                )
            )
            for n in range(1, 31)
        ]
    )

    async def ids(**which: object) -> list[int]:
        return [task.id for task in await store.tasks(TaskFilter(**which))]  # type: ignore[arg-type]

    assert await ids() == list(range(1, 31))
    assert await ids(limit=3) == [1, 2, 3]
    assert await ids(after_id=28) == [29, 30]
    assert await ids(owner="bob", after_id=20) == [21, 23, 25, 27, 29]
    assert await ids(session_id="s", limit=2) == [21, 22]
    assert await ids(ids=(7, 3, 99, 3)) == [3, 7]
    assert await ids(ids=(7, 3), owner="ann") == []
    assert await ids(ids=()) == []
    assert await ids(ids=tuple(range(5000)), limit=2, after_id=4) == [5, 6]
    assert await ids(states=(TaskState.QUEUED,)) == [n for n in range(1, 31) if n % 6 == 1]
    assert await ids(states=(TaskState.HELD, TaskState.CANCELLED), limit=4) == [5, 6, 11, 12]
    assert await ids(states=()) == []


async def test_numbers_that_nothing_can_have_find_nothing(store: Store) -> None:
    await store.apply([AddTask(a_task(1)), AddJournal(JournalRow(1, 1, "x"))])
    for n in (2**31, 2**64, -(2**64), 0):
        assert await store.task(n) is None
        assert await store.tasks(TaskFilter(ids=(n,))) == []
        assert await store.chunks([n]) == {n: []}
        assert await store.history([n]) == {n: []}
    assert await store.tasks(TaskFilter(after_id=2**64)) == []
    assert await store.journal(2**64, limit=2**64) == []


async def test_ids_beyond_one_statement_are_all_found_in_order(store: Store) -> None:
    await store.apply([AddTask(a_task(n)) for n in range(1, 2502)])
    found = await store.tasks(TaskFilter(ids=tuple(range(2501, 0, -1)), limit=2400))
    assert [task.id for task in found] == list(range(1, 2401))


# -- keys -------------------------------------------------------------------------------


async def test_a_key_finds_its_newest_generation_for_its_owner_alone(store: Store) -> None:
    await store.apply(
        [
            AddTask(a_task(1, TaskState.FAILED, key="k", generation=1)),
            AddTask(a_task(2, TaskState.CANCELLED, key="k", generation=2)),
            AddTask(a_task(3, key="k", generation=3)),
            AddTask(a_task(4, key="k", owner="bob")),
            AddTask(a_task(5, key="other")),
            AddTask(a_task(6)),
        ]
    )
    found = await store.tasks_by_key("ann", {"k", "other", "none"})
    assert {key: task.id for key, task in found.items()} == {"k": 3, "other": 5}
    assert await store.tasks_by_key("eve", ["k"]) == {}
    assert await store.tasks_by_key("ann", []) == {}


async def test_a_generation_of_a_key_names_one_task(store: Store) -> None:
    await store.apply([AddTask(a_task(1, key="k"))])
    with pytest.raises(StoreError):
        await store.apply([AddTask(a_task(2, key="k"))])
    assert await store.task(2) is None


# -- programs ---------------------------------------------------------------------------


async def test_a_program_is_stored_once_and_stays_as_it_was(store: Store) -> None:
    other = replace(PROGRAM, hash="o" * 64, atoms=None, layout=None, qubit_ids=())
    again = replace(PROGRAM, added_at=99)
    await store.apply([AddProgram(again), AddProgram(other), AddProgram(replace(other, atoms=4))])
    found = await store.programs([PROGRAM.hash, other.hash, "none"])
    assert found == {PROGRAM.hash: PROGRAM, other.hash: other}


async def test_owners_of_a_program_are_those_of_its_tasks(store: Store) -> None:
    await store.apply(
        [AddTask(a_task(n, owner=owner)) for n, owner in enumerate(["ann", "bob", "ann"], 1)]
    )
    assert await store.program_owners(PROGRAM.hash) == {"ann", "bob"}
    assert await store.program_owners("none") == set()


# -- chunks -----------------------------------------------------------------------------


async def test_wishes_are_read_back_as_they_were(store: Store) -> None:
    wishes = Wishes(
        begin_at=1_767_225_600_000_000,
        time_limit_s=1.5,
        depends_on=(Dependency(1), Dependency(2, DependencyKind.AFTER_ANY)),
        on_recalibration=OnRecalibration.FAIL,
        max_calibration_age_s=60.0,
        min_quality=0.25,
        deadline_at=1_767_225_600_000_001,
        shot_s=0.125,
        device="AnalogDevice",
        require=QpuNeeds(min_qubits=5, channels=("é",), emulated=False),
        stop_when=StopRule(50, stderr=0.125, observable=(("Z1", 0.5), ("II", -1.0))),
    )
    await store.apply([AddTask(a_task(3, wishes=wishes, layout="é")), AddTask(a_task(4))])
    found = {task.id: task for task in await store.tasks(TaskFilter())}
    assert (found[3].wishes, found[3].layout) == (wishes, "é")
    assert (found[4].wishes, found[4].layout) == (Wishes(), None)


async def test_why_a_task_was_stopped_early_is_kept(store: Store) -> None:
    await store.apply([AddTask(a_task(3)), AddTask(a_task(4))])
    early = UpdateTask(3, 5, TaskState.COMPLETED, 60, stopped_early="enough, né")
    await store.apply([early, UpdateTask(4, 5, TaskState.COMPLETED, 100)])
    found = {task.id: task for task in await store.tasks(TaskFilter())}
    assert [found[id_].stopped_early for id_ in (3, 4)] == ["enough, né", None]


def ended(n: int, at: int, shots: int, charged_s: float) -> UpdateChunk:
    counts = {"shots_counted": shots, "charged_s": charged_s}
    state = ChunkState.FINISHED if shots else ChunkState.LOST
    return UpdateChunk(ChunkId(1, n), at, state, **counts)  # type: ignore[arg-type]


async def test_discarded_are_the_chunks_that_counted_so_far(store: Store) -> None:
    await store.apply([AddTask(a_task(1)), *(AddChunk(a_chunk(1, n)) for n in range(3))])
    await store.apply([ended(0, 300, 50, 1.0), ended(1, 400, 0, 0.5)])
    # The chunk's end and the discard may come together, and the next chunk with them.
    await store.apply([DiscardChunks(1), ended(2, 500, 50, 1.0), AddChunk(a_chunk(1, 3))])
    await store.apply([ended(3, 600, 50, 1.0)])
    chunks = (await store.chunks([1]))[1]
    assert [(one.shots_counted, one.discarded) for one in chunks] == [
        (50, True),
        (0, False),
        (50, True),
        (50, False),
    ]


async def test_usage_is_what_was_charged_since_by_minute_oldest_first(store: Store) -> None:
    minute = 60_000_000
    await store.apply([AddTask(a_task(1)), *(AddChunk(a_chunk(1, n)) for n in range(4))])
    ends = [ended(0, minute - 1, 50, 8.0), ended(1, 2 * minute, 0, 0.0)]
    ends += [ended(2, 3 * minute, 50, 1.0), ended(3, 3 * minute + 5, 50, 2.0)]
    await store.apply(ends)
    kept = {"session_id": "s", "charged_s": 4.0}
    hold = JournalRow(1, 2 * minute, "SaveHold", data=kept)
    gone = JournalRow(2, 2 * minute, "SaveHold", data={**kept, "session_id": "nobody's"})
    await store.apply([AddSession(a_session("s")), AddJournal(hold), AddJournal(gone)])
    assert await store.usage(minute) == [
        UsageRow("physics", "ann", "", 4.0, False, 2 * minute),
        UsageRow("physics", "ann", "production", 3.0, False, 3 * minute + 5),
    ]


async def test_a_restart_knows_the_drained_qpus(store: Store) -> None:
    words = [("QpuDrained", "a"), ("QpuDrained", "b"), ("QpuResumed", "a"), ("QpuDrained", "c")]
    rows = [
        JournalRow(n, n, kind, data={"qpu": qpu, "reason": f"why {n}"})
        for n, (kind, qpu) in enumerate(words, 1)
    ]
    await store.apply([AddJournal(row) for row in rows])
    assert (await store.load()).drained == {"b": "why 2", "c": "why 4"}


async def test_announced_windows_are_kept_replaced_and_dropped(store: Store) -> None:
    cryostat = WindowRow("fresnel", "cryostat", {"at": "08:00", "length_s": 60.0}, "ann", 5)
    course = WindowRow("fresnel", "course", {"at": "14:00", "length_s": 60.0}, "ann", 6)
    await store.apply([PutWindow(cryostat), PutWindow(course)])
    assert (await store.load()).windows == (course, cryostat)
    later = WindowRow("fresnel", "course", {"at": "15:00", "length_s": 60.0}, "ben", 7)
    await store.apply([PutWindow(later), DropWindow("fresnel", "cryostat")])
    assert (await store.load()).windows == (later,)
    await store.apply([DropWindow("fresnel", "never announced")])
    assert (await store.load()).windows == (later,)


async def test_tokens_are_found_by_id_and_revoked_once(store: Store) -> None:
    row = TokenRow("a1", "d" * 64, "ada", None, ("operator",), "laptop", "root", 5, None)
    other = TokenRow("a2", "e" * 64, "bob", 1001, (), "", "bob", 6, 7)
    await store.apply([AddToken(row), AddToken(other)])
    await store.apply([RevokeToken("a1", 9)])
    await store.apply([RevokeToken("a1", 11)])
    assert await store.token("a1") == replace(row, revoked_at=9)
    assert await store.token("nobody's") is None
    assert [one.id for one in await store.tokens()] == ["a1", "a2"]


async def test_a_finished_chunk_has_its_outcome(store: Store) -> None:
    await store.apply([AddTask(a_task(1)), AddChunk(a_chunk(1))])
    await store.apply([UpdateChunk(ChunkId(1, 0), 200, ChunkState.RUNNING)])
    running = a_chunk(1, state=ChunkState.RUNNING, started_at=200)
    assert await store.chunks([1]) == {1: [running]}
    await store.apply(
        [
            UpdateChunk(
                ChunkId(1, 0),
                300,
                ChunkState.FINISHED,
                shots_counted=50,
                surplus=2,
                counts={"01": 20, "10": 30},
                epoch="e1",
                setup_s=0.5,
                device_s=1.25,
                reason="",
                versions={"pulser": "1.9"},
            )
        ]
    )
    finished = replace(
        running,
        state=ChunkState.FINISHED,
        ended_at=300,
        shots_counted=50,
        surplus=2,
        counts={"01": 20, "10": 30},
        epoch="e1",
        setup_s=0.5,
        device_s=1.25,
        versions={"pulser": "1.9"},
    )
    assert await store.chunks([1]) == {1: [finished]}


async def test_the_devices_own_times_win(store: Store) -> None:
    await store.apply([AddTask(a_task(1)), AddChunk(a_chunk(1))])
    await store.apply([UpdateChunk(ChunkId(1, 0), 200, ChunkState.RUNNING)])
    stopped = UpdateChunk(
        ChunkId(1, 0), 300, ChunkState.STOPPED, started_at=210, ended_at=290, reason="asked"
    )
    await store.apply([stopped])
    (chunk,) = (await store.chunks([1]))[1]
    assert (chunk.started_at, chunk.ended_at, chunk.reason) == (210, 290, "asked")


async def test_an_unanswered_chunk_keeps_its_start_and_gets_no_outcome(store: Store) -> None:
    await store.apply([AddTask(a_task(1)), AddChunk(a_chunk(1))])
    for at, state in ((200, ChunkState.RUNNING), (250, ChunkState.UNKNOWN)):
        await store.apply(
            [UpdateChunk(ChunkId(1, 0), at, state, shots_counted=9, counts={"1": 9}, reason="?")]
        )
    expected = a_chunk(1, state=ChunkState.UNKNOWN, started_at=200, reason="?")
    assert await store.chunks([1]) == {1: [expected]}


async def test_chunks_come_in_order_for_each_task_asked_for(store: Store) -> None:
    await store.apply(
        [
            *(AddTask(a_task(n)) for n in (1, 2, 3)),
            *(AddChunk(a_chunk(task_id, n)) for task_id, n in ((2, 1), (1, 1), (1, 0), (2, 0))),
        ]
    )
    found = await store.chunks([1, 2, 3])
    assert {task_id: [c.n for c in of] for task_id, of in found.items()} == {
        1: [0, 1],
        2: [0, 1],
        3: [],
    }
    assert found[2][1].id == ChunkId(2, 1)


# -- sessions ---------------------------------------------------------------------------


async def test_sessions_are_found_by_id_key_and_owner(store: Store) -> None:
    one = a_session("one", key="k", opened_at=10)
    two = a_session("two", opened_at=20, job_class="production")
    three = a_session("three", owner="bob", key="k", opened_at=15)
    await store.apply([AddSession(one), AddSession(two), AddSession(three)])
    assert await store.session("one") == one
    assert await store.session("none") is None
    assert await store.session_by_key("ann", "k") == one
    assert await store.session_by_key("bob", "k") == three
    assert await store.session_by_key("eve", "k") is None
    assert await store.sessions("ann") == [two, one]
    assert await store.sessions(None) == [two, three, one]


async def test_a_session_is_closed_once(store: Store) -> None:
    await store.apply([AddSession(a_session("s")), CloseSession("s", 30)])
    await store.apply([CloseSession("s", 40)])
    assert await store.session("s") == a_session("s", closed_at=30)


async def test_a_session_says_why_it_was_closed_and_that_it_is_lost(store: Store) -> None:
    await store.apply([AddSession(a_session("s")), MarkSession("s", 20)])
    assert await store.session("s") == a_session("s", lost_at=20)
    await store.apply([MarkSession("s", None), CloseSession("s", 30, "idle")])
    await store.apply([CloseSession("s", 40, "again")])
    assert await store.session("s") == a_session("s", closed_at=30, closed_because="idle")
    with pytest.raises(StoreError):
        await store.apply([MarkSession("none", 20)])


async def test_the_end_of_a_sessions_allocation_moves(store: Store) -> None:
    await store.apply([AddSession(a_session("s", ends_at=100)), MoveSession("s", 70)])
    assert await store.session("s") == a_session("s", ends_at=70)
    with pytest.raises(StoreError):
        await store.apply([MoveSession("none", 70)])


async def test_everything_that_a_session_says_is_stored(store: Store) -> None:
    said = {
        "uid": 1000,
        "slurm": SlurmJob("c", 7, 2, array_job_id=5, array_task_id=0, het_size=3),
        "lease_s": 60.5,
        "idle_s": 100.0,
        "expires_at": 99,
        "on_close": TaskFate.CANCEL,
        "on_lost": TaskFate.FINISH,
    }
    await store.apply([AddSession(a_session("s", **said))])
    assert await store.session("s") == a_session("s", **said)
    assert (await store.load()).open_sessions == (a_session("s", **said),)


async def test_a_closed_sessions_key_passes_to_the_next_even_within_a_transaction(
    store: Store,
) -> None:
    one, two, three = (a_session(id_, key="k") for id_ in ("one", "two", "three"))
    await store.apply([AddSession(one), CloseSession("one", 30), AddSession(two)])
    assert await store.session_by_key("ann", "k") == two
    await store.apply([CloseSession("two", 40)])
    assert await store.session_by_key("ann", "k") == replace(two, closed_at=40)
    await store.apply([AddSession(three)])
    assert await store.session_by_key("ann", "k") == three
    with pytest.raises(StoreError):
        await store.apply([AddSession(a_session("four", key="k"))])


async def test_totals_of_sessions_are_counted_from_their_rows(store: Store) -> None:
    await store.apply([AddSession(a_session("s")), AddSession(a_session("t"))])
    await store.apply(
        [
            AddTask(a_task(1, session_id="s", submitted_at=50)),
            AddTask(a_task(2, TaskState.COMPLETED, session_id="s", submitted_at=60, ended_at=70)),
            AddTask(a_task(3, submitted_at=90)),
            *(
                AddChunk(
                    replace(
                        a_chunk(task_id, n),
                        state=ChunkState.FINISHED,
                        shots_counted=shots,
                        setup_s=0.5,
                        device_s=2.0,
                        charged_s=1.5,
                        discarded=discarded,
                    )
                )
                for task_id, n, shots, discarded in (
                    (1, 0, 10, True),
                    (1, 1, 4, False),
                    (2, 0, 30, False),
                    (3, 0, 99, False),
                )
            ),
        ]
    )
    assert await store.session_totals(["s", "t", "none"]) == {
        "s": SessionTotals(tasks=2, shots=34, device_s=7.5, charged_s=4.5, latest_at=70),
        "t": SessionTotals(),
        "none": SessionTotals(),
    }


async def test_what_is_asked_of_a_task_by_its_session_is_remembered(store: Store) -> None:
    await store.apply([AddSession(a_session("s")), AddSession(a_session("t"))])
    await store.apply([AddTask(a_task(1, session_id="s"))])
    await store.apply([AskTask(1, hold_asked=True, held_because="lost")])
    assert await store.task(1) == a_task(1, session_id="s", hold_asked=True, held_because="lost")
    wishes = Wishes(session_ends_at=77)
    await store.apply(
        [AskTask(1, held_because="", hold_asked=False, session_id="t", wishes=wishes)]
    )
    assert await store.task(1) == a_task(1, session_id="t", wishes=wishes)
    await store.apply([AskTask(1, wishes=Wishes())])
    assert await store.task(1) == a_task(1, session_id="t")


async def test_live_tasks_of_a_session_are_those_that_have_not_ended(store: Store) -> None:
    await store.apply([AddSession(a_session("s"))])
    tasks = [a_task(n, state, session_id="s") for n, state in enumerate(TaskState, 1)]
    await store.apply([*map(AddTask, tasks), AddTask(a_task(50))])
    live = [task.id for task in tasks if not task.state.final]
    assert await store.live_task_ids("s") == live
    assert await store.live_task_ids("none") == []


# -- journal ----------------------------------------------------------------------------


async def test_the_journal_pages_and_filters(store: Store) -> None:
    rows = [
        JournalRow(
            n,
            at=n,
            kind="SaveTask" if n % 2 else "QpuReported",
            task_id=1 if n % 2 else None,
            owner="ann" if n <= 5 else "bob",
            session_id="s" if n == 3 else None,
            state=TaskState.RUNNING if n % 2 else None,
            shots_done=n if n % 2 else None,
            cause=n,
            data={"list": [1, {"é": None}], "real": 0.5},
            version=2,
        )
        for n in range(1, 11)
    ]
    await store.apply([AddJournal(row) for row in rows])
    assert await store.journal(0) == rows
    assert await store.journal(8) == rows[8:]
    assert await store.journal(10) == []
    assert await store.journal(2, limit=2) == rows[2:4]
    assert await store.journal(3, owner="ann") == rows[3:5]
    assert await store.journal(0, session_id="s") == [rows[2]]
    assert await store.journal(0, owner="bob", session_id="s") == []
    assert await store.journal(0, owner="bob", states_only=True) == [rows[6], rows[8]]


async def test_history_is_the_state_changes_of_each_task(store: Store) -> None:
    rows = [
        JournalRow(1, 1, "SaveTask", 1, "ann", None, TaskState.QUEUED, 0),
        JournalRow(2, 2, "ChunkStarted", 1, "ann"),
        JournalRow(3, 3, "SaveTask", 2, "ann", None, TaskState.HELD, 0),
        JournalRow(4, 4, "SaveTask", 1, "ann", None, TaskState.RUNNING, 0),
    ]
    await store.apply([AddJournal(row) for row in rows])
    assert await store.history([1, 2, 3]) == {1: [rows[0], rows[3]], 2: [rows[2]], 3: []}


async def test_a_journal_number_is_used_once(store: Store) -> None:
    await store.apply([AddJournal(JournalRow(1, 1, "first"))])
    with pytest.raises(StoreError):
        await store.apply([AddJournal(JournalRow(1, 2, "second"))])
    assert [row.kind for row in await store.journal(0)] == ["first"]


# -- what a manager starts from ---------------------------------------------------------


async def test_an_empty_store_starts_at_the_beginning(stores: Stores) -> None:
    store = stores.make()
    await store.open()
    snapshot = await store.load()
    await store.close()
    assert (snapshot.live, snapshot.chunks, snapshot.open_sessions) == ((), {}, ())
    assert (snapshot.next_task_id, snapshot.journal_n, snapshot.latest_at) == (1, 0, 0)


async def test_a_restart_finds_live_tasks_with_all_their_chunks(
    store: Store, stores: Stores
) -> None:
    live = [a_task(2), a_task(4, TaskState.HELD), a_task(5, TaskState.RUNNING)]
    ended = [a_task(1, TaskState.COMPLETED), a_task(6, TaskState.FAILED)]
    chunks = [a_chunk(5, 0, state=ChunkState.LOST), a_chunk(5, 1), a_chunk(1, 0)]
    sessions = [a_session("new", opened_at=20), a_session("old"), a_session("gone", closed_at=11)]
    await store.apply(
        [
            *map(AddTask, [*reversed(live), *ended]),
            *map(AddChunk, reversed(chunks)),
            *map(AddSession, sessions),
            AddJournal(JournalRow(7, 2_000_000_000_000_000, "WokenUp")),
        ]
    )
    before = store.incarnation
    await store.close()
    again = stores.make()
    await again.open()
    snapshot = await again.load()
    after = again.incarnation
    await again.close()
    assert after == before + 1
    assert snapshot.live == tuple(live)
    assert snapshot.chunks == {5: tuple(chunks[:2])}
    assert snapshot.open_sessions == (sessions[1], sessions[0])
    assert (snapshot.next_task_id, snapshot.journal_n) == (7, 7)
    assert snapshot.latest_at == 2_000_000_000_000_000


# -- atomicity, order and groups --------------------------------------------------------


async def test_an_error_does_not_tell_what_was_to_be_stored(store: Store) -> None:
    await store.apply([AddTask(a_task(1))])
    with pytest.raises(StoreError) as caught:
        await store.apply([AddTask(a_task(1, name="s3ntinel"))])
    assert "s3ntinel" not in f"{caught.value!r} {caught.value} {caught.value.__cause__}"


async def test_the_audit_log_is_those_rows_of_the_journal_newest_first(store: Store) -> None:
    kinds = ("OperatorAsked", "TaskSubmitted", "TokenIssued", "QpuDrained", "Denied", "Pruned")
    await store.apply(
        [AddJournal(JournalRow(n, at=n * 10, kind=kind)) for n, kind in enumerate(kinds, 1)]
    )
    assert [row.n for row in await store.audit(None, 0, 10)] == [6, 5, 3, 1]
    assert [row.n for row in await store.audit(6, 20, 10)] == [5, 3]
    assert [row.n for row in await store.audit(None, 0, 2)] == [6, 5]
    assert await store.audit(2**70, 2**70, 10) == []


async def test_an_expired_task_keeps_its_number_and_key_and_nothing_else(store: Store) -> None:
    other = replace(PROGRAM, hash="o" * 64, content="{}")
    done = a_task(1, key="k", name="n", wishes=Wishes(time_limit_s=5.0), session_id="s")
    await store.apply(
        [
            AddSession(a_session("s")),
            AddProgram(other),
            AddTask(done),
            AddTask(a_task(2, program_hash=other.hash)),
            AddTask(a_task(3, program_hash=other.hash)),
            AddChunk(a_chunk(1)),
            *(UpdateTask(n, 50 + n, TaskState.COMPLETED, 10) for n in (1, 2)),
            CloseSession("s", 60),
        ]
    )
    assert [row.id for row in await store.expirable(100, 0, 10)] == [1, 2]
    assert [row.id for row in await store.expirable(52, 0, 10)] == [1]
    assert await store.old_sessions(100, 10) == [], "a task belongs to it"
    await store.apply([ExpireTask(1, PROGRAM.hash, 90), ExpireTask(2, other.hash, 91)])
    assert await store.expirable(100, 0, 10) == []
    left = await store.task(1)
    assert left is not None
    assert (left.owner, left.key, left.state, left.expired_at) == (
        done.owner, "k", TaskState.COMPLETED, 90,
    )  # fmt: skip
    assert (left.name, left.wishes, left.session_id, left.program_hash) == ("", Wishes(), None, "")
    assert await store.chunks([1]) == {1: []}
    assert set(await store.programs([PROGRAM.hash, other.hash])) == {other.hash}, "3 has it"
    assert (await store.tasks_by_key(done.owner, ["k"]))["k"].expired_at == 90
    assert [row.id for row in await store.tasks(TaskFilter())] == [3]
    assert [row.id for row in await store.tasks(TaskFilter(expired=True))] == [1, 2, 3]
    assert (await store.load()).next_task_id == 4
    assert await store.old_sessions(100, 10) == ["s"]
    await store.apply([DropSession("s"), AddProgram(PROGRAM), AddTask(a_task(4))])
    assert await store.session("s") is None
    assert (await store.programs([PROGRAM.hash]))[PROGRAM.hash].content == PROGRAM.content


async def test_a_task_of_an_open_session_does_not_expire(store: Store) -> None:
    await store.apply(
        [
            AddSession(a_session("s")),
            AddTask(a_task(1, session_id="s")),
            UpdateTask(1, 50, TaskState.FAILED, 0),
        ]
    )
    assert await store.expirable(100, 0, 10) == []
    await store.apply([DropSession("s")])
    assert await store.session("s") is not None, "it is open"


async def test_old_journal_is_what_nothing_needs_any_more(store: Store) -> None:
    def row(n: int, kind: str, task_id: int | None = None) -> AddJournal:
        return AddJournal(JournalRow(n, at=n * 10, kind=kind, task_id=task_id))

    await store.apply(
        [
            AddTask(a_task(1)),
            AddTask(a_task(2)),
            UpdateTask(1, 30, TaskState.COMPLETED, 10),
            UpdateTask(2, 30, TaskState.COMPLETED, 10),
            ExpireTask(1, PROGRAM.hash, 35),
            row(1, "TaskSubmitted", 1),
            row(2, "TaskSubmitted", 2),
            row(3, "QpuDrained"),
            row(4, "OperatorAsked"),
            row(5, "QpuReported"),
            row(7, "TaskState", 1),
            row(8, "Denied"),
            row(9, "QpuReported"),
        ]
    )
    assert await store.old_journal(Prunable(journal=75), 0, 10) == [1, 5, 7]
    assert await store.old_journal(Prunable(journal=51), 0, 10) == [1, 5]
    assert await store.old_journal(Prunable(journal=51), 1, 10) == [5]
    assert await store.old_journal(Prunable(journal=2**60), 0, 10) == [1, 5, 7], "never the newest"
    assert await store.old_journal(Prunable(journal=25), 0, 10) == [], "1 ended later than that"
    assert await store.old_journal(Prunable(audit=75), 0, 10) == [4]
    assert await store.old_journal(Prunable(journal=75, audit=85), 0, 3) == [1, 4, 5]
    assert await store.prunable(Prunable(results=100, journal=75)) == (1, 3)
    await store.apply([DropJournal(1), DropJournal(5)])
    assert [one.n for one in await store.journal(0)] == [2, 3, 4, 7, 8, 9]
    assert [one.n for one in await store.journal_rows([9, 2, 5])] == [2, 9]


async def test_a_batch_that_fails_leaves_nothing(store: Store) -> None:
    await store.apply([AddTask(a_task(1))])
    with pytest.raises(StoreError):
        await store.apply(
            [
                AddProgram(replace(PROGRAM, hash="new")),
                AddTask(a_task(2)),
                UpdateTask(1, 5, TaskState.RUNNING, 0),
                AddJournal(JournalRow(1, 1, "x")),
                AddTask(a_task(1)),
            ]
        )
    assert await store.task(1) == a_task(1)
    assert await store.task(2) is None
    assert await store.journal(0) == []
    assert await store.programs(["new"]) == {}


@pytest.mark.parametrize(
    "change",
    [
        UpdateTask(9, 1, TaskState.RUNNING, 0),
        AskTask(9, cancel_asked=True),
        UpdateChunk(ChunkId(1, 9), 1, ChunkState.RUNNING),
        CloseSession("none", 1),
        AddChunk(a_chunk(9)),
        AddTask(a_task(3, program_hash="none")),
        AddTask(a_task(3, session_id="none")),
        AddTask(a_task(3, seed=2**80)),
        AddJournal(JournalRow(2, 1, "x", data={"not": object()})),
    ],
    ids=lambda change: type(change).__name__,
)
async def test_a_change_that_cannot_be_made_is_refused_with_its_batch(
    store: Store, change: object
) -> None:
    await store.apply([AddTask(a_task(1))])
    with pytest.raises(StoreError) as refusal:
        await store.apply([AddJournal(JournalRow(1, 1, "x")), change])  # type: ignore[list-item]
    assert refusal.value.__cause__ is None
    assert await store.journal(0) == []
    await store.apply([AddJournal(JournalRow(1, 1, "x"))])


async def test_adding_and_updating_in_one_batch_works_in_any_mix_of_kinds(store: Store) -> None:
    await store.apply(
        [
            AddJournal(JournalRow(1, 1, "x")),
            AddTask(a_task(1, session_id="s", program_hash="new")),
            AddProgram(replace(PROGRAM, hash="new")),
            AddSession(a_session("s")),
            UpdateTask(1, 5, TaskState.RUNNING, 0),
            AddChunk(a_chunk(1)),
            UpdateChunk(ChunkId(1, 0), 6, ChunkState.RUNNING),
            CloseSession("s", 7),
            UpdateTask(1, 8, TaskState.COMPLETED, 100),
        ]
    )
    task = await store.task(1)
    assert task is not None
    assert (task.state, task.started_at, task.ended_at) == (TaskState.COMPLETED, 5, 8)


async def test_an_empty_batch_is_applied(store: Store) -> None:
    await store.apply([])


async def test_many_at_once_share_commits_and_all_are_applied(store: Store) -> None:
    commits: list[object] = []

    def committed(connection: object) -> None:
        commits.append(connection)

    event.listen(Engine, "commit", committed)
    try:
        await asyncio.gather(
            *(
                store.apply([AddTask(a_task(n)), AddJournal(JournalRow(n, n, "x", task_id=n))])
                for n in range(1, 201)
            )
        )
    finally:
        event.remove(Engine, "commit", committed)
    assert len(commits) < 100
    assert [task.id for task in await store.tasks(TaskFilter())] == list(range(1, 201))
    assert len(await store.journal(0)) == 200


async def test_a_bad_batch_does_not_take_its_group_down(store: Store) -> None:
    outcomes = await asyncio.gather(
        *(store.apply([AddTask(a_task(7 if n == 90 else n))]) for n in range(1, 201)),
        return_exceptions=True,
    )
    failed = [n for n, outcome in enumerate(outcomes, 1) if outcome is not None]
    assert failed == [90]
    assert isinstance(outcomes[89], StoreError)
    stored = {task.id for task in await store.tasks(TaskFilter())}
    assert stored == set(range(1, 201)) - {90}


async def test_batches_are_applied_in_the_order_of_the_calls(store: Store) -> None:
    await store.apply([AddTask(a_task(1))])
    await asyncio.gather(
        *(store.apply([UpdateTask(1, n, TaskState.QUEUED, n)]) for n in range(1, 101))
    )
    task = await store.task(1)
    assert task is not None
    assert task.shots_done == 100


async def test_cancelling_the_wait_does_not_take_changes_back(store: Store) -> None:
    waiting = asyncio.ensure_future(store.apply([AddTask(a_task(1))]))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await store.apply([AddTask(a_task(2))])
    assert await store.task(1) == a_task(1)


async def test_any_character_is_read_back_as_it_was(store: Store) -> None:
    odd = "a\0b\ue000\ue0000\0\ue0001 né \U0001f600"
    program = replace(PROGRAM, hash="odd", content=odd)
    await store.apply([AddProgram(program), AddTask(a_task(1, name=odd, key=odd))])
    await store.apply([UpdateTask(1, 5, TaskState.FAILED, 0, error=odd)])
    assert (await store.programs(["odd"])) == {"odd": program}
    found = (await store.tasks_by_key("ann", [odd]))[odd]
    assert (found.name, found.error) == (odd, odd)


# -- trouble ----------------------------------------------------------------------------


async def test_a_locked_database_is_busy_and_works_afterwards(store: Store, stores: Stores) -> None:
    batches = [[AddTask(a_task(n))] for n in range(1, 21)]
    with stores.locked():
        async with asyncio.timeout(10):
            outcomes = await asyncio.gather(*map(store.apply, batches), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {ManagerBusy}
        assert await store.tasks(TaskFilter()) == []  # and reads go on
    await asyncio.gather(*map(store.apply, batches))
    assert len(await store.tasks(TaskFilter())) == 20


async def test_a_full_disk_is_busy_and_works_afterwards(store: Store, stores: Stores) -> None:
    batch: list[Change] = [
        AddProgram(replace(PROGRAM, hash="big", content="x" * 1_000_000)),
        AddTask(a_task(1)),
    ]
    with stores.full():
        with pytest.raises(ManagerBusy, match="full"):
            await store.apply(batch)
        assert await store.task(1) is None
        assert await store.programs(["big"]) == {}
    await store.apply(batch)
    assert await store.task(1) == a_task(1)


async def insist(store: Store, changes: list[Change]) -> None:
    """Hand changes in until the store says yes or no."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await store.apply(changes)
            except ManagerBusy:
                continue


async def second_one(stores: Stores) -> Store:
    """A second store, open beside the first one."""
    while True:
        stores.let_a_second_one_in()
        second = stores.make()
        try:
            await second.open()
        except StoreError as error:
            if "in use by" not in error.message:
                raise
            continue  # the first one was quicker to have its lock again
        return second


async def test_an_older_incarnation_is_fenced_off(store: Store, stores: Stores) -> None:
    second = await second_one(stores)
    try:
        assert second.incarnation == store.incarnation + 1
        for _ in range(2):
            with pytest.raises(StoreError, match="another manager has taken over"):
                await insist(store, [AddTask(a_task(1))])
        await second.apply([AddTask(a_task(2))])
        assert [task.id for task in await second.tasks(TaskFilter())] == [2]
    finally:
        await second.close()


async def test_a_second_manager_is_refused_until_the_first_closes(
    store: Store, stores: Stores
) -> None:
    second = stores.make()
    with pytest.raises(StoreError, match="in use by process") as refusal:
        await second.open()
    assert refusal.value.next_step
    await store.close()
    await second.open()
    await second.close()


CHILD = """
    import asyncio, itertools
    from qpu_executor.manager.store.change_records import AddJournal
    from qpu_executor.manager.store.records import JournalRow
    from qpu_executor.manager.store.sql import SqlStore

    async def main():
        store = {construction}
        await store.open()
        for n in itertools.count(1):
            await store.apply([AddJournal(JournalRow(n, n, "x"))])
            print(n, flush=True)

    asyncio.run(main())
"""


def killed_while_writing(construction: str) -> list[int]:
    """Journal numbers of which a child was told that they are stored, before it was killed."""
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD).format(construction=construction)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as child:
        assert child.stdout is not None
        first = [child.stdout.readline() for _ in range(20)]
        child.send_signal(signal.SIGKILL)
        told = [int(line) for line in [*first, *child.stdout] if line.endswith("\n")]
    assert child.returncode == -signal.SIGKILL
    return told


async def test_what_was_applied_outlives_kill_9(stores: Stores) -> None:
    told = killed_while_writing(stores.construction())
    store = stores.make()
    await store.open()
    stored = [row.n for row in await store.journal(0, limit=1_000_000)]
    incarnation = store.incarnation
    await store.close()
    assert len(told) >= 20
    assert stored[: len(told)] == told
    assert len(stored) <= len(told) + 1
    assert incarnation == 2


# -- opening and closing ----------------------------------------------------------------


async def test_each_opening_is_a_new_incarnation(stores: Stores) -> None:
    seen = []
    for _ in range(3):
        store = stores.make()
        await store.open()
        seen.append(store.incarnation)
        await store.close()
    assert seen == [1, 2, 3]


async def test_closing_finishes_what_was_handed_in_and_may_be_repeated(
    store: Store, stores: Stores
) -> None:
    applying = [asyncio.ensure_future(store.apply([AddTask(a_task(n))])) for n in range(1, 51)]
    await asyncio.sleep(0)
    await asyncio.gather(store.close(), store.close())
    await asyncio.gather(*applying)
    await store.close()
    again = stores.make()
    await again.open()
    assert len(await again.tasks(TaskFilter())) == 50
    await again.close()


async def test_a_store_that_is_not_open_says_so(stores: Stores) -> None:
    store = stores.make()
    await store.close()
    for use in (store.apply([]), store.load(), store.task(1)):
        with pytest.raises(StoreError, match="isn't open"):
            await use


async def test_a_closed_store_can_be_opened_again(store: Store) -> None:
    await store.apply([AddTask(a_task(1))])
    await store.close()
    await store.open()
    assert await store.task(1) == a_task(1)
