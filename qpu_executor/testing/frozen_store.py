"""A small store that shows every kind of row, always with the same content.

Each released schema leaves one behind (`python -m qpu_executor.testing.frozen_store
tests/data/stores/NNNN.sqlite`); later versions must still open it and find this content.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

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
    MarkSession,
    PutWindow,
    UpdateChunk,
    UpdateTask,
)
from qpu_executor.manager.store.records import (
    ChunkRow,
    JournalRow,
    ProgramRow,
    SessionRow,
    TaskRow,
    TokenRow,
    WindowRow,
)
from qpu_executor.manager.store.sql import SqlStore
from qpu_executor.manager.store.wishes import Wishes
from qpu_executor.model.sessions import SlurmJob, TaskFate
from qpu_executor.model.states import ChunkState, DependencyKind, OnRecalibration, TaskState
from qpu_executor.model.stopping import StopRule
from qpu_executor.model.timing import Dependency
from qpu_executor.model.values import MICROSECONDS, ChunkId, Instant

BEGIN_AT: Instant = 1_767_225_600 * MICROSECONDS
"""2026-01-01 00:00 UTC; everything in the store happens in the hour after it."""

PROGRAMS = (
    ProgramRow(
        hash="a1" * 32,
        kind="pulser-abstract",
        content='{"name": "blockade"}',
        atoms=2,
        duration_ns=1000,
        layout="6a09e667",
        qubit_ids=("q0", "q1"),
        added_at=BEGIN_AT,
    ),
    ProgramRow(hash="b2" * 32, kind="opaque", content="né\n", added_at=BEGIN_AT),
)

SESSIONS = (
    SessionRow("s-open", "uid:1000", "physics", "scan", "run", "scan-1", BEGIN_AT + 1),
    SessionRow("s-closed", "uid:1001", "chemistry", "loop", "run", None, BEGIN_AT + 2),
)


LEASED = SessionRow(
    id="s-slurm",
    owner="uid:1000",
    account="physics",
    name="job",
    kind="slurm",
    key="slurm/qtest/18/2",
    opened_at=BEGIN_AT + 3,
    ends_at=BEGIN_AT + 3000 * MICROSECONDS,
    job_class="production",
    uid=1000,
    slurm=SlurmJob("qtest", 18, 2, array_job_id=17, array_task_id=3),
    lease_s=60.5,
    idle_s=600.0,
    expires_at=BEGIN_AT + 3600 * MICROSECONDS,
    on_close=TaskFate.CANCEL,
    on_lost=TaskFate.FINISH,
    lost_at=BEGIN_AT + 40 * MICROSECONDS,
)
"""Open, and lost, since version 0009."""

WISHES = Wishes(
    begin_at=BEGIN_AT + 3600 * MICROSECONDS,
    depends_on=(Dependency(1), Dependency(3, DependencyKind.AFTER_ANY)),
    on_recalibration=OnRecalibration.RESTART,
    min_quality=0.5,
)
"""Of task 7, since version 0002."""

RULE = StopRule(50, stderr=0.25, observable=(("ZI", 1.0),))
STOPPED_EARLY = "standard error 0.2 after 100 shots (at most 0.25 wanted)"
"""Of task 1, since version 0003: it asked for 160 shots."""


def _second(n: int) -> Instant:
    return BEGIN_AT + n * MICROSECONDS


def _task(id_: int, state: TaskState, **fields: object) -> TaskRow:
    """A task of 100 shots as it was submitted; its moves follow as updates."""
    values: dict[str, object] = {
        "owner": "uid:1000",
        "account": "physics",
        "session_id": "s-open",
        "name": f"task {id_}",
        "job_class": "production",
        "priority": 0,
        "shots": 100,
        "shots_done": 0,
        "seed": 2**62 + id_,
        "program_hash": PROGRAMS[0].hash,
        "qpu_asked": None,
        "qpus": ("emu", "fresnel"),
        "divisible": True,
        "key": f"key-{id_}",
        "key_origin": "user",
        "generation": 1,
        "body_hash": f"{id_:064x}",
        "submitted_at": _second(id_),
    }
    return TaskRow(id=id_, state=state, **{**values, **fields})  # type: ignore[arg-type]


def _chunk(task_id: int, n: int, first_shot: int, shots: int, at: Instant) -> AddChunk:
    return AddChunk(
        ChunkRow(
            task_id=task_id,
            n=n,
            state=ChunkState.SENT,
            qpu="emu",
            device="AnalogDevice",
            emulated=True,
            first_shot=first_shot,
            shots=shots,
            sent_at=at,
            incarnation=1,
        )
    )


def _ended(task_id: int, n: int, state: ChunkState, at: Instant, **outcome: object) -> UpdateChunk:
    return UpdateChunk(ChunkId(task_id, n), at, state, **outcome)  # type: ignore[arg-type]


WINDOW = WindowRow(
    "emu", "cryostat", {"at": "08:00:00", "length_s": 60.0}, "uid:0", BEGIN_AT + 2 * MICROSECONDS
)
TOKEN = TokenRow(
    id="0123456789ab",
    digest="c3" * 32,
    user="ada",
    uid=1001,
    roles=("operator",),
    note="né",
    issued_by="uid:0",
    issued_at=BEGIN_AT + 3 * MICROSECONDS,
    expires_at=None,
)


def changes() -> list[Sequence[Change]]:
    """What is applied, batch by batch."""
    submitted = (
        _task(1, TaskState.QUEUED, shots=160, wishes=Wishes(stop_when=RULE)),
        _task(2, TaskState.HELD, key=None, session_id=None, qpu_asked="emu"),
        _task(3, TaskState.QUEUED, priority=5),
        _task(4, TaskState.QUEUED, key="again", key_origin="engine"),
        _task(5, TaskState.QUEUED, owner="uid:1001", account="chemistry", session_id="s-closed"),
        _task(6, TaskState.QUEUED, program_hash=PROGRAMS[1].hash, divisible=False),
        _task(7, TaskState.QUEUED, key="again", key_origin="engine", generation=2, wishes=WISHES),
    )
    batches: list[Sequence[Change]] = [
        [*map(AddProgram, PROGRAMS), *map(AddSession, SESSIONS), *map(AddTask, submitted)],
        _completed(),
        _running(),
        _failed_and_cancelled(),
        [
            CloseSession("s-closed", _second(50)),
            PutWindow(WINDOW),
            AddToken(TOKEN),
            AddSession(LEASED),
            MarkSession(LEASED.id, LEASED.lost_at),
        ],
    ]
    return [[*batch, *_journal(n, batch)] for n, batch in enumerate(batches)]


def _completed() -> list[Change]:
    """Task 1, in two chunks; the second delivered more than was asked."""
    return [
        UpdateTask(1, _second(10), TaskState.RUNNING, 0, qpu="emu"),
        _chunk(1, 0, 0, 60, _second(10)),
        UpdateChunk(ChunkId(1, 0), _second(11), ChunkState.RUNNING),
        _ended(
            1,
            0,
            ChunkState.FINISHED,
            _second(12),
            shots_counted=60,
            counts={"00": 40, "01": 20},
            epoch="emu-1",
            device_s=0.75,
            setup_s=0.125,
            charged_s=0.875,
            versions={"pulser": "1.9.1"},
        ),
        UpdateTask(1, _second(12), TaskState.RUNNING, 60),
        _chunk(1, 1, 60, 40, _second(12)),
        _ended(
            1,
            1,
            ChunkState.FINISHED,
            _second(14),
            shots_counted=40,
            surplus=3,
            counts={"10": 40},
            epoch="emu-2",
            started_at=_second(13),
            device_s=0.5,
            charged_s=0.5,
        ),
        UpdateTask(1, _second(14), TaskState.COMPLETED, 100, stopped_early=STOPPED_EARLY),
    ]


def _running() -> list[Change]:
    """Task 3: one chunk lost, one running; task 6: its chunk's QPU doesn't answer."""
    return [
        UpdateTask(3, _second(20), TaskState.RUNNING, 0, qpu="emu"),
        _chunk(3, 0, 0, 100, _second(20)),
        _ended(3, 0, ChunkState.LOST, _second(21), reason="the emulator's worker died"),
        _chunk(3, 1, 0, 100, _second(22)),
        UpdateChunk(ChunkId(3, 1), _second(23), ChunkState.RUNNING),
        UpdateTask(6, _second(24), TaskState.RUNNING, 0, qpu="emu"),
        _chunk(6, 0, 0, 100, _second(24)),
        UpdateChunk(ChunkId(6, 0), _second(25), ChunkState.UNKNOWN, reason="no answer"),
        AskTask(6, cancel_asked=True),
    ]


def _failed_and_cancelled() -> list[Change]:
    """Task 4 failed (7 is its next generation); task 5 was stopped with a part of its shots."""
    return [
        UpdateTask(4, _second(30), TaskState.RUNNING, 0, qpu="emu"),
        _chunk(4, 0, 0, 100, _second(30)),
        _ended(4, 0, ChunkState.LOST, _second(31), reason="refused"),
        UpdateTask(
            4,
            _second(31),
            TaskState.FAILED,
            0,
            error="the QPU refuses the program",
            error_code="program-refused",
            permanent=True,
        ),
        UpdateTask(5, _second(32), TaskState.RUNNING, 0, qpu="emu"),
        _chunk(5, 0, 0, 100, _second(32)),
        AskTask(5, cancel_asked=True),
        _ended(
            5,
            0,
            ChunkState.STOPPED,
            _second(33),
            shots_counted=25,
            counts={"00": 25},
            epoch="emu-2",
            device_s=0.25,
            charged_s=0.25,
            reason="cancelled",
        ),
        UpdateTask(5, _second(33), TaskState.CANCELLED, 25),
    ]


def _journal(batch_n: int, batch: Sequence[Change]) -> list[AddJournal]:
    """A row for each task's move, numbered through: batch b has the numbers from 100 b + 1."""
    found: list[AddJournal] = []
    for change in batch:
        if isinstance(change, AddTask):
            task = change.task
            row = (task.submitted_at, task.id, task.state, task.shots_done)
        elif isinstance(change, UpdateTask):
            row = (change.at, change.task_id, change.state, change.shots_done)
        else:
            continue
        at, task_id, state, shots_done = row
        found.append(
            AddJournal(
                JournalRow(
                    n=100 * batch_n + len(found) + 1,
                    at=at,
                    kind="SaveTask",
                    task_id=task_id,
                    owner="uid:1001" if task_id == 5 else "uid:1000",
                    session_id=None if task_id == 2 else "s-closed" if task_id == 5 else "s-open",
                    state=state,
                    shots_done=shots_done,
                    cause=task_id,
                    data={"note": ["né", task_id, None]},
                )
            )
        )
    if not found:
        row_at = BEGIN_AT + 50 * MICROSECONDS
        found.append(AddJournal(JournalRow(n=100 * batch_n + 1, at=row_at, kind="SessionClosed")))
    return found


async def fill(store: SqlStore) -> None:
    """Apply everything to an open, empty store."""
    for batch in changes():
        await store.apply(batch)


def write(path: Path) -> None:
    """Make the store at `path`, which must not exist; only that file is left.

    Raises FileExistsError.
    """
    if path.exists():
        raise FileExistsError(path)

    async def run() -> None:
        store = SqlStore(path)
        await store.open()
        try:
            await fill(store)
        finally:
            await store.close()

    asyncio.run(run())
    path.with_name(path.name + ".lock").unlink()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
