"""What is charged, what is refused at submission, and what is held back for its cost."""

from __future__ import annotations

from typing import Any

import pytest

from qpu_executor.model.events import (
    CalibrationEnded,
    ChunkFinished,
    ClassesChanged,
    QpuRegistered,
    TaskCancelAsked,
    TaskSubmitted,
    WokenUp,
)
from qpu_executor.model.states import OnRecalibration, TaskState, WaitReason
from qpu_executor.model.timing import Timing
from qpu_executor.model.values import MICROSECONDS, ChunkId, JobClass, QpuSpec
from qpu_executor.scheduling.admission import Credit
from qpu_executor.scheduling.charging import ChargingTable, Ended
from qpu_executor.scheduling.commands import DiscardShots
from qpu_executor.scheduling.fair_share import FairShareRules
from qpu_executor.scheduling.minimum_share import MinimumShares
from qpu_executor.scheduling.scheduler import Scheduler
from qpu_executor.testing.core_driver import CoreDriver, task_spec

DAY = 86_400 * MICROSECONDS
TABLE = ChargingTable(
    shots=1.0, setup=0.5, preempted=0.25, stopped=0.75, lost=0.1, device_fault=0.2, emulator=0.4
)


def a_site(*classes: JobClass, **settings: Any) -> CoreDriver:
    driver = CoreDriver(Scheduler(**settings))
    driver.post(ClassesChanged(classes or (JobClass("development", 1),)))
    driver.post(QpuRegistered(QpuSpec("alpha", shot_rate_hz=5.0)))
    return driver


# -- the table -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ended", "resumed", "emulated", "expected"),
    [
        (Ended.FINISHED, False, False, 10.0 + 0.5 * 4.0),
        (Ended.FINISHED, True, False, 10.0 + 0.25 * 4.0),
        (Ended.FINISHED, False, True, 0.4 * 12.0),
        (Ended.STOPPED, False, False, 7.5 + 2.0),
        (Ended.LOST, False, False, 0.1 * 14.0),
        (Ended.LOST, True, False, 0.1 * 14.0),
        (Ended.FAULT, False, True, 0.4 * 0.2 * 14.0),
    ],
)
def test_table_by_what_became_of_the_chunk(
    ended: Ended, resumed: bool, emulated: bool, expected: float
) -> None:
    charged = TABLE.chunk_s(ended, setup_s=4.0, device_s=10.0, resumed=resumed, emulated=emulated)
    assert charged == pytest.approx(expected)


def test_table_for_holds_and_discarded_shots() -> None:
    table = ChargingTable(hold=0.5, restart=0.25, emulator=0.1)
    assert table.hold_s(60.0, emulated=False) == 30.0
    assert table.hold_s(60.0, emulated=True) == 3.0
    assert table.discarded_s(100.0) == 75.0
    assert ChargingTable(shots=0.0).discarded_s(100.0) == 0.0


# -- minimum shares ------------------------------------------------------------------


def test_class_is_owed_its_share_of_the_time_in_which_it_waited() -> None:
    shares = MinimumShares(horizon_s=1000.0)
    shares.define([JobClass("production", 2), JobClass("development", 1, min_share=0.1)])
    shares.chunk_ended("production", ["development"], 30.0)
    assert shares.balance_s("development") == pytest.approx(3.0)
    assert shares.owed(["production", "development"]) == "development"
    assert shares.owed(["production"]) is None
    shares.chunk_ended("development", ["production"], 10.0)
    assert shares.balance_s("development") == pytest.approx(-6.0)
    assert shares.owed(["production", "development"]) is None


def test_what_a_class_had_counts_against_it_for_the_horizon_at_most() -> None:
    shares = MinimumShares(horizon_s=100.0)
    shares.define([JobClass("development", 1, min_share=0.1)])
    shares.chunk_ended("development", [], 5000.0)
    assert shares.balance_s("development") == pytest.approx(-10.0)


def test_time_without_work_earns_nothing() -> None:
    shares = MinimumShares()
    shares.define([JobClass("development", 1, min_share=0.1)])
    shares.chunk_ended("production", [], 5000.0)
    assert shares.balance_s("development") == 0.0


# -- refusals ------------------------------------------------------------------------


def test_user_with_as_many_waiting_tasks_as_allowed_is_refused_with_the_numbers() -> None:
    site = a_site(JobClass("development", 1, max_queued=2))
    for task_id in (1, 2, 3):  # one runs, two wait
        assert site.scheduler.refusal(task_spec(task_id)) is None
        site.post(TaskSubmitted(task_spec(task_id)))
    refusal = site.scheduler.refusal(task_spec(4))
    assert refusal is not None
    assert (refusal.reason, refusal.limit, refusal.used) == (WaitReason.CLASS_LIMIT, 2, 2)
    assert str(refusal) == (
        "tasks of ada that wait in class 'development': 2 and 1 more, 2 are allowed"
    )
    assert site.scheduler.refusal(task_spec(4, owner="bob")) is None
    site.post(TaskCancelAsked(2))
    assert site.scheduler.refusal(task_spec(4)) is None


def test_account_is_refused_what_its_credit_doesnt_cover() -> None:
    site = a_site(credits=[Credit("physics", qpu_s=50.0)])
    site.post(TaskSubmitted(task_spec(1, shots=100)))  # 20 s
    site.post(TaskSubmitted(task_spec(2, shots=100)))
    refusal = site.scheduler.refusal(task_spec(3, shots=100))
    assert refusal is not None
    assert refusal.reason is WaitReason.QUOTA_EXCEEDED
    assert (refusal.limit, refusal.used, refusal.asked) == (50.0, 40.0, 20.0)
    assert refusal.until == DAY
    assert site.scheduler.refusal(task_spec(3, shots=50)) is None
    assert site.scheduler.refusal(task_spec(3, shots=100, account="chemistry")) is None


def test_what_was_charged_replaces_what_was_expected() -> None:
    site = a_site(credits=[Credit("physics", qpu_s=50.0)])
    site.post(TaskSubmitted(task_spec(1, shots=100)))
    site.post(ChunkFinished(ChunkId(1, 0), 50, 10.0, setup_s=6.0))
    refusal = site.scheduler.refusal(task_spec(2, shots=200))
    assert refusal is not None
    assert refusal.used == pytest.approx(20.0)
    site.post(ChunkFinished(ChunkId(1, 1), 50, 10.0, setup_s=6.0))
    refusal = site.scheduler.refusal(task_spec(2, shots=200))
    assert refusal is not None
    assert refusal.used == pytest.approx(32.0)


def test_credit_is_whole_again_in_the_next_period() -> None:
    site = a_site(credits=[Credit("physics", qpu_s=50.0)])
    site.scheduler.recall_usage("physics", "ada", "development", 49.0, 0)
    assert site.scheduler.refusal(task_spec(1)) is not None
    site.now = DAY
    site.post(WokenUp())
    assert site.scheduler.refusal(task_spec(1)) is None


def test_class_limits_what_a_user_is_charged_in_a_day() -> None:
    site = a_site(JobClass("development", 1, qpu_s_per_day=30.0))
    site.scheduler.recall_usage("physics", "ada", "development", 20.0, 5)
    refusal = site.scheduler.refusal(task_spec(1, shots=100))
    assert refusal is not None
    assert (refusal.reason, refusal.used) == (WaitReason.CLASS_LIMIT, 20.0)
    assert site.scheduler.refusal(task_spec(1, shots=40)) is None


def test_used_up_credit_holds_what_waits_until_the_period_ends() -> None:
    site = a_site(credits=[Credit("physics", qpu_s=50.0)])
    site.post(TaskSubmitted(task_spec(1, shots=50)), TaskSubmitted(task_spec(2, shots=50)))
    site.post(ChunkFinished(ChunkId(1, 0), 50, 60.0))  # far more than expected
    assert not site.out
    waiting = site.scheduler.waiting(2)
    assert waiting is not None
    assert waiting.reason is WaitReason.QUOTA_EXCEEDED
    assert "60 of 50 are used" in waiting.detail
    assert site.scheduler.next_wakeup() == DAY
    site.now = DAY
    site.post(WokenUp())
    assert site.tasks[2].state is TaskState.RUNNING


@pytest.mark.parametrize(("restart", "left_s"), [(0.0, 2.0), (0.5, 7.0), (1.0, 12.0)])
def test_discarded_shots_are_given_back_as_the_table_says(restart: float, left_s: float) -> None:
    rules = FairShareRules(half_life_s=1e12)
    classes = (JobClass("production", 2), JobClass("development", 1))
    site = a_site(*classes, charging=ChargingTable(restart=restart), fair_share=rules)
    site.post(CalibrationEnded("alpha", "epoch-1"))
    again = Timing(on_recalibration=OnRecalibration.RESTART)
    site.post(TaskSubmitted(task_spec(1, timing=again)))
    site.post(TaskSubmitted(task_spec(2, owner="bob", job_class="production")))
    site.post(ChunkFinished(ChunkId(1, 0), 50, 10.0, setup_s=2.0))
    commands = site.post(CalibrationEnded("alpha", "epoch-2"))
    assert any(isinstance(command, DiscardShots) for command in commands)
    ada = next(line for line in site.scheduler.shares() if line.user == "ada")
    assert ada.usage_s == pytest.approx(left_s)


def test_recalled_usage_counts_for_the_fair_share() -> None:
    site = a_site()
    site.scheduler.recall_usage("physics", "ada", "development", 20.0, 5)
    (account, user) = site.scheduler.shares()
    assert account.account == "physics"
    assert account.usage_s == pytest.approx(20.0)
    assert (user.user, user.ratio) == ("ada", 1.0)
