"""Warm holds in the core: a linger between a session's tasks, and a contiguous run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from qpu_executor.model.events import (
    CalibrationDue,
    ChunkFinished,
    ClassesChanged,
    QpuRegistered,
    StoppingRuleMet,
    TaskSubmitted,
    WarmHoldAsked,
    WokenUp,
)
from qpu_executor.model.states import WaitReason
from qpu_executor.model.timing import MICROSECONDS
from qpu_executor.model.values import ChunkId, JobClass, QpuSpec
from qpu_executor.scheduling.admission import Credit
from qpu_executor.scheduling.charging import ChargingTable
from qpu_executor.scheduling.commands import Command, SaveHold, StartCalibration, StartChunk
from qpu_executor.scheduling.scheduler import Scheduler
from qpu_executor.testing.core_driver import CoreDriver, task_spec

SPEC = QpuSpec("alpha", shot_rate_hz=5.0, max_linger_s=20.0, max_run_s=100.0)
MINE: dict[str, Any] = {"session_id": "s-1", "shots": 50}


def ask(driver: CoreDriver, **changes: Any) -> list[Command]:
    values = {"linger_s": 600.0, "until_at": 1000 * MICROSECONDS, **changes}
    return driver.post(WarmHoldAsked("s-1", "alpha", "physics", "ada", **values))


@pytest.fixture
def site() -> CoreDriver:
    """Session s-1 has the QPU at 0 s, for 50 shots; a task of somebody else's waits."""
    driver = CoreDriver(step=0, scheduler=Scheduler(charging=ChargingTable(hold=0.5)))
    classes = (JobClass("production", priority=100), JobClass("development", 10))
    driver.post(ClassesChanged(classes), QpuRegistered(SPEC))
    driver.post(TaskSubmitted(task_spec(1, **MINE)), TaskSubmitted(task_spec(2, shots=50)))
    return driver


def at(driver: CoreDriver, seconds: float) -> CoreDriver:
    driver.now = round(seconds * MICROSECONDS)
    return driver


def finish(driver: CoreDriver, task_id: int, n: int = 0) -> list[Command]:
    shots = driver.out[ChunkId(task_id, n)].shots
    return driver.post(ChunkFinished(ChunkId(task_id, n), shots, shots / 5.0))


def starts(commands: list[Command]) -> list[int]:
    return [command.chunk.task_id for command in commands if isinstance(command, StartChunk)]


def holds(commands: list[Command]) -> list[SaveHold]:
    return [command for command in commands if isinstance(command, SaveHold)]


def test_linger_begins_with_the_end_of_a_task_that_was_stopped_early(site: CoreDriver) -> None:
    finish(at(site, 10.0), 1)
    site.post(TaskSubmitted(task_spec(3, priority=9, **MINE | {"shots": 500}, min_shots=50)))
    ask(site)
    assert starts(finish(at(site, 20.0), 2)) == [3]
    site.post(StoppingRuleMet(3, 50, "enough"), TaskSubmitted(task_spec(4)))
    assert starts(finish(at(site, 30.0), 3)) == []
    waiting = site.scheduler.waiting(4)
    assert waiting is not None
    assert (waiting.reason, waiting.until) == (WaitReason.RESERVATION, 50 * MICROSECONDS)


def test_linger_keeps_the_qpu_for_the_next_task_of_the_session_and_is_charged(
    site: CoreDriver,
) -> None:
    ask(site)
    assert starts(finish(at(site, 10.0), 1)) == []
    waiting = site.scheduler.waiting(2)
    assert waiting is not None
    assert (waiting.reason, waiting.until) == (WaitReason.RESERVATION, 30 * MICROSECONDS)
    commands = at(site, 18.0).post(TaskSubmitted(task_spec(3, **MINE)))
    assert starts(commands) == [3]
    kept = SaveHold(7, "alpha", "s-1", 10 * MICROSECONDS, 18 * MICROSECONDS, 4.0)
    assert holds(commands) == [kept]


def test_site_without_bounds_grants_no_hold() -> None:
    driver = CoreDriver(step=0)
    driver.post(QpuRegistered(QpuSpec("alpha", shot_rate_hz=5.0)))
    driver.post(TaskSubmitted(task_spec(1, **MINE)), TaskSubmitted(task_spec(2)))
    ask(driver)
    ask(driver, contiguous=True)
    assert starts(finish(at(driver, 10.0), 1)) == [2]


def test_linger_that_is_over_lets_the_others_go_on(site: CoreDriver) -> None:
    ask(site)
    finish(at(site, 10.0), 1)
    assert site.scheduler.next_wakeup() == 30 * MICROSECONDS
    commands = at(site, 30.0).post(WokenUp())
    assert starts(commands) == [2]
    assert [one.charged_s for one in holds(commands)] == [10.0]
    assert starts(at(site, 40.0).post(TaskSubmitted(task_spec(3, **MINE)))) == []


def test_session_without_a_hold_is_not_waited_for(site: CoreDriver) -> None:
    assert starts(finish(at(site, 10.0), 1)) == [2]


def test_session_whose_next_task_waits_already_needs_no_linger(site: CoreDriver) -> None:
    ask(site)
    site.post(TaskSubmitted(task_spec(3, **MINE)))
    assert starts(finish(at(site, 10.0), 1)) == [2]


def test_hold_that_is_taken_back_ends_at_once(site: CoreDriver) -> None:
    ask(site)
    finish(at(site, 10.0), 1)
    assert starts(ask(at(site, 12.0), linger_s=0.0)) == [2]


def test_due_calibration_ends_a_linger(site: CoreDriver) -> None:
    ask(site)
    finish(at(site, 10.0), 1)
    commands = at(site, 12.0).post(CalibrationDue("alpha", "drift"))
    assert [type(one) for one in commands] == [StartCalibration, SaveHold]


def test_contiguous_run_keeps_others_out_until_its_end_and_charges_its_gaps_only(
    site: CoreDriver,
) -> None:
    ask(site, contiguous=True)
    assert starts(finish(at(site, 10.0), 1)) == []
    urgent = task_spec(3, job_class="production")
    assert starts(site.post(TaskSubmitted(urgent))) == []
    commands = at(site, 14.0).post(TaskSubmitted(task_spec(4, **MINE)))
    assert starts(commands) == [4]
    assert [one.charged_s for one in holds(commands)] == [2.0]
    assert starts(finish(at(site, 24.0), 4)) == []
    commands = at(site, 100.0).post(WokenUp())
    assert starts(commands) == [3]
    assert [one.charged_s for one in holds(commands)] == [38.0]


def test_contiguous_run_that_is_granted_while_another_runs_begins_at_its_chunk_boundary() -> None:
    driver = CoreDriver(step=0)
    driver.post(ClassesChanged((JobClass("development", 10),)))
    driver.post(QpuRegistered(SPEC))
    driver.post(TaskSubmitted(task_spec(1)), TaskSubmitted(task_spec(2, **MINE)))
    ask(driver, contiguous=True)
    assert starts(finish(at(driver, 10.0), 1)) == [2]


def ask_as(driver: CoreDriver, session: str, **changes: Any) -> list[Command]:
    values = {"linger_s": 600.0, "until_at": 1000 * MICROSECONDS, **changes}
    return driver.post(WarmHoldAsked(session, "alpha", "chemistry", "bob", **values))


def test_lingers_of_several_sessions_follow_each_other(site: CoreDriver) -> None:
    other: dict[str, Any] = {"session_id": "s-2", "shots": 50}
    ask(site)
    ask_as(site, "s-2")
    site.post(TaskSubmitted(task_spec(3, **other)))
    assert starts(finish(at(site, 10.0), 1)) == []
    assert starts(at(site, 30.0).post(WokenUp())) == [2]
    assert starts(finish(at(site, 40.0), 2)) == [3]
    site.post(TaskSubmitted(task_spec(4, shots=50)))
    assert starts(finish(at(site, 50.0), 3)) == []
    waiting = site.scheduler.waiting(4)
    assert waiting is not None
    assert waiting.detail == "alpha: kept warm for another session between its tasks"
    assert starts(at(site, 70.0).post(WokenUp())) == [4]


def test_run_of_another_session_is_not_ended_by_asking_and_a_linger_is(site: CoreDriver) -> None:
    ask(site)
    finish(at(site, 10.0), 1)
    commands = ask_as(at(site, 12.0), "s-2", contiguous=True)
    assert [one.session_id for one in holds(commands)] == ["s-1"]
    ask(at(site, 13.0), contiguous=True)
    view = site.scheduler.qpu("alpha")
    assert view is not None
    assert view.hold is not None
    assert (view.hold.session_id, view.hold.until_at) == ("s-2", 112 * MICROSECONDS)
    assert [one.session_id for one in view.lingers] == ["s-1"]


def test_run_that_is_asked_for_again_lasts_no_longer_than_its_bound(site: CoreDriver) -> None:
    ask(site, contiguous=True)
    finish(at(site, 10.0), 1)
    ask(at(site, 60.0), contiguous=True)
    assert starts(at(site, 100.0).post(WokenUp())) == [2]


def test_run_in_which_nothing_runs_for_too_long_ends() -> None:
    driver = CoreDriver(step=0)
    driver.post(ClassesChanged((JobClass("development", 10),)))
    driver.post(QpuRegistered(replace(SPEC, max_run_idle_s=30.0)))
    ask(driver, contiguous=True)
    driver.post(TaskSubmitted(task_spec(1)))
    assert starts(at(driver, 20.0).post(TaskSubmitted(task_spec(2, **MINE)))) == [2]
    assert starts(finish(at(driver, 30.0), 2)) == []
    assert starts(at(driver, 59.0).post(WokenUp())) == []
    assert driver.scheduler.next_wakeup() == 60 * MICROSECONDS
    assert starts(at(driver, 60.0).post(WokenUp())) == [1]


def test_kept_seconds_count_against_the_credit_of_the_account() -> None:
    credit = Credit("physics", qpu_s=30.0, period_s=3600.0)
    driver = CoreDriver(step=0, scheduler=Scheduler(credits=[credit]))
    driver.post(QpuRegistered(SPEC))
    ask(driver, contiguous=True)
    at(driver, 25.0).post(WokenUp())
    ask(driver, linger_s=0.0)
    now = driver.now
    assert driver.scheduler.hold_refusal("alpha", "physics", 5.0, now) is None
    refusal = driver.scheduler.hold_refusal("alpha", "physics", 6.0, now)
    assert refusal is not None
    assert (refusal.limit, refusal.used, refusal.asked) == (30.0, 25.0, 6.0)
    assert driver.scheduler.hold_refusal("alpha", "chemistry", 600.0, now) is None
