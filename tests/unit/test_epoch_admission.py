"""Wishes about time that a QPU could never grant are refused with the numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from qpu_executor.model.events import QpuRegistered
from qpu_executor.model.states import OnRecalibration
from qpu_executor.model.timing import CalibrationPlan, Timing
from qpu_executor.model.values import QpuSpec
from qpu_executor.scheduling.epochs import epoch_need_s, timing_refusal
from qpu_executor.scheduling.scheduler import Scheduler
from qpu_executor.testing.core_driver import task_spec

ALPHA = QpuSpec("alpha", setup_s=2.0, switch_s=3.0, calibration=CalibrationPlan(period_s=3600.0))


def refusal(timing: Timing, **changes: Any) -> str | None:
    """Of 1000 shots at 2.4 s in chunks of 24 s, on a QPU that is calibrated each hour."""
    values: dict[str, Any] = {"divisible": True, "chunk_s": 24.0, "qpu": ALPHA, **changes}
    return timing_refusal(timing, values.pop("shots", 1000), 2.4, **values)


def test_need_of_an_epoch_counts_shots_chunks_and_the_change_of_task() -> None:
    assert epoch_need_s(1000, 2.4, chunk_s=24.0, qpu=ALPHA) == 3.0 + 100 * 2.0 + 2400.0


@pytest.mark.parametrize("what", [OnRecalibration.RESTART, OnRecalibration.FAIL])
def test_task_of_one_epoch_that_no_epoch_has_the_time_for_is_refused(what: OnRecalibration) -> None:
    timing = Timing(on_recalibration=what)
    assert refusal(timing) is None
    assert refusal(timing, shots=2000) == (
        f"2000 shots (on_recalibration: {what}) need 5203 s between two calibrations, "
        "alpha is calibrated every 3600 s"
    )


def test_task_that_goes_on_over_calibrations_may_be_as_long_as_it_likes() -> None:
    assert refusal(Timing(), shots=100_000) is None


def test_indivisible_task_longer_than_an_epoch_is_refused_whatever_it_wishes() -> None:
    why = refusal(Timing(), shots=2000, divisible=False)
    assert why is not None
    assert "can't be divided" in why


@pytest.mark.parametrize(
    ("timing", "changes", "part"),
    [
        (Timing(max_calibration_age_s=60.0), {"qpu": QpuSpec("beta")}, "has no calibration plan"),
        (Timing(max_calibration_age_s=6.0), {}, "shorter than alpha's shortest chunk"),
        (Timing(time_limit_s=2000.0), {}, "need 2603 s on alpha even alone, the limit is 2000 s"),
    ],
)
def test_impossible_age_or_limit_is_refused_with_the_numbers(
    timing: Timing, changes: dict[str, Any], part: str
) -> None:
    why = refusal(timing, **changes)
    assert why is not None
    assert part in why


def test_task_is_refused_only_if_none_of_its_qpus_could_run_it() -> None:
    scheduler = Scheduler()
    scheduler.handle(QpuRegistered(replace(ALPHA, shot_rate_hz=0.5)), 0)
    timing = Timing(on_recalibration=OnRecalibration.FAIL)
    long = task_spec(1, timing=timing, shots=2000, qpus=("alpha", "beta"))
    why = scheduler.timing_refusal(long)
    assert why is not None
    assert "alpha is calibrated every 3600 s" in why
    assert scheduler.timing_refusal(replace(long, shots=100)) is None
    scheduler.handle(QpuRegistered(QpuSpec("beta")), 0)
    assert scheduler.timing_refusal(long) is None
