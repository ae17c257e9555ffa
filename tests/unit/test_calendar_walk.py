"""When work is done around windows and calibrations, one after the other."""

from __future__ import annotations

import pytest

from qpu_executor.manager.service.calendar_walk import end_of_work
from qpu_executor.model.states import QpuState, WindowKind
from qpu_executor.model.timing import CalibrationPlan, Window, after, seconds_between
from qpu_executor.scheduling.calibration import Calibration
from qpu_executor.scheduling.explain import QpuView

NOW = 1_800_000_000_000_000
HOURLY = CalibrationPlan(period_s=3600.0, length_s=600.0)


def window(starts_s: float, ends_s: float) -> Window:
    name = f"{starts_s:g}"
    return Window(name, WindowKind.MAINTENANCE, after(NOW, starts_s), after(NOW, ends_s))


def done_s(
    work_s: float,
    *windows: Window,
    plan: CalibrationPlan | None = None,
    calibration: Calibration | None = None,
    since_s: float = 0.0,
) -> float:
    """Seconds from now to the end of some work."""
    view = QpuView(
        "alpha",
        QpuState.UP,
        "",
        1,
        (),
        0,
        5.0,
        calibration=calibration or Calibration(),
        windows=windows,
    )
    return seconds_between(NOW, end_of_work(work_s, view, plan, NOW, after(NOW, since_s)))


def test_empty_calendar_delays_nothing() -> None:
    assert done_s(100.0) == 100.0
    assert done_s(0.0) == 0.0


def test_every_window_that_the_work_reaches_delays_it() -> None:
    windows = (window(50, 150), window(200, 500))
    assert done_s(40.0, *windows) == 40.0
    assert done_s(60.0, *windows) == 160.0
    assert done_s(101.0, *windows) == 501.0, "delayed by the first one, it reaches the second"


def test_windows_that_overlap_count_once() -> None:
    assert done_s(60.0, window(50, 150), window(100, 200)) == 210.0


def test_window_that_is_on_comes_first() -> None:
    assert done_s(10.0, window(-100, 30)) == 40.0


@pytest.mark.parametrize(
    ("work_s", "expected"), [(500.0, 500.0), (2000.0, 2600.0), (5000.0, 6200.0)]
)
def test_calibrations_come_again_and_again(work_s: float, expected: float) -> None:
    """Due in 1000 s, for 600 s, and from then on every hour."""
    due = Calibration(due_at=after(NOW, 1000.0))
    assert done_s(work_s, plan=HOURLY, calibration=due) == expected


def test_calibration_that_is_due_or_runs_comes_first() -> None:
    assert done_s(10.0, plan=HOURLY, calibration=Calibration(due_at=after(NOW, -5.0))) == 610.0
    assert done_s(10.0, plan=HOURLY, calibration=Calibration(running=True)) == 610.0


def test_work_that_begins_later_meets_only_what_comes_then() -> None:
    due = Calibration(due_at=after(NOW, 1000.0))
    assert done_s(10.0, plan=HOURLY, calibration=due, since_s=1700.0) == 1710.0
    assert done_s(10.0, plan=HOURLY, calibration=due, since_s=1200.0) == 1610.0
    assert done_s(3500.0, plan=HOURLY, calibration=due, since_s=1700.0) == 5200.0
    assert done_s(3501.0, plan=HOURLY, calibration=due, since_s=1700.0) == 5801.0


def test_overdue_calibration_isnt_waited_for() -> None:
    overdue = Calibration(due_at=after(NOW, -5000.0), overdue=True)
    assert done_s(10.0, plan=HOURLY, calibration=overdue) == 10.0


def test_work_of_years_has_an_end() -> None:
    due = Calibration(due_at=NOW)
    often = CalibrationPlan(period_s=1.0, length_s=1.0)
    assert done_s(1e9, plan=often, calibration=due) > 1e9
