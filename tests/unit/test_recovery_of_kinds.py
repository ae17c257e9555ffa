"""A task that has shots of atoms goes on with atoms, also after a restart."""

from dataclasses import replace
from pathlib import Path

import pytest

from qpu_executor.manager.service.fleet import Fleet, Qpu
from qpu_executor.manager.service.recovery import restore
from qpu_executor.manager.store.records import ChunkRow, Snapshot, TaskRow
from qpu_executor.model.states import ChunkState, QpuState, TaskState
from qpu_executor.model.values import MICROSECONDS, JobClass
from qpu_executor.qpus.base import Capabilities, Health
from qpu_executor.scheduling.commands import Command, StartChunk
from qpu_executor.scheduling.scheduler import Scheduler
from qpu_executor.testing.fake_qpu import FakeQpu
from qpu_executor.testing.virtual_clock import VirtualClock

NOW = 1_000_000 * MICROSECONDS
TASK = TaskRow(
    id=1,
    owner="alice",
    account="alice",
    session_id=None,
    name="",
    state=TaskState.QUEUED,
    job_class="c",
    priority=0,
    shots=100,
    shots_done=40,
    seed=1,
    program_hash="p",
    qpu_asked=None,
    qpus=("real", "emulator"),
    divisible=True,
    key=None,
    key_origin="none",
    generation=0,
    body_hash="b",
    submitted_at=NOW,
)


def a_chunk(qpu: str, emulated: bool, shots_counted: int) -> ChunkRow:
    return ChunkRow(
        task_id=1,
        n=0,
        state=ChunkState.FINISHED if shots_counted else ChunkState.LOST,
        qpu=qpu,
        device="d",
        emulated=emulated,
        first_shot=0,
        shots=40,
        sent_at=NOW,
        incarnation=1,
        shots_counted=shots_counted,
    )


@pytest.fixture
async def fleet() -> Fleet:
    """Hardware that is down, and an emulator that is free."""
    qpus = []
    for name, emulated in (("real", False), ("emulator", True)):
        adapter = FakeQpu(name, capabilities=Capabilities(frozenset({"fake"}), emulated=emulated))
        adapter.state = Health(QpuState.UP if emulated else QpuState.DOWN, "")
        qpus.append(Qpu(name, "fake", adapter))
    fleet = Fleet(qpus)
    await fleet.open(VirtualClock(NOW), Path())
    return fleet


def after_restart(fleet: Fleet, chunk: ChunkRow, shots_done: int) -> list[Command]:
    """What a restored core starts of the one task."""
    live = (replace(TASK, shots_done=shots_done),)
    snapshot = Snapshot(
        live, {1: (chunk,)}, next_task_id=2, journal_n=0, latest_at=NOW, open_sessions=()
    )
    scheduler = Scheduler()
    due, _, _ = restore(scheduler, fleet, {"c": JobClass("c", 1)}, snapshot, NOW)
    commands = [command for event in due for command in scheduler.handle(event, NOW)]
    return [command for command in commands if isinstance(command, StartChunk)]


async def test_a_task_with_shots_of_atoms_waits_for_atoms(fleet: Fleet) -> None:
    assert after_restart(fleet, a_chunk("real", False, 40), 40) == []


async def test_a_task_with_an_emulator_s_shots_goes_on_there(fleet: Fleet) -> None:
    (started,) = after_restart(fleet, a_chunk("emulator", True, 40), 40)
    assert (started.qpu, started.first_shot) == ("emulator", 40)


async def test_a_chunk_without_a_shot_binds_to_nothing(fleet: Fleet) -> None:
    (started,) = after_restart(fleet, a_chunk("real", False, 0), 0)
    assert started.qpu == "emulator"
