"""Time in the core: calibrations, windows, limits, dependencies, and what follows from them."""

from __future__ import annotations

from typing import Any

import pytest

from qpu_executor.model.events import (
    CalibrationDue,
    CalibrationEnded,
    CalibrationReported,
    CalibrationStarted,
    ChunkFinished,
    ChunkRefused,
    ChunkStopped,
    ClassesChanged,
    QpuDrained,
    QpuRegistered,
    QpuReported,
    QpuResumed,
    TaskCancelAsked,
    TaskStopAsked,
    TaskSubmitted,
    WindowsChanged,
    WokenUp,
)
from qpu_executor.model.states import (
    CalibrationStarter,
    ChunkState,
    DependencyKind,
    OnRecalibration,
    QpuState,
    TaskState,
    WaitReason,
    WindowKind,
)
from qpu_executor.model.timing import (
    MICROSECONDS,
    CalibrationPlan,
    Dependency,
    DriftBound,
    Timing,
    Window,
)
from qpu_executor.model.values import ChunkId, JobClass, QpuSpec
from qpu_executor.scheduling.commands import (
    Command,
    DiscardShots,
    SaveChunk,
    SaveTask,
    StartCalibration,
    StartChunk,
    StopChunk,
)
from qpu_executor.scheduling.explain import Waiting
from qpu_executor.scheduling.scheduler import Scheduler
from qpu_executor.testing.core_driver import CoreDriver, task_spec

HOUR = 3600


def a_site(**qpu: Any) -> CoreDriver:
    """QPU "alpha": 5 shots a second, 10 s chunks of 50 shots (planned: 12 s), at 0 s."""
    driver = CoreDriver(step=0)
    spec = QpuSpec("alpha", **{"shot_rate_hz": 5.0, **qpu})
    driver.post(
        ClassesChanged((JobClass("production", priority=100), JobClass("development", 10))),
        QpuRegistered(spec),
    )
    return driver


def at(driver: CoreDriver, seconds: float) -> CoreDriver:
    """The driver, with its clock set."""
    driver.now = round(seconds * MICROSECONDS)
    return driver


def submit(driver: CoreDriver, task_id: int, *, timing: Timing | None = None, **spec: Any) -> Any:
    return driver.post(TaskSubmitted(task_spec(task_id, timing=timing, **spec)))


def finish(driver: CoreDriver, task_id: int, n: int) -> list[Command]:
    """The chunk took as long as expected; the clock isn't moved."""
    shots = driver.out[ChunkId(task_id, n)].shots
    return driver.post(ChunkFinished(ChunkId(task_id, n), shots, shots / 5.0))


def starts(commands: list[Command]) -> list[tuple[int, int]]:
    """(task, shots) of the chunks that were started."""
    return [(c.chunk.task_id, c.shots) for c in commands if isinstance(c, StartChunk)]


def moves(commands: list[Command]) -> list[tuple[int, TaskState]]:
    return [(c.task_id, c.state) for c in commands if isinstance(c, SaveTask)]


def waiting(driver: CoreDriver, task_id: int) -> Waiting:
    found = driver.scheduler.waiting(task_id)
    assert found is not None
    return found


def wakeup_s(driver: CoreDriver) -> float | None:
    instant = driver.scheduler.next_wakeup()
    return None if instant is None else instant / MICROSECONDS


def maintenance(start_s: float, end_s: float) -> Window:
    first, last = round(start_s * MICROSECONDS), round(end_s * MICROSECONDS)
    return Window("cryostat", WindowKind.MAINTENANCE, first, last)


def reservation(start_s: float, end_s: float, **whom: str) -> Window:
    first, last = round(start_s * MICROSECONDS), round(end_s * MICROSECONDS)
    return Window("course", WindowKind.RESERVATION, first, last, **whom)


HOURLY = CalibrationPlan(period_s=HOUR, length_s=600.0)


# -- boundaries and chunks -------------------------------------------------------------


def test_chunk_before_a_window_has_the_shots_that_fit_with_the_safety_factor() -> None:
    site = a_site()
    site.post(WindowsChanged("alpha", (maintenance(6.0, 60.0),)))
    # 6 s / (0.2 s a shot x 1.2)
    assert starts(submit(site, 1)) == [(1, 25)]


def test_set_up_of_the_qpu_counts_against_the_time_before_a_window() -> None:
    site = a_site(setup_s=1.0, switch_s=2.0, layout_s=0.6)
    site.post(WindowsChanged("alpha", (maintenance(6.0, 60.0),)))
    assert starts(submit(site, 1, layout="triangle")) == [(1, 10)]


def test_own_hint_of_a_slower_program_counts_against_the_time_before_a_window() -> None:
    site = a_site()
    site.post(WindowsChanged("alpha", (maintenance(6.0, 60.0),)))
    assert starts(submit(site, 1, shot_s=1.0)) == [(1, 5)]


def test_unknown_rate_is_planned_as_four_seconds_a_shot_before_a_window() -> None:
    site = a_site(shot_rate_hz=None)
    site.post(WindowsChanged("alpha", (maintenance(48.0, 60.0),)))
    assert starts(submit(site, 1)) == [(1, 10)]


def test_chunk_below_the_minimum_of_the_adapter_is_not_started_before_a_window() -> None:
    site = a_site(min_chunk_shots=26)
    site.post(WindowsChanged("alpha", (maintenance(6.0, 60.0),)))
    assert starts(submit(site, 1)) == []
    assert waiting(site, 1).reason is WaitReason.MAINTENANCE


def test_task_that_waits_for_the_end_of_maintenance_names_the_instant_and_starts_then() -> None:
    site = a_site()
    site.post(WindowsChanged("alpha", (maintenance(0.0, 60.0),)))
    assert starts(submit(site, 1)) == []
    assert waiting(site, 1) == Waiting(
        WaitReason.MAINTENANCE, 0, "alpha: window 'cryostat'", 60 * MICROSECONDS
    )
    assert wakeup_s(site) == 60.0
    assert starts(at(site, 60.0).post(WokenUp())) == [(1, 50)]


def test_task_too_long_to_fit_waits_while_a_shorter_one_is_backfilled() -> None:
    site = a_site()
    site.post(WindowsChanged("alpha", (maintenance(6.0, 60.0),)))
    submit(site, 1, divisible=False, shots=100, job_class="production")
    assert starts(submit(site, 2, divisible=False, shots=20)) == [(2, 20)]
    assert waiting(site, 1).reason is WaitReason.MAINTENANCE


def test_windows_taken_back_let_what_waits_start_at_once() -> None:
    site = a_site()
    site.post(WindowsChanged("alpha", (maintenance(0.0, 60.0),)))
    submit(site, 1)
    assert starts(site.post(WindowsChanged("alpha", ()))) == [(1, 50)]


def test_window_announced_over_a_running_chunk_stops_it_at_its_start_and_keeps_the_shots() -> None:
    site = a_site()
    submit(site, 1)
    assert site.post(WindowsChanged("alpha", (maintenance(5.0, 60.0),))) == []
    assert wakeup_s(site) == 5.0
    note = "overran: Maintenance (window 'cryostat')"
    assert at(site, 5.0).post(WokenUp()) == [StopChunk(5, ChunkId(1, 0), "alpha", note)]
    assert site.post(ChunkStopped(ChunkId(1, 0), 20, 4.0)) == [
        SaveChunk(6, ChunkId(1, 0), ChunkState.STOPPED, 20, note, charged_s=4.0),
        SaveTask(6, 1, TaskState.QUEUED, 20),
    ]
    assert starts(at(site, 60.0).post(WokenUp())) == [(1, 50)]


# -- reservations ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "whom", [{"account": "physics"}, {"session_id": "s-1"}, {"job_class": "production"}]
)
def test_reservation_is_no_boundary_for_those_it_is_for(whom: dict[str, str]) -> None:
    site = a_site()
    site.post(WindowsChanged("alpha", (reservation(6.0, 60.0, **whom),)))
    mine: dict[str, Any] = {"account": "physics", "session_id": "s-1", "job_class": "production"}
    assert starts(submit(site, 1, **mine)) == [(1, 50)]


def test_reservation_keeps_others_out_and_lets_them_run_before_it_if_they_fit() -> None:
    site = a_site()
    site.post(WindowsChanged("alpha", (reservation(6.0, 60.0, account="chemistry"),)))
    assert starts(submit(site, 1)) == [(1, 25)]
    finish(at(site, 5.9), 1, 0)
    assert waiting(site, 1).reason is WaitReason.RESERVATION
    assert waiting(site, 1).until == 60 * MICROSECONDS
    assert starts(submit(at(site, 6.0), 2, account="chemistry")) == [(2, 50)]


# -- begin times, dependencies, drain ----------------------------------------------------


def test_begin_time_keeps_a_task_out_of_the_order_until_it_has_come() -> None:
    site = a_site()
    begin_at = 30 * MICROSECONDS
    assert moves(submit(site, 1, timing=Timing(begin_at=begin_at))) == [(1, TaskState.QUEUED)]
    assert waiting(site, 1) == Waiting(WaitReason.BEGIN_TIME, None, "", begin_at)
    assert wakeup_s(site) == 30.0
    assert starts(at(site, 30.0).post(WokenUp())) == [(1, 50)]


def test_begin_time_that_has_come_unnoticed_counts_with_any_event() -> None:
    site = a_site()
    submit(site, 1, timing=Timing(begin_at=30 * MICROSECONDS))
    assert starts(at(site, 31.0).post(QpuReported("alpha", QpuState.UP))) == [(1, 50)]


def test_dependency_is_met_by_the_end_of_the_other_task() -> None:
    site = a_site()
    submit(site, 1, shots=50)
    submit(site, 2, timing=Timing(depends_on=(Dependency(1),)), job_class="production")
    assert waiting(site, 2) == Waiting(WaitReason.DEPENDENCY, None, "it waits for task 1")
    assert starts(finish(site, 1, 0)) == [(2, 50)]


def test_dependency_on_a_task_that_fails_fails_the_whole_chain() -> None:
    site = a_site()
    submit(site, 1)
    for task_id in (2, 3, 4):
        submit(site, task_id, timing=Timing(depends_on=(Dependency(task_id - 1),)))
    commands = site.post(ChunkRefused(ChunkId(1, 0), "too many atoms"))
    assert moves(commands) == [(n, TaskState.FAILED) for n in (1, 2, 3, 4)]
    assert site.tasks[2].error == "it depends on task 1, which is FAILED"


def test_long_chain_of_dependencies_fails_without_a_deep_stack() -> None:
    site = a_site().scheduler
    site.handle(TaskSubmitted(task_spec(1)), 0)
    for task_id in range(2, 3000):
        timing = Timing(depends_on=(Dependency(task_id - 1),))
        site.handle(TaskSubmitted(task_spec(task_id, timing=timing)), 0)
    commands = site.handle(ChunkRefused(ChunkId(1, 0), "no"), 0)
    assert len(moves(commands)) == 2999


def test_dependency_after_any_end_is_met_by_a_cancelled_task() -> None:
    site = a_site()
    submit(site, 1, held=True)
    after_any = Dependency(1, DependencyKind.AFTER_ANY)
    submit(site, 2, timing=Timing(depends_on=(after_any,)))
    assert starts(site.post(TaskCancelAsked(1))) == [(2, 50)]


def test_drained_qpu_takes_nothing_new_whatever_it_reports_until_it_is_resumed() -> None:
    site = a_site()
    submit(site, 1, shots=50)
    site.post(QpuDrained("alpha", "new laser"))
    submit(site, 2)
    assert starts(finish(site, 1, 0)) == []
    assert starts(site.post(QpuReported("alpha", QpuState.UP))) == []
    assert waiting(site, 2) == Waiting(WaitReason.QPU_DRAINING, 0, "alpha: new laser")
    assert starts(site.post(QpuResumed("alpha"))) == [(2, 50)]


# -- calibration -----------------------------------------------------------------------------


def test_calibration_by_the_manager_is_planned_for_asked_for_and_followed_by_a_new_epoch() -> None:
    site = a_site(calibration=HOURLY)
    at(site, HOUR - 6.0)
    assert starts(submit(site, 1)) == [(1, 25)]
    assert starts(finish(at(site, HOUR - 1), 1, 0)) == [(1, 4)]
    finish(at(site, HOUR - 0.2), 1, 1)
    assert waiting(site, 1).reason is WaitReason.CALIBRATION
    assert wakeup_s(site) == HOUR
    assert at(site, HOUR).post(WokenUp()) == [
        StartCalibration(6, "alpha", "the plan's period is over")
    ]
    assert site.post(WokenUp()) == []
    site.post(CalibrationStarted("alpha"))
    commands = at(site, HOUR + 600).post(CalibrationEnded("alpha", "epoch-2", quality=0.9))
    chunk = StartChunk(9, ChunkId(1, 2), "alpha", 29, 50, "epoch-2")
    assert commands[-1] == chunk
    view = site.scheduler.qpu("alpha")
    assert view is not None
    assert view.calibration.due_at == (2 * HOUR + 600) * MICROSECONDS


def test_calibration_that_somebody_wants_now_waits_for_the_running_chunk() -> None:
    site = a_site()
    submit(site, 1)
    assert site.post(CalibrationDue("alpha", "fidelity looks odd")) == []
    assert finish(site, 1, 0)[1:] == [
        SaveTask(5, 1, TaskState.QUEUED, 50),
        StartCalibration(5, "alpha", "fidelity looks odd"),
    ]


def test_calibration_that_did_not_work_is_tried_again_after_the_grace() -> None:
    site = a_site(calibration=CalibrationPlan(period_s=HOUR, grace_s=60.0))
    at(site, HOUR).post(WokenUp())
    site.post(CalibrationEnded("alpha", worked=False))
    assert starts(submit(site, 1)) == [(1, 50)]
    finish(at(site, HOUR + 59.9), 1, 0)
    assert at(site, HOUR + 60).post(WokenUp()) == [
        StartCalibration(7, "alpha", "the last one didn't work")
    ]


@pytest.mark.parametrize(
    ("starter", "epoch"), [(CalibrationStarter.OPERATOR, "e1"), (CalibrationStarter.DEVICE, None)]
)
def test_calibration_that_nobody_reports_is_overdue_after_the_grace(
    starter: CalibrationStarter, epoch: str | None
) -> None:
    site = a_site(calibration=CalibrationPlan(period_s=HOUR, starter=starter, grace_s=60.0))
    site.post(CalibrationEnded("alpha", "e1"))
    assert at(site, HOUR).post(WokenUp()) == []
    assert starts(submit(site, 1)) == []
    assert waiting(site, 1).until == (HOUR + 60) * MICROSECONDS
    commands = at(site, HOUR + 60).post(WokenUp())
    assert commands[-1] == StartChunk(6, ChunkId(1, 0), "alpha", 0, 50, epoch)
    view = site.scheduler.qpu("alpha")
    assert view is not None
    assert view.calibration.overdue


def test_metric_out_of_its_bound_asks_for_a_calibration() -> None:
    site = a_site(calibration=CalibrationPlan(drift=DriftBound("fidelity", at_least=0.97)))
    assert site.post(CalibrationReported("alpha", "fidelity", 0.98)) == []
    assert site.post(CalibrationReported("alpha", "fidelity", 0.96)) == [
        StartCalibration(4, "alpha", "fidelity is 0.96")
    ]


def test_calibration_that_starts_unforeseen_stops_the_chunk_and_keeps_its_shots() -> None:
    site = a_site()
    submit(site, 1)
    assert site.post(CalibrationStarted("alpha")) == [
        StopChunk(4, ChunkId(1, 0), "alpha", "a calibration has started")
    ]
    assert moves(site.post(ChunkStopped(ChunkId(1, 0), 10, 2.0))) == [(1, TaskState.QUEUED)]


def test_chunk_that_overruns_a_due_calibration_is_only_noted_where_a_stop_loses_shots() -> None:
    site = a_site(calibration=HOURLY, partial_results=False)
    submit(at(site, HOUR - 6.0), 1)
    assert at(site, HOUR).post(WokenUp()) == []
    saved = finish(at(site, HOUR + 1), 1, 0)[0]
    assert isinstance(saved, SaveChunk)
    assert saved.reason.startswith("overran: Calibration")


def test_age_and_quality_that_a_task_wants_decide_when_it_runs() -> None:
    site = a_site()
    submit(site, 1, timing=Timing(max_calibration_age_s=6.0))
    submit(site, 2, timing=Timing(min_quality=0.8))
    assert "unknown" in waiting(site, 1).detail
    assert "unknown" in waiting(site, 2).detail
    assert starts(site.post(CalibrationEnded("alpha", "e1", quality=0.7))) == [(1, 25)]
    assert waiting(site, 2).detail == "alpha: the QPU's quality is 0.7, it wants 0.8"
    finish(at(site, 6.0), 1, 0)
    assert waiting(site, 1).reason is WaitReason.CALIBRATION
    assert starts(site.post(CalibrationReported("alpha", "quality", 0.85))) == [(2, 50)]


def test_tasks_with_other_wishes_do_not_wait_behind_a_task_that_cannot_run() -> None:
    site = a_site()
    submit(site, 1, timing=Timing(min_quality=0.8), job_class="production")
    assert starts(submit(site, 2)) == [(2, 50)]


# -- epochs ------------------------------------------------------------------------------------


def one_epoch_site(what: OnRecalibration) -> CoreDriver:
    """A task of 100 shots has 50 of epoch e1; then the QPU is calibrated unforeseen."""
    site = a_site()
    site.post(CalibrationEnded("alpha", "e1"))
    submit(site, 1, timing=Timing(on_recalibration=what))
    site.post(CalibrationDue("alpha"))
    finish(site, 1, 0)
    return site


def test_on_recalibration_continue_goes_on() -> None:
    site = one_epoch_site(OnRecalibration.CONTINUE)
    assert starts(site.post(CalibrationEnded("alpha", "e2"))) == [(1, 50)]
    assert moves(finish(site, 1, 1)) == [(1, TaskState.COMPLETED)]


def test_on_recalibration_restart_discards_the_shots_of_the_old_epoch() -> None:
    site = one_epoch_site(OnRecalibration.RESTART)
    commands = site.post(CalibrationEnded("alpha", "e2"))
    assert commands[0] == DiscardShots(7, 1, 50, "alpha was recalibrated")
    assert commands[-1] == StartChunk(7, ChunkId(1, 1), "alpha", 0, 50, "e2")


def test_on_recalibration_fail_fails_with_the_numbers() -> None:
    site = one_epoch_site(OnRecalibration.FAIL)
    assert moves(site.post(CalibrationEnded("alpha", "e2"))) == [(1, TaskState.FAILED)]
    expected = "alpha was recalibrated after 50 of 100 shots (on_recalibration: fail)"
    assert site.tasks[1].error == expected


def test_on_recalibration_restart_is_not_started_in_an_epoch_that_it_cannot_end_in() -> None:
    site = a_site(calibration=HOURLY)
    timing = Timing(on_recalibration=OnRecalibration.RESTART)
    at(site, HOUR - 20.0)
    assert starts(submit(site, 1, timing=timing)) == []
    expected = "alpha: it needs 24 s of one epoch, 20 s are left of this one"
    assert waiting(site, 1).detail == expected
    assert starts(submit(site, 2)) == [(2, 50)]


def test_on_recalibration_restart_stays_with_the_qpu_of_its_epoch() -> None:
    site = a_site()
    site.post(QpuRegistered(QpuSpec("beta", shot_rate_hz=5.0)))
    timing = Timing(on_recalibration=OnRecalibration.RESTART)
    submit(site, 1, timing=timing, qpus=("alpha", "beta"))
    site.post(QpuReported("alpha", QpuState.DOWN))
    assert starts(finish(site, 1, 0)) == []
    assert waiting(site, 1).detail == "beta: its shots so far are of alpha's epoch"
    assert starts(site.post(QpuReported("alpha", QpuState.UP))) == [(1, 50)]


# -- limits and stops ---------------------------------------------------------------------------


def test_time_limit_counts_from_the_first_chunk_stops_and_fails_with_the_shots_kept() -> None:
    site = a_site()
    submit(at(site, 100.0), 1, timing=Timing(time_limit_s=15.0))
    finish(at(site, 110.0), 1, 0)
    assert wakeup_s(site) == 115.0
    assert at(site, 115.0).post(WokenUp()) == [
        StopChunk(5, ChunkId(1, 1), "alpha", "the task's time limit")
    ]
    commands = site.post(ChunkStopped(ChunkId(1, 1), 20, 4.0))
    expected = "TimeLimit: 15 s since its first chunk are over, 50 of 100 shots were counted before"
    assert commands[1] == SaveTask(6, 1, TaskState.FAILED, 70, expected)


def test_time_limit_of_a_task_that_gave_way_ends_it_while_it_waits() -> None:
    site = a_site()
    submit(site, 1, timing=Timing(time_limit_s=15.0))
    submit(site, 2, job_class="production", shots=1000)
    finish(at(site, 10.0), 1, 0)
    assert moves(at(site, 15.0).post(WokenUp())) == [(1, TaskState.FAILED)]


def test_time_limit_that_the_last_shots_reach_completes_the_task() -> None:
    site = a_site()
    submit(site, 1, shots=50, timing=Timing(time_limit_s=9.0))
    at(site, 9.0).post(WokenUp())
    assert moves(finish(at(site, 9.1), 1, 0)) == [(1, TaskState.COMPLETED)]


def test_session_that_ends_bounds_its_chunks_and_stops_what_overran() -> None:
    site = a_site()
    timing = Timing(session_ends_at=6 * MICROSECONDS)
    assert starts(submit(site, 1, timing=timing)) == [(1, 25)]
    stopped = at(site, 6.0).post(WokenUp())
    assert [type(command) for command in stopped] == [StopChunk]
    ended = site.post(ChunkStopped(ChunkId(1, 0), 20, 6.0))
    assert moves(ended) == [(1, TaskState.FAILED)]
    error = site.tasks[1].error
    assert error is not None
    assert "SessionEnding" in error
    assert site.tasks[1].counted == 20


def test_task_that_waits_when_its_sessions_allocation_ends_fails_then() -> None:
    site = a_site()
    submit(site, 1)
    timing = Timing(session_ends_at=9 * MICROSECONDS)
    submit(site, 2, timing=timing)
    submit(site, 3, timing=timing, held=True)
    submit(site, 4)
    assert moves(at(site, 8.9).post(WokenUp())) == []
    assert moves(at(site, 9.0).post(WokenUp())) == [
        (2, TaskState.FAILED),
        (3, TaskState.FAILED),
    ]


def test_task_whose_session_ended_while_the_manager_was_down_fails_at_once() -> None:
    site = restored(Timing(session_ends_at=0))
    assert moves(site.scheduler.handle(WokenUp(), site.now)) == [(1, TaskState.FAILED)]


def test_last_chunk_that_comes_at_the_sessions_end_completes_its_task() -> None:
    site = a_site()
    timing = Timing(session_ends_at=20 * MICROSECONDS)
    ((_, shots),) = starts(submit(site, 1, timing=timing, shots=20))
    commands = at(site, 20.0).post(ChunkFinished(ChunkId(1, 0), shots, 20.0))
    assert moves(commands) == [(1, TaskState.COMPLETED)]


def test_operator_stops_a_task_that_waits_again_with_the_shots_it_got() -> None:
    site = a_site()
    submit(site, 1)
    submit(site, 2)
    assert site.post(TaskStopAsked(1, "beam is off")) == [
        StopChunk(5, ChunkId(1, 0), "alpha", "beam is off")
    ]
    commands = site.post(ChunkStopped(ChunkId(1, 0), 10, 2.0))
    assert commands[0] == SaveChunk(
        6, ChunkId(1, 0), ChunkState.STOPPED, 10, "beam is off", charged_s=2.0
    )
    assert moves(commands)[0] == (1, TaskState.QUEUED)


# -- restarts of the manager ----------------------------------------------------------------------


def restored(timing: Timing, *, epoch: tuple[str, str | None] | None = None) -> CoreDriver:
    """Task 1 with 50 of its 100 shots is taken back on a QPU whose epoch is e1."""
    driver = a_site()
    driver.post(CalibrationEnded("alpha", "e1"))
    scheduler: Scheduler = driver.scheduler
    scheduler.restore(
        task_spec(1, timing=timing),
        TaskState.QUEUED,
        shots_done=50,
        faults=0,
        chunk=None,
        next_chunk_n=1,
        started_at=0,
        epoch=epoch,
    )
    return driver


def test_restored_time_limit_goes_on_counting() -> None:
    driver = restored(Timing(time_limit_s=15.0))
    assert moves(driver.scheduler.handle(WokenUp(), 15 * MICROSECONDS))[-1] == (
        1,
        TaskState.FAILED,
    )


@pytest.mark.parametrize(("epoch_id", "discarded"), [("e1", 0), ("e0", 1), (None, 1)])
def test_restored_shots_of_another_or_unknown_epoch_are_discarded(
    epoch_id: str | None, discarded: int
) -> None:
    timing = Timing(on_recalibration=OnRecalibration.RESTART)
    driver = restored(timing, epoch=("alpha", epoch_id))
    commands = driver.scheduler.handle(WokenUp(), 0)
    assert sum(isinstance(one, DiscardShots) for one in commands) == discarded
    assert starts(commands) == [(1, 50)]
