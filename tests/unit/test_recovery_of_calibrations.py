from pathlib import Path

import pytest

from qpu_executor.manager.service.fleet import Fleet, Qpu
from qpu_executor.manager.service.recovery import restore
from qpu_executor.manager.store.records import Snapshot
from qpu_executor.model.events import CalibrationDue, CalibrationStarted, WokenUp
from qpu_executor.model.states import CalibrationStarter, QpuState
from qpu_executor.model.timing import CalibrationPlan
from qpu_executor.model.values import MICROSECONDS, JobClass
from qpu_executor.qpus.base import CalibrationStatus, Capabilities, Health
from qpu_executor.scheduling.commands import StartCalibration
from qpu_executor.scheduling.scheduler import Scheduler
from qpu_executor.testing.fake_qpu import FakeQpu
from qpu_executor.testing.virtual_clock import VirtualClock

NOW = 1_000_000 * MICROSECONDS
HOUR = 3600 * MICROSECONDS
EMPTY = Snapshot((), {}, next_task_id=1, journal_n=0, latest_at=0, open_sessions=())


@pytest.fixture
def restored():
    """Restores an empty store beside a QPU with this calibration; returns all but the chunks."""

    async def restored(status, plan=None):
        capabilities = Capabilities(frozenset({"fake"}), can_calibrate=True, calibration=plan)
        adapter = FakeQpu("q", capabilities=capabilities)
        state = QpuState.DOWN if status.running else QpuState.UP
        adapter.state = Health(state, calibration=status)
        fleet = Fleet([Qpu("q", "fake", adapter)])
        await fleet.open(VirtualClock(NOW), Path())
        scheduler = Scheduler()
        events, _, commands = restore(scheduler, fleet, {"c": JobClass("c", 1)}, EMPTY, NOW)
        return scheduler, events, commands

    return restored


async def test_the_epoch_is_known_before_any_task_comes_back(restored):
    status = CalibrationStatus("e7", since=NOW - HOUR, due_at=NOW + HOUR, quality=0.9)
    scheduler, events, commands = await restored(status)
    calibration = scheduler.qpu("q").calibration
    assert (calibration.epoch, calibration.ended_at) == ("e7", NOW - HOUR)
    assert calibration.quality == 0.9
    assert events == [CalibrationDue("q", "the QPU says so", NOW + HOUR), WokenUp()]
    assert commands == []


async def test_a_qpu_that_is_being_calibrated_is_told_as_such(restored):
    scheduler, events, _ = await restored(CalibrationStatus(None, running=True))
    assert events == [CalibrationStarted("q"), WokenUp()]
    assert scheduler.qpu("q").state is QpuState.UP


async def test_a_calibration_that_fell_due_meanwhile_is_started(restored):
    plan = CalibrationPlan(period_s=3600, starter=CalibrationStarter.MANAGER)
    status = CalibrationStatus("e7", since=NOW - 2 * HOUR)
    _, _, commands = await restored(status, plan)
    assert [type(one) for one in commands] == [StartCalibration]
    assert commands[0].qpu == "q"
