"""Seeded loads: the same seed names the same jobs for ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.simulation.reference import reference_scenarios
from qpu_executor.simulation.workload import (
    DAY_S,
    Flood,
    HybridJob,
    JobKind,
    Round,
    WorkloadModel,
    shortest_makespan_s,
)

RECORDED = json.loads((Path(__file__).parents[1] / "data/simulation_baselines.json").read_text())


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda one: f"{one['load']}-{one['seed']}")
def test_a_seed_draws_the_jobs_that_were_recorded_elsewhere(recorded: dict[str, Any]) -> None:
    (scenario,) = (one for one in reference_scenarios(3.0) if one.name == recorded["load"])

    jobs = scenario.jobs(recorded["seed"])

    last, expected = jobs[-1], recorded["last_job"]
    assert len(jobs) == recorded["jobs"]
    assert sum(len(job.rounds) for job in jobs) == recorded["tasks"]
    assert sum(one.shots for job in jobs for one in job.rounds) == recorded["shots"]
    assert last.arrives_s == pytest.approx(expected["arrives_s"], abs=1e-5)
    assert last.rate_hz == pytest.approx(expected["rate_hz"], abs=1e-5)
    assert last.alone_s(2.0) == pytest.approx(expected["alone_s"], abs=1e-5)
    assert last.account == f"account-{expected['account']}"
    assert (last.job_class == "production") is expected["production"]
    assert len(last.rounds) == expected["rounds"]


def test_a_closed_batch_takes_the_kinds_in_turn_and_is_there_from_the_start() -> None:
    jobs = WorkloadModel().closed(seed=1, jobs=7)

    names = ["quantum-heavy", "balanced", "classical-heavy"]
    assert [job.kind for job in jobs] == [*names, *names, names[0]]
    assert {job.arrives_s for job in jobs} == {0.0}
    assert [job.job_id for job in jobs] == list(range(7))


def test_every_value_stays_in_its_range() -> None:
    kind = JobKind("scan", think_s=(3, 4), shots=(10, 20), rounds=(2, 3), width=(5, 6))
    jobs = WorkloadModel(kinds=(kind,), rate_hz=(0.25, 10)).closed(seed=2, jobs=200)

    rounds = [one for job in jobs for one in job.rounds]
    assert {len(job.rounds) for job in jobs} == {2, 3}
    assert all(0.25 <= job.rate_hz <= 10 for job in jobs)
    assert all(3 <= one.think_s <= 4 for one in rounds)
    assert {one.shots for one in rounds} == set(range(10, 21))
    assert {one.width for one in rounds} == {5, 6}


def test_open_arrivals_ask_for_the_load_on_average() -> None:
    model, days = WorkloadModel(), 60.0

    demand_s = sum(
        job.quantum_s for seed in range(4) for job in model.open(seed, load=0.5, days=days)
    )

    assert demand_s / (4 * days * DAY_S) == pytest.approx(0.5, abs=0.04)


def test_classes_and_the_flooding_account_get_their_shares_of_the_jobs() -> None:
    model = WorkloadModel(
        class_shares=(("a", 0.5), ("b", 0.2), ("c", 0.3)), flood=Flood("account-3", 0.6)
    )

    jobs = [job for seed in range(5) for job in model.open(seed, load=0.8, days=60)]

    def share(condition: list[bool]) -> float:
        return sum(condition) / len(jobs)

    assert share([job.job_class == "a" for job in jobs]) == pytest.approx(0.5, abs=0.03)
    assert share([job.job_class == "b" for job in jobs]) == pytest.approx(0.2, abs=0.03)
    assert share([job.account == "account-3" for job in jobs]) == pytest.approx(0.6, abs=0.03)
    assert {job.account for job in jobs} == set(model.accounts)


def test_a_job_alone_takes_its_thinking_its_shots_and_its_set_ups() -> None:
    rounds = (Round(10.0, 100), Round(20.0, 50, width=3))
    job = HybridJob(0, "production", "x", "a", 0.0, rate_hz=2.0, rounds=rounds)

    assert job.quantum_s == 50 + 75
    assert job.alone_s(setup_s=2.0) == 10 + 52 + 20 + 3 * 27
    assert job.path_s(0, 2.0) == job.alone_s(2.0) - 10
    assert job.path_s(1, 2.0) == 3 * 27


def test_no_batch_is_shorter_than_its_work_or_its_longest_job() -> None:
    long = HybridJob(0, "c", "x", "a", 0.0, 1.0, (Round(500.0, 10),))
    short = HybridJob(1, "c", "x", "a", 0.0, 1.0, (Round(5.0, 100),))

    assert shortest_makespan_s([long, short], setup_s=2.0) == 512
    assert shortest_makespan_s([long, short], setup_s=2.0, closed_s=600) == 5 + 114 + 600
