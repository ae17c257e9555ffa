"""Presets against the best schedules of small closed batches, which OR-tools looks for.

`tests/data/small_instances.json` has 24 batches of 4 or 6 jobs with whole seconds, without
set-ups and calibrations. Each has the best schedule of whole tasks that CP-SAT found in a
long search (20 s, all workers), so that a short one, limited in its own deterministic time,
has to beat it first.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import pytest
from ortools.sat.python import cp_model

from qpu_executor.model.values import JobClass
from qpu_executor.simulation.engine import Rehearsal, SimulatedSite
from qpu_executor.simulation.qpu_model import QpuTiming
from qpu_executor.simulation.record import RunRecord
from qpu_executor.simulation.shipped import PRESETS
from qpu_executor.simulation.workload import HybridJob, Round, shortest_makespan_s

DATA = Path(__file__).parents[1] / "data/small_instances.json"
PREEMPTING = ("weighted", "banded", "priority")
WEIGHTS = {"production": 5, "development": 1}
SITE = SimulatedSite(
    (JobClass("production", 300, chunk_s=86_400), JobClass("development", 100, chunk_s=86_400)),
    (QpuTiming("qpu", setup_s=0.0, resume_s=0.0, calibration=None, max_chunk_shots=50),),
)
SOLVER_TIME = 0.05
"""CP-SAT's own measure of work: the same on every machine, less than as many seconds."""


@dataclass(frozen=True)
class Instance:
    """`starts`: seconds at which the tasks of the best known schedule start, job by job;
    `best`: the sum of its weighted completions.
    """

    jobs: tuple[HybridJob, ...]
    starts: tuple[tuple[int, ...], ...]
    best: int


def read_instances() -> list[Instance]:
    found = []
    for one in json.loads(DATA.read_text()):
        jobs = tuple(
            # One account a job, so that what a rehearsal says of an account is of that job.
            HybridJob(
                n,
                job["job_class"],
                "small",
                f"account-{n}",
                0.0,
                job["rate_hz"],
                tuple(Round(think_s, shots) for think_s, shots in job["rounds"]),
            )
            for n, job in enumerate(one["jobs"])
        )
        starts = tuple(tuple(job["starts"]) for job in one["jobs"])
        found.append(Instance(jobs, starts, one["weighted_completion"]))
    return found


INSTANCES = read_instances()


def seconds(job: HybridJob, one: Round) -> int:
    return round(one.shots / job.rate_hz)


class Model:
    """A batch as CP-SAT sees it: whole tasks, one at a time, each after its think time."""

    def __init__(self, instance: Instance) -> None:
        self.model = cp_model.CpModel()
        self.ends = []
        horizon = round(sum(job.alone_s(0.0) for job in instance.jobs)) + 1
        runs = []
        for job, starts in zip(instance.jobs, instance.starts, strict=True):
            ready: cp_model.LinearExprT = 0
            for one, known in zip(job.rounds, starts, strict=True):
                start = self.model.new_int_var(0, horizon, "")
                self.model.add_hint(start, known)
                self.model.add(start >= ready + round(one.think_s))
                length = seconds(job, one)
                runs.append(self.model.new_fixed_size_interval_var(start, length, ""))
                ready = start + length
            self.ends.append(ready)
        self.model.add_no_overlap(runs)
        self.horizon = horizon

    def least(self, objective: cp_model.LinearExprT) -> float:
        """The best that is found: with one worker, a seed and a deterministic limit, always
        the same.
        """
        self.model.minimize(objective)
        solver = cp_model.CpSolver()
        solver.parameters.random_seed = 1
        solver.parameters.num_workers = 1
        solver.parameters.max_deterministic_time = SOLVER_TIME
        status = solver.solve(self.model)
        assert status in (cp_model.OPTIMAL, cp_model.FEASIBLE), solver.status_name(status)
        return solver.objective_value


def rehearse(instance: Instance, policy: str) -> RunRecord:
    return Rehearsal(instance.jobs, PRESETS[policy], SITE, 0).run()


def weighted_completion(record: RunRecord) -> float:
    return sum(WEIGHTS[job.job_class] * job.turnaround_s for job in record.jobs)


@pytest.fixture(scope="module")
def best_completions() -> list[float]:
    """Best known sums of weighted completions: as stored, what the solver finds now, or that
    of a preset. The stored schedules divide no task; one that does can be better.
    """
    found = []
    for instance in INSTANCES:
        made = Model(instance)
        weights = [WEIGHTS[job.job_class] for job in instance.jobs]
        objective = sum(weight * end for weight, end in zip(weights, made.ends, strict=True))
        presets = (weighted_completion(rehearse(instance, name)) for name in PREEMPTING)
        found.append(min(instance.best, made.least(objective), *presets))
    return found


def test_the_stored_schedules_can_be_kept_and_cost_what_they_say() -> None:
    assert len(INSTANCES) == 24
    for instance in INSTANCES:
        runs, cost = list[tuple[int, int]](), 0
        for job, starts in zip(instance.jobs, instance.starts, strict=True):
            ready = 0
            for one, start in zip(job.rounds, starts, strict=True):
                assert start >= ready + one.think_s
                ready = start + seconds(job, one)
                runs.append((start, ready))
            cost += WEIGHTS[job.job_class] * ready
        assert all(before[1] <= after[0] for before, after in pairwise(sorted(runs)))
        assert cost == instance.best


def ratios(policy: str, best: Sequence[float]) -> list[float]:
    return [
        weighted_completion(rehearse(instance, policy)) / least
        for instance, least in zip(INSTANCES, best, strict=True)
    ]


def test_weighted_is_within_two_per_cent_of_the_best_known_completions(
    best_completions: list[float],
) -> None:
    found = ratios("weighted", best_completions)

    assert fmean(found) <= 1.02
    assert min(found) >= 1.0
    assert fmean(ratios("fifo", best_completions)) > 1.3, "the measure tells policies apart"


def test_critical_path_is_within_half_a_per_cent_of_the_makespan_bound() -> None:
    def mean_ratio(policy: str) -> float:
        return fmean(
            rehearse(instance, policy).makespan_s / shortest_makespan_s(instance.jobs, 0.0)
            for instance in INSTANCES
        )

    assert mean_ratio("critical-path") <= 1.005
    assert mean_ratio("fifo") > 1.02, "the measure tells policies apart"


def test_no_schedule_that_the_solver_finds_is_shorter_than_the_bound() -> None:
    for instance in INSTANCES[:8]:
        made = Model(instance)
        makespan = made.model.new_int_var(0, made.horizon, "")
        made.model.add_max_equality(makespan, made.ends)
        least = made.least(makespan)
        bound = shortest_makespan_s(instance.jobs, 0.0)
        assert bound <= least
        assert rehearse(instance, "critical-path").makespan_s <= 1.02 * least
