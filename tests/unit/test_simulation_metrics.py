"""Figures: percentiles, pooling, and what stands for nothing."""

from __future__ import annotations

import pytest

from qpu_executor.simulation.metrics import Spread, figures
from qpu_executor.simulation.record import JobOutcome, RunRecord, TaskOutcome


def record(seed: int, *delays: float, job_class: str = "a", account: str = "x") -> RunRecord:
    made = RunRecord("p", seed, makespan_s=1000.0, useful_s=400.0, closed_s=200.0)
    made.tasks = [TaskOutcome(job_class, account, "k", 0.0, delay, 10.0) for delay in delays]
    made.jobs = [JobOutcome(job_class, account, "k", 300.0, 100.0)]
    made.shots_delivered, made.shots_counted = 120, 100
    return made


def test_percentiles_are_values_that_occurred_by_nearest_rank() -> None:
    spread = Spread.of(range(100, 0, -1))

    assert (spread.count, spread.mean, spread.p50, spread.p95, spread.p99) == (
        100,
        50.5,
        50,
        95,
        99,
    )
    assert Spread.of([7.0]).p99 == 7.0


def test_nothing_has_no_figures_rather_than_zeros() -> None:
    assert Spread.of([]) == Spread(0, None, None, None, None)


def test_delays_of_all_seeds_are_pooled_and_utilisations_averaged() -> None:
    first, second = record(0, 1.0, 3.0), record(1, 8.0)
    second.useful_s = 800.0

    pooled = figures([first, second], ["b", "a"])

    (only,) = pooled.classes
    assert only.job_class == "a"
    assert only.delay_s.mean == 4.0
    assert pooled.utilisation == pytest.approx(0.6)
    assert pooled.calibrated_utilisation == pytest.approx(0.75)
    assert pooled.shots_repeated == 40
    assert only.job_stretch.mean == 3.0
    assert only.job_delay_s.mean == 200.0


def test_an_open_system_is_measured_over_all_its_days() -> None:
    assert figures([record(0, 1.0)], ["a"], days=1.0).utilisation == pytest.approx(400 / 86_400)


def test_the_account_that_used_most_is_told_from_the_others() -> None:
    one = record(0, 1.0, 2.0, account="heavy")
    one.tasks.append(TaskOutcome("a", "light", "k", 0.0, 50.0, 10.0))
    one.jobs.append(JobOutcome("a", "light", "k", 500.0, 100.0))

    pooled = figures([one], ["a"])

    assert pooled.heaviest is not None
    assert pooled.others is not None
    assert pooled.heaviest.accounts == "heavy"
    assert pooled.heaviest.job_stretch.mean == 3.0
    assert pooled.others.job_stretch.mean == 5.0
    assert pooled.others.delay_s.mean == 50.0


def test_one_account_alone_has_no_others() -> None:
    pooled = figures([record(0, 1.0)], ["a"])

    assert pooled.heaviest is None
    assert pooled.others is None
