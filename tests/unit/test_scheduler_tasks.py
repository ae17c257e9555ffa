"""The life of tasks in the core: events in, expected commands out."""

from __future__ import annotations

import pytest

from qpu_executor.errors import InternalError
from qpu_executor.model.events import (
    ChunkFinished,
    ChunkLost,
    ChunkRefused,
    ChunkStarted,
    ChunkStopped,
    ChunkUnanswered,
    ClassesChanged,
    QpuRegistered,
    QpuReported,
    TaskCancelAsked,
    TaskHoldAsked,
    TaskRebound,
    TaskReleaseAsked,
    TaskSubmitted,
    WokenUp,
)
from qpu_executor.model.states import ChunkState, QpuState, TaskState
from qpu_executor.model.timing import Timing
from qpu_executor.model.values import ChunkId, JobClass, QpuSpec
from qpu_executor.scheduling.commands import Command, SaveChunk, SaveTask, StartChunk, StopChunk
from qpu_executor.scheduling.scheduler import Scheduler
from qpu_executor.testing.core_driver import CoreDriver, task_spec

CLASSES = (JobClass("production", priority=100), JobClass("development", priority=10))


@pytest.fixture
def site() -> CoreDriver:
    """One QPU, "alpha", with one slot and 5 shots a second: 50 shots in a chunk of 10 s."""
    driver = CoreDriver()
    driver.post(ClassesChanged(CLASSES), QpuRegistered(QpuSpec("alpha", shot_rate_hz=5.0)))
    return driver


def finished(task_id: int, n: int, shots: int) -> ChunkFinished:
    """A chunk that ran at 5 shots a second."""
    return ChunkFinished(ChunkId(task_id, n), shots, shots / 5.0)


def starts(commands: list[Command]) -> list[tuple[int, int, str, int, int]]:
    """(task, n, QPU, first shot, shots) of the chunks that were started."""
    return [(*c.chunk, c.qpu, c.first_shot, c.shots) for c in commands if isinstance(c, StartChunk)]


def moves(commands: list[Command]) -> list[tuple[int, TaskState, int]]:
    """(task, state, shots done) of the tasks that were saved."""
    return [(c.task_id, c.state, c.shots_done) for c in commands if isinstance(c, SaveTask)]


def test_submit_on_a_free_qpu_starts_a_chunk_of_the_class_length(site: CoreDriver) -> None:
    assert site.post(TaskSubmitted(task_spec(1))) == [
        SaveTask(3, 1, TaskState.QUEUED, 0),
        SaveTask(3, 1, TaskState.RUNNING, 0),
        StartChunk(3, ChunkId(1, 0), "alpha", first_shot=0, shots=50),
    ]


def test_submit_behind_a_running_task_waits(site: CoreDriver) -> None:
    site.post(TaskSubmitted(task_spec(1)))
    assert site.post(TaskSubmitted(task_spec(2))) == [SaveTask(4, 2, TaskState.QUEUED, 0)]


def test_submit_as_held_waits_for_its_release(site: CoreDriver) -> None:
    assert moves(site.post(TaskSubmitted(task_spec(1, held=True)))) == [(1, TaskState.HELD, 0)]
    assert starts(site.post(TaskReleaseAsked(1))) == [(1, 0, "alpha", 0, 50)]


def test_chunk_started_is_saved_once(site: CoreDriver) -> None:
    site.post(TaskSubmitted(task_spec(1)))
    chunk = ChunkId(1, 0)
    assert site.post(ChunkStarted(chunk)) == [SaveChunk(4, chunk, ChunkState.RUNNING)]
    assert site.post(ChunkStarted(chunk)) == []


def test_chunk_finished_of_a_task_alone_goes_on_with_the_next_shots(site: CoreDriver) -> None:
    site.post(TaskSubmitted(task_spec(1)))
    assert site.post(finished(1, 0, 50)) == [
        SaveChunk(4, ChunkId(1, 0), ChunkState.FINISHED, shots_counted=50, charged_s=10.0),
        SaveTask(4, 1, TaskState.RUNNING, 50),
        StartChunk(4, ChunkId(1, 1), "alpha", first_shot=50, shots=50),
    ]


def test_last_chunk_finished_completes_the_task_and_starts_the_next(site: CoreDriver) -> None:
    site.post(TaskSubmitted(task_spec(1, shots=50)), TaskSubmitted(task_spec(2)))
    assert site.post(finished(1, 0, 50)) == [
        SaveChunk(5, ChunkId(1, 0), ChunkState.FINISHED, shots_counted=50, charged_s=10.0),
        SaveTask(5, 1, TaskState.COMPLETED, 50),
        SaveTask(5, 2, TaskState.RUNNING, 0),
        StartChunk(5, ChunkId(2, 0), "alpha", first_shot=0, shots=50),
    ]


def test_surplus_shots_are_cut_at_the_number_asked(site: CoreDriver) -> None:
    site.post(TaskSubmitted(task_spec(1, shots=50)))
    saved = site.post(finished(1, 0, 70))
    assert saved[0] == SaveChunk(
        4, ChunkId(1, 0), ChunkState.FINISHED, shots_counted=50, charged_s=14.0
    )
    assert moves(saved) == [(1, TaskState.COMPLETED, 50)]


def test_fewer_shots_than_asked_count_and_the_task_goes_on(site: CoreDriver) -> None:
    site.post(TaskSubmitted(task_spec(1)))
    commands = site.post(finished(1, 0, 20))
    assert moves(commands) == [(1, TaskState.RUNNING, 20)]
    assert starts(commands) == [(1, 1, "alpha", 20, 50)]


def test_indivisible_task_goes_in_one_chunk(site: CoreDriver) -> None:
    commands = site.post(TaskSubmitted(task_spec(1, shots=1000, divisible=False)))
    assert starts(commands) == [(1, 0, "alpha", 0, 1000)]


def test_measured_rate_sets_the_length_of_the_next_chunk(site: CoreDriver) -> None:
    site.post(TaskSubmitted(task_spec(1, shots=1000)))
    commands = site.post(ChunkFinished(ChunkId(1, 0), 50, device_s=50.0))
    measured = site.scheduler.qpu("alpha")
    assert measured is not None
    assert measured.rate_hz == pytest.approx(1.0)
    assert starts(commands) == [(1, 1, "alpha", 50, 10)]


# -- ordering and giving way ---------------------------------------------------------


def test_higher_class_submitted_later_takes_the_next_chunk(site: CoreDriver) -> None:
    site.post(TaskSubmitted(task_spec(1)), TaskSubmitted(task_spec(2, job_class="production")))
    commands = site.post(finished(1, 0, 50))
    assert moves(commands) == [(1, TaskState.QUEUED, 50), (2, TaskState.RUNNING, 0)]
    assert starts(commands) == [(2, 0, "alpha", 0, 50)]


def test_task_that_gave_way_goes_on_where_it_was(site: CoreDriver) -> None:
    urgent = task_spec(2, job_class="production", shots=50)
    site.post(TaskSubmitted(task_spec(1)), TaskSubmitted(urgent), finished(1, 0, 50))
    assert starts(site.post(finished(2, 0, 50))) == [(1, 1, "alpha", 50, 50)]
    assert moves(site.post(finished(1, 1, 50))) == [(1, TaskState.COMPLETED, 100)]


def test_order_is_class_then_priority_then_age_then_id(site: CoreDriver) -> None:
    site.post(TaskSubmitted(task_spec(1, shots=1)))
    waiting = [
        task_spec(2, shots=1, submitted_at=30),
        task_spec(3, shots=1, submitted_at=20, owner="bob"),
        task_spec(4, shots=1, submitted_at=20),
        task_spec(5, shots=1, submitted_at=90, priority=3),
        task_spec(6, shots=1, submitted_at=99, job_class="production", priority=-5),
    ]
    site.post(*(TaskSubmitted(task) for task in waiting))
    order = [1]
    while len(order) < 6:
        ((next_id, *_),) = starts(site.post(finished(order[-1], 0, 1)))
        order.append(next_id)
    assert order == [1, 6, 5, 3, 4, 2]


def test_classes_changed_while_tasks_wait_changes_their_order(site: CoreDriver) -> None:
    site.post(TaskSubmitted(task_spec(1, shots=1)))
    site.post(TaskSubmitted(task_spec(2)), TaskSubmitted(task_spec(3, job_class="production")))
    swapped = (JobClass("production", priority=1), JobClass("development", priority=2))
    assert site.post(ClassesChanged(swapped)) == []
    assert starts(site.post(finished(1, 0, 1))) == [(2, 0, "alpha", 0, 50)]


def test_dropped_class_keeps_its_last_definition_for_waiting_tasks(site: CoreDriver) -> None:
    site.post(TaskSubmitted(task_spec(1, shots=1)))
    site.post(TaskSubmitted(task_spec(2)), TaskSubmitted(task_spec(3, job_class="production")))
    site.post(ClassesChanged(CLASSES[1:]))
    assert starts(site.post(finished(1, 0, 1))) == [(3, 0, "alpha", 0, 50)]


# -- hold, release, cancel -----------------------------------------------------------


def test_hold_of_a_waiting_task_lets_the_next_one_go_first(site: CoreDriver) -> None:
    site.post(*(TaskSubmitted(task_spec(i, shots=1)) for i in (1, 2, 3)))
    assert moves(site.post(TaskHoldAsked(2))) == [(2, TaskState.HELD, 0)]
    assert starts(site.post(finished(1, 0, 1))) == [(3, 0, "alpha", 0, 1)]


def test_hold_of_a_running_task_lets_its_chunk_finish(site: CoreDriver) -> None:
    site.post(TaskSubmitted(task_spec(1)))
    assert site.post(TaskHoldAsked(1)) == []
    assert moves(site.post(finished(1, 0, 50))) == [(1, TaskState.HELD, 50)]
    assert starts(site.post(TaskReleaseAsked(1))) == [(1, 1, "alpha", 50, 50)]


def test_release_before_the_chunk_ends_takes_the_hold_back(site: CoreDriver) -> None:
    site.post(TaskSubmitted(task_spec(1)), TaskHoldAsked(1), TaskReleaseAsked(1))
    assert moves(site.post(finished(1, 0, 50))) == [(1, TaskState.RUNNING, 50)]


def test_cancel_of_a_waiting_task_ends_it_at_once(site: CoreDriver) -> None:
    site.post(TaskSubmitted(task_spec(1)), TaskSubmitted(task_spec(2)))
    assert site.post(TaskCancelAsked(2)) == [SaveTask(5, 2, TaskState.CANCELLED, 0)]


def test_cancel_of_a_held_task_ends_it_at_once(site: CoreDriver) -> None:
    site.post(TaskSubmitted(task_spec(1, held=True)))
    assert moves(site.post(TaskCancelAsked(1))) == [(1, TaskState.CANCELLED, 0)]


def test_cancel_of_a_running_task_stops_its_chunk_and_is_confirmed_by_its_end(
    site: CoreDriver,
) -> None:
    site.post(TaskSubmitted(task_spec(1)))
    chunk = ChunkId(1, 0)
    assert site.post(TaskCancelAsked(1, "wrong register")) == [
        StopChunk(4, chunk, "alpha", "wrong register")
    ]
    assert site.post(TaskCancelAsked(1)) == []
    assert site.post(ChunkStopped(chunk, 12, 2.4)) == [
        SaveChunk(6, chunk, ChunkState.STOPPED, shots_counted=12, charged_s=2.4),
        SaveTask(6, 1, TaskState.CANCELLED, 12),
    ]


@pytest.mark.parametrize(
    "end",
    [
        finished(1, 0, 50),
        ChunkLost(ChunkId(1, 0), "power", fault=True),
        ChunkRefused(ChunkId(1, 0), "too long"),
    ],
)
def test_cancelled_task_whose_chunk_ends_in_any_way_is_cancelled(
    site: CoreDriver, end: ChunkFinished | ChunkLost | ChunkRefused
) -> None:
    site.post(TaskSubmitted(task_spec(1)), TaskCancelAsked(1))
    assert moves(site.post(end))[-1][:2] == (1, TaskState.CANCELLED)


def test_stop_that_nobody_asked_for_keeps_the_shots_and_goes_on(site: CoreDriver) -> None:
    site.post(TaskSubmitted(task_spec(1)))
    commands = site.post(ChunkStopped(ChunkId(1, 0), 12, 2.4))
    assert moves(commands) == [(1, TaskState.RUNNING, 12)]
    assert starts(commands) == [(1, 1, "alpha", 12, 50)]


@pytest.mark.parametrize("ask", [TaskCancelAsked, TaskHoldAsked, TaskReleaseAsked])
def test_ask_about_an_unknown_task_gives_no_command(
    site: CoreDriver, ask: type[TaskCancelAsked | TaskHoldAsked | TaskReleaseAsked]
) -> None:
    assert site.post(ask(99)) == []


# -- faults, losses, silence ---------------------------------------------------------


def test_lost_chunk_is_taken_again_as_a_new_chunk(site: CoreDriver) -> None:
    site.post(TaskSubmitted(task_spec(1)))
    assert site.post(ChunkLost(ChunkId(1, 0), "laser unlocked", fault=True)) == [
        SaveChunk(4, ChunkId(1, 0), ChunkState.LOST, reason="laser unlocked"),
        SaveTask(4, 1, TaskState.RUNNING, 0),
        StartChunk(4, ChunkId(1, 1), "alpha", first_shot=0, shots=50),
    ]


def test_three_faults_in_a_row_fail_the_task_not_permanently(site: CoreDriver) -> None:
    site.post(TaskSubmitted(task_spec(1)))
    for n in range(2):
        site.post(ChunkLost(ChunkId(1, n), "laser unlocked", fault=True))
    failed = site.post(ChunkLost(ChunkId(1, 2), "laser unlocked", fault=True))[-1]
    assert failed == SaveTask(
        6,
        1,
        TaskState.FAILED,
        0,
        error="3 device faults in a row on alpha, the last one: laser unlocked",
        permanent=False,
    )


def test_fault_after_shots_that_counted_starts_the_count_of_faults_anew(site: CoreDriver) -> None:
    site.post(TaskSubmitted(task_spec(1)))
    site.post(*(ChunkLost(ChunkId(1, n), "laser", fault=True) for n in range(2)))
    site.post(finished(1, 2, 50))
    commands = site.post(*(ChunkLost(ChunkId(1, n), "laser", fault=True) for n in (3, 4)))
    assert moves(commands)[-1] == (1, TaskState.RUNNING, 50)


def test_losses_that_are_no_fault_never_fail_a_task(site: CoreDriver) -> None:
    site.post(TaskSubmitted(task_spec(1)))
    losses = (ChunkLost(ChunkId(1, n), "never ran", fault=False) for n in range(20))
    assert moves(site.post(*losses))[-1] == (1, TaskState.RUNNING, 0)


def test_chunk_without_a_shot_is_a_fault(site: CoreDriver) -> None:
    site.post(TaskSubmitted(task_spec(1)))
    commands = site.post(*(finished(1, n, 0) for n in range(3)))
    assert isinstance(commands[0], SaveChunk)
    assert commands[0].state is ChunkState.LOST
    assert moves(commands)[-1] == (1, TaskState.FAILED, 0)


def test_refused_chunk_fails_the_task_permanently_and_frees_the_qpu(site: CoreDriver) -> None:
    site.post(TaskSubmitted(task_spec(1)), TaskSubmitted(task_spec(2)))
    commands = site.post(ChunkRefused(ChunkId(1, 0), "atoms too close"))
    assert commands[:2] == [
        SaveChunk(5, ChunkId(1, 0), ChunkState.LOST, reason="atoms too close"),
        SaveTask(5, 1, TaskState.FAILED, 0, error="atoms too close", permanent=True),
    ]
    assert starts(commands) == [(2, 0, "alpha", 0, 50)]


def test_unanswered_chunk_keeps_its_slot_until_it_is_answered(site: CoreDriver) -> None:
    site.post(TaskSubmitted(task_spec(1)), TaskSubmitted(task_spec(2)))
    chunk = ChunkId(1, 0)
    assert site.post(ChunkUnanswered(chunk, "timeout")) == [
        SaveChunk(5, chunk, ChunkState.UNKNOWN, reason="timeout")
    ]
    assert site.post(ChunkUnanswered(chunk, "timeout"), WokenUp()) == []
    assert moves(site.post(finished(1, 0, 50))) == [(1, TaskState.RUNNING, 50)]


def test_unanswered_chunk_that_runs_after_all_is_running_again(site: CoreDriver) -> None:
    site.post(TaskSubmitted(task_spec(1)), ChunkUnanswered(ChunkId(1, 0), "timeout"))
    assert site.post(ChunkStarted(ChunkId(1, 0))) == [
        SaveChunk(5, ChunkId(1, 0), ChunkState.RUNNING)
    ]


def test_late_and_repeated_events_about_an_ended_chunk_change_nothing(site: CoreDriver) -> None:
    site.post(TaskSubmitted(task_spec(1)), finished(1, 0, 50))
    chunk = ChunkId(1, 0)
    late = (
        finished(1, 0, 50),
        ChunkStarted(chunk),
        ChunkStopped(chunk, 3, 1.0),
        ChunkLost(chunk, "late", fault=True),
        ChunkUnanswered(chunk, "late"),
        ChunkRefused(chunk, "late"),
    )
    assert site.post(*late) == []
    assert moves(site.post(finished(1, 1, 50), finished(1, 1, 50))) == [
        (1, TaskState.COMPLETED, 100)
    ]


# -- QPUs ----------------------------------------------------------------------------


def test_draining_qpu_finishes_its_chunk_and_takes_nothing_new(site: CoreDriver) -> None:
    site.post(TaskSubmitted(task_spec(1)))
    assert site.post(QpuReported("alpha", QpuState.DRAINING, "service")) == []
    assert moves(site.post(finished(1, 0, 50))) == [(1, TaskState.QUEUED, 50)]
    assert starts(site.post(QpuReported("alpha", QpuState.UP))) == [(1, 1, "alpha", 50, 50)]


def test_task_moves_to_another_qpu_when_its_own_goes_down(site: CoreDriver) -> None:
    site.post(TaskSubmitted(task_spec(1, qpus=("alpha", "beta"))))
    site.post(QpuRegistered(QpuSpec("beta", shot_rate_hz=1.0)))
    site.post(QpuReported("alpha", QpuState.DOWN, "no answer"))
    lost = ChunkLost(ChunkId(1, 0), "the QPU went down", fault=False)
    assert starts(site.post(lost)) == [(1, 1, "beta", 0, 10)]


def test_several_slots_run_several_tasks_but_one_chunk_of_each(site: CoreDriver) -> None:
    site.post(QpuRegistered(QpuSpec("beta", slots=2, shot_rate_hz=1.0)))
    on_beta = [TaskSubmitted(task_spec(i, qpus=("beta",))) for i in (1, 2, 3)]
    assert [start[:3] for start in starts(site.post(*on_beta))] == [(1, 0, "beta"), (2, 0, "beta")]
    assert site.busy("beta") == 2


def test_qpu_with_fewer_slots_than_chunks_lets_them_end(site: CoreDriver) -> None:
    site.post(QpuRegistered(QpuSpec("alpha", slots=2, shot_rate_hz=5.0)))
    site.post(*(TaskSubmitted(task_spec(i, shots=50)) for i in (1, 2, 3)))
    site.post(QpuRegistered(QpuSpec("alpha", slots=1, shot_rate_hz=5.0)))
    assert starts(site.post(finished(1, 0, 50))) == []
    assert starts(site.post(finished(2, 0, 50))) == [(3, 0, "alpha", 0, 50)]


def test_unknown_rate_sends_the_whole_task_up_to_the_maximum(site: CoreDriver) -> None:
    site.post(QpuRegistered(QpuSpec("beta", max_chunk_shots=70)))
    assert starts(site.post(TaskSubmitted(task_spec(1, qpus=("beta",))))) == [(1, 0, "beta", 0, 70)]


# -- what can't be -------------------------------------------------------------------


def test_time_that_goes_back_is_an_internal_error() -> None:
    scheduler = Scheduler()
    scheduler.handle(WokenUp(), 10)
    with pytest.raises(InternalError, match="time went back"):
        scheduler.handle(WokenUp(), 9)


def test_task_submitted_twice_is_an_internal_error_with_its_story() -> None:
    scheduler = Scheduler()
    scheduler.handle(TaskSubmitted(task_spec(1)), 0)
    with pytest.raises(InternalError, match=r"submitted twice \(lately: #1 QUEUED\)"):
        scheduler.handle(TaskSubmitted(task_spec(1)), 0)


def test_chunk_that_was_never_sent_is_an_internal_error() -> None:
    scheduler = Scheduler()
    scheduler.handle(TaskSubmitted(task_spec(1)), 0)
    with pytest.raises(InternalError, match="chunk 0 was never sent"):
        scheduler.handle(finished(1, 0, 10), 0)


def test_report_about_a_qpu_that_never_joined_is_an_internal_error() -> None:
    with pytest.raises(InternalError, match="before the QPU joined"):
        Scheduler().handle(QpuReported("ghost", QpuState.UP), 0)


def test_next_wakeup_under_priorities_is_never() -> None:
    assert Scheduler().next_wakeup() is None


# -- another session ----------------------------------------------------------------------


def test_task_of_another_session_keeps_its_place_and_ends_with_that_one(
    site: CoreDriver,
) -> None:
    ends_at = site.now + 40_000_000
    bound = Timing(session_ends_at=ends_at)
    site.post(TaskSubmitted(task_spec(1)))
    site.post(*(TaskSubmitted(task_spec(n, session_id="old", timing=bound)) for n in (2, 3, 4)))
    site.post(TaskHoldAsked(4))
    assert site.scheduler.lineup(3) is not None
    for n in (2, 4):
        site.post(TaskRebound(n, "new", None))
    waiting = site.scheduler.waiting(2)
    assert waiting is not None
    assert waiting.position == 1, "only what runs goes before it, as before"
    site.now = ends_at
    assert moves(site.post(WokenUp())) == [(3, TaskState.FAILED, 0)]
    assert moves(site.post(TaskReleaseAsked(4))) == [(4, TaskState.QUEUED, 0)]
    site.post(TaskCancelAsked(1), ChunkStopped(ChunkId(1, 0), 0, 1.0))
    assert site.tasks[2].state is TaskState.RUNNING


def test_running_task_that_gets_an_end_is_stopped_by_it(site: CoreDriver) -> None:
    site.post(TaskSubmitted(task_spec(1)), ChunkStarted(ChunkId(1, 0)))
    site.post(TaskRebound(1, "new", site.now + 5_000_000), TaskRebound(9, "new", None))
    site.now += 5_000_000
    assert [c.chunk for c in site.post(WokenUp()) if isinstance(c, StopChunk)] == [ChunkId(1, 0)]
    site.post(ChunkStopped(ChunkId(1, 0), 20, 4.0))
    assert site.tasks[1].state is TaskState.FAILED
    assert str(site.tasks[1].error).startswith("SessionEnding")
