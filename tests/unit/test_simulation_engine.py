"""The rehearsal itself: jobs, chunks, calibrations, and the core in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from qpu_executor.errors import InternalError
from qpu_executor.model.events import Event, TaskCancelAsked, TaskSubmitted, WokenUp
from qpu_executor.model.states import WindowKind
from qpu_executor.model.timing import CalibrationPlan, Window
from qpu_executor.model.values import MICROSECONDS, Instant, JobClass
from qpu_executor.model.values import MICROSECONDS as S
from qpu_executor.scheduling.commands import Command
from qpu_executor.scheduling.scheduler import Scheduler
from qpu_executor.simulation.baselines import BASELINES, EXCLUSIVE, FIFO_POLLED, FIFO_WHOLE
from qpu_executor.simulation.engine import Rehearsal, SimulatedSite
from qpu_executor.simulation.heap import EventHeap
from qpu_executor.simulation.policy import Policy
from qpu_executor.simulation.qpu_model import (
    BreakdownLaw,
    CalibrationLaw,
    QpuRules,
    QpuTiming,
)
from qpu_executor.simulation.record import ChunkSent, RunRecord
from qpu_executor.simulation.shipped import BANDED
from qpu_executor.simulation.stage import START_AT
from qpu_executor.simulation.workload import (
    HybridJob,
    Round,
    WorkloadModel,
    shortest_makespan_s,
)

CLASSES = (
    JobClass("production", 300, chunk_s=86_400),
    JobClass("development", 100, chunk_s=86_400),
)
QPU = QpuTiming("qpu", calibration=None, max_chunk_shots=50)
SITE = SimulatedSite(CLASSES, (QPU,))
DAY_S = 86_400.0


def job(
    job_id: int, *rounds: Round, job_class: str = "development", arrives_s: float = 0.0
) -> HybridJob:
    return HybridJob(job_id, job_class, "x", f"account-{job_id}", arrives_s, 1.0, rounds)


def play(
    jobs: Sequence[HybridJob], policy: Policy = BANDED, site: SimulatedSite = SITE, seed: int = 0
) -> RunRecord:
    rehearsal = Rehearsal(jobs, policy, site, seed, spans_until_s=DAY_S, record_chunks=True)
    return rehearsal.run()


def calibrated(every_s: float, lasts_s: float, *, announced: bool = False) -> SimulatedSite:
    law = CalibrationLaw((every_s, every_s), (lasts_s, lasts_s), announced)
    return SimulatedSite(CLASSES, (replace(QPU, calibration=law),))


@pytest.mark.parametrize("policy", [*BASELINES.values(), BANDED], ids=lambda one: one.name)
def test_a_job_alone_waits_for_nothing_however_it_is_chunked(policy: Policy) -> None:
    jobs = WorkloadModel().closed(seed=1, jobs=1)

    record = play(jobs, replace(policy, poll_s=0.0))

    assert record.makespan_s == pytest.approx(jobs[0].alone_s(2.0), abs=1e-3)
    assert max(abs(task.delay_s) for task in record.tasks) < 1e-3
    assert {task.wait_s for task in record.tasks} == {0.0}
    assert record.jobs[0].stretch == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("policy", [*BASELINES.values(), BANDED], ids=lambda one: one.name)
def test_no_policy_makes_or_loses_work_or_beats_the_bound(policy: Policy) -> None:
    jobs = WorkloadModel().closed(seed=2, jobs=12)
    site = SimulatedSite(CLASSES, (replace(QPU, calibration=CalibrationLaw()),))

    record = play(jobs, policy, site, seed=2)

    shots = sum(one.shots for job in jobs for one in job.rounds)
    assert record.shots_asked == record.shots_counted == record.shots_delivered == shots
    assert record.useful_s == pytest.approx(sum(job.quantum_s for job in jobs))
    assert len(record.jobs) == 12
    assert len(record.tasks) == sum(len(job.rounds) for job in jobs)
    assert record.makespan_s >= shortest_makespan_s(jobs, 2.0) - 1e-3
    assert all(one.stretch >= 1 - 1e-6 for one in record.jobs)
    assert record.tasks_failed == 0


def test_a_more_urgent_task_starts_at_the_next_chunk_boundary_and_nothing_is_lost() -> None:
    slow = job(0, Round(0.0, 1000))
    urgent = job(1, Round(60.0, 30), job_class="production")

    record = play([slow, urgent])

    # Chunks of 50 s after a set-up of 2 s: the one that runs at 60 s ends at 102 s.
    (fast,) = (one for one in record.tasks if one.job_class == "production")
    assert fast.wait_s == pytest.approx(42.0)
    assert [one.task_id for one in record.chunks[:4]] == [1, 1, 2, 1]
    (cut,) = (one for one in record.tasks if one.job_class == "development")
    assert cut.delay_s == pytest.approx(2 + 30 + 2)
    assert record.shots_counted == 1030
    assert sum(one.shots for one in record.chunks if one.task_id == 1) == 1000


def test_exclusive_allocation_runs_jobs_one_after_the_other() -> None:
    jobs = WorkloadModel().closed(seed=4, jobs=6)

    record = play(jobs, EXCLUSIVE)

    assert record.makespan_s == pytest.approx(sum(one.alone_s(2.0) for one in jobs), abs=1e-2)


def test_polling_leaves_the_qpu_idle_after_every_task_up_to_the_interval() -> None:
    jobs = [job(0, *[Round(0.0, 100)] * 40)]

    record = play(jobs, FIFO_POLLED)

    idle_s = record.makespan_s - jobs[0].alone_s(2.0)
    assert 40 * 1.5 < idle_s < 40 * 3.5
    assert max(one.delay_s for one in record.tasks) < 1e-3


def test_tasks_of_a_round_are_submitted_together_and_the_round_waits_for_the_last() -> None:
    record = play([job(0, Round(5.0, 10, width=3), Round(5.0, 10))])

    assert [one.wait_s for one in record.tasks] == pytest.approx([0, 12, 24, 0])
    assert record.makespan_s == pytest.approx(5 + 36 + 5 + 12)


def test_a_due_calibration_waits_for_the_running_chunk_and_sets_its_task_aside() -> None:
    record = play([job(0, Round(0.0, 200))], site=calibrated(every_s=60, lasts_s=500))

    # Due at 60 s; the second chunk ends at 102 s; the task is taken up again after 500 s.
    spans = [(one.begins_s, one.ends_s, one.job_class) for one in record.spans]
    (calibration, *_) = [one for one in spans if one[2] == "calibration"]
    assert calibration[:2] == (102.0, 602.0)
    assert sorted(spans)[3][:2] == (602.0, 654.0)
    assert record.shots_counted == 200


def test_no_chunk_runs_across_an_announced_calibration_and_every_shot_is_taken() -> None:
    site = calibrated(every_s=130, lasts_s=60, announced=True)

    record = play([job(0, Round(0.0, 400)), job(1, Round(5.0, 300))], site=site)

    calibrations = [one for one in record.spans if one.job_class == "calibration"]
    chunks = [one for one in record.spans if one.job_class != "calibration"]
    assert [one.begins_s for one in calibrations[:2]] == [130.0, 320.0]
    for closed in calibrations:
        assert not [
            one for one in chunks if one.begins_s < closed.ends_s and one.ends_s > closed.begins_s
        ]
    assert record.shots_counted == record.shots_delivered == 700
    assert record.utilisation() > 0.5


def test_who_knows_no_calendar_meets_the_same_calibrations_as_a_surprise() -> None:
    site = calibrated(every_s=60, lasts_s=60, announced=True)

    record = play([job(0, Round(0.0, 400))], FIFO_WHOLE, site)

    (calibration,) = [one for one in record.spans if one.job_class == "calibration"]
    assert calibration.begins_s == record.makespan_s == 402.0


def test_a_task_that_a_limit_refuses_is_offered_again_and_its_wait_counts() -> None:
    limited = replace(CLASSES[1], max_queued=1)
    site = SimulatedSite((CLASSES[0], limited), (QPU,))

    record = play([job(0, Round(0.0, 100, width=3))], site=site)

    assert record.refusals > 0
    assert record.tasks_failed == 0
    assert record.shots_counted == 300
    assert max(one.wait_s for one in record.tasks) > 200


def test_a_task_beyond_all_limits_fails_and_its_job_goes_on() -> None:
    limited = replace(CLASSES[1], qpu_s_per_day=150.0)
    site = SimulatedSite((CLASSES[0], limited), (QPU,))

    record = play([job(0, Round(0.0, 200), Round(0.0, 50))], site=site)

    assert record.tasks_failed == 1
    assert record.shots_counted == 50
    assert len(record.jobs) == 1


def test_an_idle_qpu_calibrates_when_it_is_due_and_an_unused_one_when_work_comes() -> None:
    site = calibrated(every_s=100, lasts_s=10)

    unused = play([job(0, Round(250.0, 10))], site=site)
    idle = play([job(0, Round(20.0, 10), Round(200.0, 10))], site=site)

    begins = [one.begins_s for one in unused.spans if one.job_class == "calibration"]
    assert begins == [250.0]
    begins = [one.begins_s for one in idle.spans if one.job_class == "calibration"]
    assert begins == [100.0, 210.0]


def test_a_calibration_that_begins_as_the_last_job_ends_takes_none_of_its_time() -> None:
    record = play([job(0, Round(0.0, 50))], site=calibrated(every_s=30, lasts_s=500))

    assert record.makespan_s == 52.0
    assert record.calibrations == 1
    assert record.calibrating_s == 0.0
    assert record.calibrated_utilisation == pytest.approx(50 / 52)


def test_two_qpus_share_the_work_and_a_task_pays_a_set_up_on_each() -> None:
    site = SimulatedSite(CLASSES, (QPU, replace(QPU, name="other")))
    jobs = [job(n, Round(0.0, 100)) for n in range(4)]

    record = play(jobs, FIFO_WHOLE, site)

    assert record.makespan_s == pytest.approx(2 * 102)
    assert {one.qpu for one in record.chunks} == {"qpu", "other"}
    assert record.utilisation() == pytest.approx(400 / 408)


def test_the_same_seed_gives_the_same_record_twice() -> None:
    jobs = WorkloadModel().closed(seed=7, jobs=9)
    site = SimulatedSite(CLASSES, (replace(QPU, calibration=CalibrationLaw()),))

    assert play(jobs, BANDED, site, seed=7) == play(jobs, BANDED, site, seed=7)
    assert play(jobs, BANDED, site, seed=7) != play(jobs, BANDED, site, seed=8)


def test_a_breakdown_loses_the_running_chunk_and_closes_the_qpu_under_every_policy() -> None:
    qpu = replace(QPU, breakdowns=BreakdownLaw(mean_between_s=200.0, repair_s=30.0))
    site = SimulatedSite(CLASSES, (qpu,))
    jobs = [job(0, Round(0.0, 400))]

    records = [play(jobs, policy, site, seed=3) for policy in (BANDED, BANDED)]
    fifo = play([job(0, Round(0.0, 20), Round(0.0, 20))], FIFO_WHOLE, site, seed=3)

    outages = [one for one in records[0].spans if one.job_class == "outage"]
    chunks = [one for one in records[0].spans if one.job_class == "development"]
    assert records[0] == records[1]
    assert outages
    assert {round(one.ends_s - one.begins_s, 3) for one in outages} == {30.0}
    for closed in outages:
        assert not [
            one for one in chunks if one.begins_s < closed.ends_s and one.ends_s > closed.begins_s
        ]
    assert records[0].shots_counted == 400
    assert records[0].shots_delivered > 400
    assert records[0].closed_s == pytest.approx(30.0 * len(outages))
    first = [one for one in fifo.spans if one.job_class == "outage"][:1]
    assert first == outages[: len(first)], "they don't depend on the policy"


def test_changing_the_layout_takes_time_and_grouping_saves_it() -> None:
    qpu = replace(QPU, layout_s=20.0)
    grouped = replace(qpu, rules=QpuRules(group_tasks=5, group_s=1e6))
    jobs = [
        replace(job(n, Round(0.0, 50), arrives_s=0.1 * n), layout="ab"[n % 2]) for n in range(6)
    ]

    plain, together = (play(jobs, BANDED, SimulatedSite(CLASSES, (one,))) for one in (qpu, grouped))

    assert plain.overhead_s == 6 * (2 + 20)
    assert together.overhead_s == 6 * 2 + 2 * 20


def test_a_window_of_the_site_is_planned_with_and_a_plan_kept_to() -> None:
    maintenance = Window("w", WindowKind.MAINTENANCE, *(START_AT + at for at in (60 * S, 90 * S)))
    plan = CalibrationPlan(200.0, 40.0)
    site = SimulatedSite(
        CLASSES, (replace(QPU, rules=QpuRules(plan=plan, windows=(maintenance,))),)
    )

    knowing = play([job(0, Round(0.0, 400))], BANDED, site)
    other = play([job(0, Round(0.0, 50), Round(0.0, 350))], FIFO_WHOLE, site)

    closed = [one[1:3] for one in knowing.spans if one.task_id is None]
    assert closed[:2] == [(60.0, 90.0), (200.0, 240.0)]
    assert knowing.shots_counted == 400
    # Without a calendar both wait for the chunk: 50 shots until 52 s, 350 until 92 + 350 s.
    assert [one[1:3] for one in other.spans if one.task_id is None] == [(404.0, 444.0)]


class _Meddling(Scheduler):
    """Somebody cancels the first task that is submitted, at a given moment."""

    def __init__(self, cancel_s: float) -> None:
        super().__init__()
        self._cancel_at: Instant | None = START_AT + round(cancel_s * MICROSECONDS)

    def next_wakeup(self) -> Instant | None:
        return self._cancel_at

    def handle(self, event: Event, now: Instant) -> list[Command]:
        if isinstance(event, WokenUp) and now == self._cancel_at:
            self._cancel_at = None
            return super().handle(TaskCancelAsked(1), now)
        return super().handle(event, now)


def test_a_stopped_chunk_gives_its_shots_so_far_and_the_cancelled_task_frees_the_qpu() -> None:
    policy = Policy("meddled", "", lambda: _Meddling(30.5))

    record = play([job(0, Round(0.0, 100)), job(1, Round(1.0, 10))], policy)

    # 2 s of set-up, so 28 whole shots at 30.5 s; then the other task's 12 s.
    assert record.shots_delivered == 28 + 10
    assert record.tasks_failed == 1
    assert record.makespan_s == pytest.approx(42.5)
    assert record.chunks == [ChunkSent("qpu", 1, 0, 50, 0), ChunkSent("qpu", 2, 0, 10, 0)]


class _Deaf(Scheduler):
    """Never hears of a task."""

    def handle(self, event: Event, now: Instant) -> list[Command]:
        return [] if isinstance(event, TaskSubmitted) else super().handle(event, now)


def test_a_rehearsal_in_which_nothing_can_happen_any_more_says_so() -> None:
    with pytest.raises(InternalError, match="1 jobs or tasks are unfinished"):
        play([job(0, Round(0.0, 10))], Policy("deaf", "", _Deaf))


def test_events_of_one_instant_happen_in_the_order_in_which_they_were_planned() -> None:
    heap, seen = EventHeap(), list[object]()
    for at, what in ((5, "c"), (1, "a"), (5, "d"), (1, "b")):
        heap.push(at, seen.append, what)

    while len(heap):
        _, action, what = heap.pop()
        action(what)

    assert seen == ["a", "b", "c", "d"]
    assert heap.next_at is None
