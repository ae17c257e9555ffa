"""Each ordering policy: events in, the order of chunks out; giving way; explanations."""

from __future__ import annotations

from typing import Any

import pytest

from qpu_executor.errors import ConfigError
from qpu_executor.model.events import (
    ChunkFinished,
    ClassesChanged,
    QpuRegistered,
    TaskHoldAsked,
    TaskReleaseAsked,
    TaskSubmitted,
    WokenUp,
)
from qpu_executor.model.sessions import SessionHints
from qpu_executor.model.states import TaskState, WaitReason
from qpu_executor.model.values import MICROSECONDS, JobClass, QpuSpec
from qpu_executor.scheduling.fair_share import FairShareRules
from qpu_executor.scheduling.ordering import Ordering
from qpu_executor.scheduling.policies.banded import Banded
from qpu_executor.scheduling.policies.critical_path import CriticalPath
from qpu_executor.scheduling.policies.fairshare import FairShare
from qpu_executor.scheduling.policies.fifo import Fifo
from qpu_executor.scheduling.policies.weighted import Weighted
from qpu_executor.scheduling.scheduler import Scheduler
from qpu_executor.scheduling.why import Ahead
from qpu_executor.testing.core_driver import CoreDriver, task_spec

PRODUCTION = JobClass("production", 20, chunk_s=10.0)
DEVELOPMENT = JobClass("development", 10, chunk_s=10.0)
RULES = FairShareRules(half_life_s=1e9, min_usage_s=50.0)


class Site(CoreDriver):
    """One QPU at 5 shots a second, 50 shots a chunk; time passes with the chunks."""

    def submit(self, task_id: int, shots: int, **changes: Any) -> None:
        spec = task_spec(task_id, shots=shots, submitted_at=self.now, **changes)
        self.post(TaskSubmitted(spec))

    def finish_chunk(self) -> None:
        """The chunk that is out takes 0.2 s a shot and ends."""
        (chunk,) = self.out
        shots = self.out[chunk].shots
        self.now += shots * MICROSECONDS // 5
        self.post(ChunkFinished(chunk, shots, shots / 5.0))

    def running(self) -> int:
        (chunk,) = self.out
        return chunk.task_id

    def order(self) -> list[int]:
        """The tasks in the order of their chunks, repetitions left out, until all is done."""
        found: list[int] = []
        while self.out:
            if not found or found[-1] != self.running():
                found.append(self.running())
            self.finish_chunk()
        return found


def a_site(ordering: Ordering, *classes: JobClass, **settings: Any) -> Site:
    site = Site(Scheduler(ordering=ordering, **{"fair_share": RULES, **settings}))
    site.post(ClassesChanged(classes or (PRODUCTION, DEVELOPMENT)))
    site.post(QpuRegistered(QpuSpec("alpha", shot_rate_hz=5.0)))
    return site


# -- banded --------------------------------------------------------------------------


def test_banded_takes_the_higher_class_first_and_then_the_least_work() -> None:
    site = a_site(Banded())
    site.submit(1, 50)
    site.submit(2, 400)
    site.submit(3, 100)
    site.submit(4, 900, job_class="production")
    site.submit(5, 500, job_class="production")
    assert site.order() == [1, 5, 4, 3, 2]


def test_banded_compares_qpu_seconds_not_shots() -> None:
    site = a_site(Banded())
    site.submit(1, 50)
    site.submit(2, 100, shot_s=4.0)
    site.submit(3, 300, shot_s=0.1)
    assert site.order() == [1, 3, 2]


def test_banded_running_task_gives_way_at_the_end_of_its_chunk_and_loses_no_shot() -> None:
    site = a_site(Banded())
    site.submit(1, 1000)
    site.finish_chunk()
    site.submit(2, 60, job_class="production")
    assert site.running() == 1
    assert site.order() == [1, 2, 1]
    assert (site.tasks[1].counted, site.tasks[1].chunks) == (1000, 20)


def test_banded_key_is_frozen_so_that_equal_tasks_dont_take_turns() -> None:
    site = a_site(Banded())
    site.submit(1, 300)
    site.submit(2, 300)
    assert site.order() == [1, 2]


def test_banded_account_far_above_its_share_goes_behind_the_others_at_the_next_boundary() -> None:
    site = a_site(Banded())
    for n in range(4):
        site.submit(100 + n, 5, account=f"account-{n}", owner=f"user-{n}")
    site.submit(1, 1000, account="greedy")
    for _ in range(10):  # 5 shots each of the others, then chunks of the greedy one
        site.finish_chunk()
    site.submit(2, 2000, account="account-0", owner="user-0")
    assert site.running() == 1
    site.finish_chunk()
    assert site.running() == 2
    site.submit(3, 5, account="greedy")
    site.finish_chunk()
    assert site.running() == 2  # although task 3 has less work


def test_banded_age_cap_puts_an_old_task_first() -> None:
    site = a_site(Banded(age_cap_s=100.0))
    site.submit(1, 50)
    site.submit(2, 2000)
    for task_id in range(3, 40):
        site.submit(task_id, 50)
    while site.now < 102 * MICROSECONDS:
        site.finish_chunk()
    site.post(WokenUp())
    site.finish_chunk()
    assert site.running() == 2
    site.submit(50, 5)
    site.finish_chunk()
    assert site.running() == 2


def test_banded_asks_to_be_woken_when_the_oldest_comes_of_age() -> None:
    site = a_site(Banded(age_cap_s=100.0))
    site.submit(1, 50)
    site.submit(2, 50)
    wakeup = site.scheduler.next_wakeup()
    assert wakeup is not None
    assert 100 * MICROSECONDS <= wakeup <= 102 * MICROSECONDS
    site.order()
    assert site.scheduler.next_wakeup() is None


def test_banded_deadline_puts_a_task_first_twice_its_work_before() -> None:
    site = a_site(Banded())
    site.submit(1, 50)
    site.submit(2, 500, deadline_at=site.now + 300 * MICROSECONDS)  # 100 s of work
    for task_id in range(3, 60):
        site.submit(task_id, 50)
    wakeup = site.scheduler.next_wakeup()
    assert wakeup is not None
    while site.now < wakeup:
        assert site.running() != 2
        site.finish_chunk()
    site.post(WokenUp())
    site.finish_chunk()
    assert site.running() == 2


def test_banded_task_that_was_held_ages_from_its_release() -> None:
    site = a_site(Banded(age_cap_s=100.0))
    site.submit(1, 2000)
    site.submit(2, 3000)
    site.post(TaskHoldAsked(2))
    site.now += 90 * MICROSECONDS
    site.post(TaskReleaseAsked(2))
    site.submit(3, 500)
    site.now += 50 * MICROSECONDS
    site.post(WokenUp())
    site.finish_chunk()
    assert site.running() == 1  # of age; task 2 isn't yet


def test_banded_users_may_put_their_task_back_but_not_push_it() -> None:
    site = a_site(Banded(), fair_share=FairShareRules())
    site.submit(1, 50)
    site.submit(2, 100, priority=-1)
    site.submit(3, 500, owner="bob")
    site.submit(4, 600, owner="cyd", priority=1000)
    assert site.order() == [1, 3, 4, 2]


# -- the others ----------------------------------------------------------------------


def test_fifo_takes_the_oldest_whatever_its_class_and_length() -> None:
    site = a_site(Fifo())
    for task_id, job_class in ((1, "development"), (2, "development"), (3, "production")):
        site.submit(task_id, 200 // task_id, job_class=job_class)
    assert site.order() == [1, 2, 3]


def test_critical_path_takes_the_task_with_the_most_work_to_come() -> None:
    site = a_site(CriticalPath())
    site.submit(1, 50)
    site.submit(2, 50, path_s=100.0)
    site.submit(3, 50, path_s=5000.0)
    site.submit(4, 1000)  # no path said: 200 s of its own
    site.submit(5, 50, path_s=30.0, job_class="production")
    assert site.order() == [1, 3, 4, 2, 5]


def test_weighted_takes_the_least_work_for_its_weight() -> None:
    site = a_site(Weighted(weights={"production": 5.0}))
    site.submit(1, 50)
    site.submit(2, 100)
    site.submit(3, 400, job_class="production")
    site.submit(4, 600, job_class="production")
    assert site.order() == [1, 3, 2, 4]


def test_weighted_lets_a_task_that_much_follows_pass_up_to_its_bonus() -> None:
    site = a_site(Weighted(path_bonus=2.0))
    hints = SessionHints(think_s=1e6)
    site.submit(1, 50)
    site.submit(2, 100)
    site.submit(3, 190, path_s=1e9)
    site.submit(4, 210, path_s=1e9)
    site.submit(5, 195, session_hints=hints)
    site.submit(6, 300, path_s=0.0)
    assert site.order() == [1, 3, 5, 2, 4, 6]


def test_weighted_without_a_bonus_listens_to_no_hint() -> None:
    site = a_site(Weighted())
    site.submit(1, 50)
    site.submit(2, 100)
    site.submit(3, 101, path_s=1e9)
    assert site.order() == [1, 2, 3]


@pytest.mark.parametrize("bonus", [0.5, 101.0])
def test_weighted_refuses_a_bonus_that_is_none(bonus: float) -> None:
    with pytest.raises(ConfigError, match="path_bonus"):
        Weighted(path_bonus=bonus)


def test_fairshare_takes_turns_by_usage_at_every_chunk() -> None:
    site = a_site(FairShare())
    site.submit(1, 150, account="physics")
    site.submit(2, 150, account="chemistry")
    assert site.order() == [1, 2, 1, 2, 1, 2]


# -- giving way ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preemptible", "may_preempt", "expected"),
    [(True, True, [1, 2, 1]), (False, True, [1, 2]), (True, False, [1, 2])],
)
def test_giving_way_needs_the_rights_of_both_classes(
    preemptible: bool, may_preempt: bool, expected: list[int]
) -> None:
    site = a_site(
        Banded(),
        JobClass("production", 20, may_preempt=may_preempt),
        JobClass("development", 10, preemptible=preemptible),
    )
    site.submit(1, 500)
    site.submit(2, 50, job_class="production")
    assert site.order() == expected


def test_within_a_class_the_shorter_goes_first_whatever_the_rights() -> None:
    site = a_site(Banded(), JobClass("production", 20, may_preempt=False, preemptible=False))
    site.submit(1, 500, job_class="production")
    site.submit(2, 50, job_class="production")
    assert site.order() == [1, 2, 1]


def test_class_that_is_owed_its_minimum_share_goes_before_a_higher_one() -> None:
    site = a_site(
        Banded(),
        JobClass("production", 20, preemptible=False),
        JobClass("development", 10, min_share=0.2),
    )
    site.submit(1, 5000, job_class="production")
    site.submit(2, 5000)
    classes = []
    for _ in range(50):
        classes.append(site.tasks[site.running()].spec.job_class)
        site.finish_chunk()
    assert classes.count("development") == 10
    assert classes[:7] == ["production", *["development"], *["production"] * 4, "development"]


def test_minimum_share_isnt_owed_for_time_that_a_class_had_before() -> None:
    classes = (JobClass("production", 20), JobClass("development", 10, min_share=0.2))
    site = a_site(Banded(), *classes, share_horizon_s=100.0)
    site.submit(1, 5000)
    for _ in range(20):
        site.finish_chunk()
    site.submit(2, 5000, job_class="production")
    site.finish_chunk()
    chunks = 0
    while site.running() == 2:
        site.finish_chunk()
        chunks += 1
    assert chunks == 11  # 100 s of the QPU, and the chunk after which it is owed something


# -- explanations --------------------------------------------------------------------


def test_why_names_the_parts_and_those_ahead() -> None:
    site = a_site(Banded())
    site.submit(1, 400, job_class="production", owner="bob", account="chemistry")
    site.submit(2, 100, job_class="production", owner="bob", account="chemistry")
    site.submit(3, 50, owner="cyd")
    site.submit(4, 500)
    site.finish_chunk()
    why = site.scheduler.why(4)
    assert why is not None
    assert why.waiting is not None
    assert (why.waiting.reason, why.waiting.position) == (WaitReason.PRIORITY, 3)
    assert why.ahead == (
        Ahead("production", "chemistry", "bob", 2, 1),
        Ahead("development", "physics", "cyd", 1, 0),
    )
    assert (why.class_priority, why.over, why.work_s) == (10, 0, 100.0)
    assert why.age_s == pytest.approx(10.0, abs=0.1)
    assert why.account.usage_s == 0.0
    bobs = site.scheduler.why(1)
    assert bobs is not None
    assert (bobs.user.user, bobs.account.fraction) == ("bob", 1.0)
    assert bobs.account.usage_s == pytest.approx(10.0)
    assert site.scheduler.why(99) is None


def test_shares_show_accounts_and_their_users() -> None:
    site = a_site(Banded())
    site.submit(1, 50, owner="bob")
    site.submit(2, 50, account="chemistry")
    site.order()
    lines = {(line.account, line.user): line for line in site.scheduler.shares()}
    assert lines["physics", None].usage_s == pytest.approx(10.0)
    assert lines["physics", "bob"].share == 1.0
    assert lines["chemistry", None].fraction == pytest.approx(0.5)
    assert lines["chemistry", None].ratio == pytest.approx(1.0)


# -- limits --------------------------------------------------------------------------


def test_user_at_the_limit_of_running_tasks_waits_for_class_limit() -> None:
    limited = JobClass("development", 10, max_running=1)
    site = a_site(Banded(), limited)
    site.post(QpuRegistered(QpuSpec("beta", shot_rate_hz=5.0)))
    site.submit(1, 50, qpus=("alpha", "beta"))
    site.submit(2, 100, qpus=("alpha", "beta"))
    site.submit(3, 5000, qpus=("alpha", "beta"), owner="bob")
    assert {chunk.task_id for chunk in site.out} == {1, 3}
    site.submit(4, 5, qpus=("beta",), owner="cyd", job_class="development")
    waiting = site.scheduler.waiting(2)
    assert waiting is not None
    assert waiting.reason is WaitReason.CLASS_LIMIT
    assert "ada has 1 tasks running" in waiting.detail
    (first,) = [chunk for chunk in site.out if chunk.task_id == 1]
    site.post(ChunkFinished(first, 50, 10.0))
    assert {chunk.task_id for chunk in site.out} == {2, 3}


def test_raising_the_limit_of_running_tasks_starts_those_that_waited_for_it() -> None:
    site = a_site(Banded(), JobClass("development", 10, max_running=1))
    site.post(QpuRegistered(QpuSpec("beta", shot_rate_hz=5.0)))
    for task_id in (1, 2):
        site.submit(task_id, 50, qpus=("alpha", "beta"))
    assert len(site.out) == 1
    site.post(ClassesChanged((JobClass("development", 10, max_running=2),)))
    assert len(site.out) == 2
    assert site.tasks[2].state is TaskState.RUNNING
