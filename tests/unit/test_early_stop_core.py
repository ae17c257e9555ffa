"""Early stops in the core: when a task that has enough ends, and how long its chunks are."""

from __future__ import annotations

from typing import Any

import pytest

from qpu_executor.errors import InternalError
from qpu_executor.model.events import (
    CalibrationEnded,
    ChunkFinished,
    ChunkLost,
    ChunkRefused,
    ClassesChanged,
    QpuRegistered,
    StoppingRuleMet,
    TaskCancelAsked,
    TaskHoldAsked,
    TaskSubmitted,
)
from qpu_executor.model.states import OnRecalibration, TaskState
from qpu_executor.model.timing import CalibrationPlan, Dependency, Timing
from qpu_executor.model.values import ChunkId, JobClass, QpuSpec
from qpu_executor.scheduling.admission import Credit
from qpu_executor.scheduling.chunking import chunk_shots, shots_to_judgement
from qpu_executor.scheduling.commands import SaveTask, StartChunk
from qpu_executor.scheduling.scheduler import Scheduler
from qpu_executor.testing.core_driver import CoreDriver, task_spec

CLASSES = (JobClass("production", priority=100), JobClass("development", priority=10))


def a_site(scheduler: Scheduler | None = None, **qpu: Any) -> CoreDriver:
    """One QPU, "alpha", with 5 shots a second: 50 shots in a chunk of 10 s."""
    driver = CoreDriver(scheduler or Scheduler())
    spec = QpuSpec("alpha", **{"shot_rate_hz": 5.0, **qpu})
    driver.post(ClassesChanged(CLASSES), QpuRegistered(spec))
    return driver


def out(driver: CoreDriver) -> list[tuple[int, int, int]]:
    """(task, first shot, shots) of the chunks that are at the QPU."""
    return [(c.chunk.task_id, c.first_shot, c.shots) for c in driver.out.values()]


def finish(driver: CoreDriver, task_id: int, rate_hz: float = 5.0) -> None:
    """The task's chunk takes all of its shots."""
    start = next(one for one in driver.out.values() if one.chunk.task_id == task_id)
    driver.post(ChunkFinished(start.chunk, start.shots, start.shots / rate_hz))


def finish_all(driver: CoreDriver, task_id: int, rate_hz: float = 5.0) -> list[int]:
    """The task's chunks end one after the other; the shots of each."""
    shots = []
    while driver.out:
        shots.append(next(iter(driver.out.values())).shots)
        finish(driver, task_id, rate_hz)
    return shots


def test_rule_that_a_chunk_meets_ends_the_task_with_it_and_frees_the_qpu() -> None:
    site = a_site()
    site.post(TaskSubmitted(task_spec(1, shots=1000, min_shots=50)))
    site.post(TaskSubmitted(task_spec(2, shots=10)))
    commands = site.post(StoppingRuleMet(1, 50, "enough"), ChunkFinished(ChunkId(1, 0), 50, 10.0))
    ended = SaveTask(6, 1, TaskState.COMPLETED, 50, stopped_early="enough")
    assert ended in commands
    assert out(site) == [(2, 0, 10)]


def test_chunk_that_is_out_when_the_rule_is_met_is_finished_and_counted() -> None:
    site = a_site(slots=2)
    site.post(TaskSubmitted(task_spec(1, shots=1000, min_shots=50)))
    finish(site, 1)
    assert site.post(StoppingRuleMet(1, 50, "enough")) == []
    assert site.tasks[1].state is TaskState.RUNNING
    finish(site, 1)
    book = site.tasks[1]
    assert (book.state, book.counted, book.stopped_early) == (TaskState.COMPLETED, 100, "enough")


@pytest.mark.parametrize("how", ["lost", "faults", "refused"])
def test_chunk_that_is_lost_after_the_rule_was_met_takes_nothing_away(how: str) -> None:
    site = a_site(Scheduler(max_faults=1))
    site.post(TaskSubmitted(task_spec(1, shots=1000, min_shots=50)))
    finish(site, 1)
    site.post(StoppingRuleMet(1, 50, "enough"))
    chunk = ChunkId(1, 1)
    lost = ChunkRefused(chunk, how) if how == "refused" else ChunkLost(chunk, how, how == "faults")
    site.post(lost)
    assert (site.tasks[1].state, site.tasks[1].counted) == (TaskState.COMPLETED, 50)


def test_waiting_or_held_task_that_has_enough_ends_at_once() -> None:
    site = a_site()
    for task_id in (1, 2):
        site.post(TaskSubmitted(task_spec(task_id, shots=1000, min_shots=50)))
        site.post(TaskHoldAsked(task_id))
        if task_id == 1:
            finish(site, 1)
    assert site.tasks[1].state is TaskState.HELD
    site.post(StoppingRuleMet(1, 50, "enough"))
    assert site.tasks[1].history[-2:] == [TaskState.HELD, TaskState.COMPLETED]


def test_judgement_on_more_shots_than_are_counted_ends_nothing_yet() -> None:
    site = a_site()
    site.post(TaskSubmitted(task_spec(1, shots=1000, min_shots=50)))
    site.post(StoppingRuleMet(1, 100, "enough"))
    finish(site, 1)
    assert site.tasks[1].state is TaskState.RUNNING
    finish(site, 1)
    assert (site.tasks[1].state, site.tasks[1].counted) == (TaskState.COMPLETED, 100)


def test_rule_that_the_last_shots_meet_stops_nothing_early() -> None:
    site = a_site()
    site.post(TaskSubmitted(task_spec(1, shots=50, min_shots=50)))
    site.post(StoppingRuleMet(1, 50, "enough"))
    finish(site, 1)
    assert (site.tasks[1].state, site.tasks[1].stopped_early) == (TaskState.COMPLETED, None)


def test_cancel_goes_before_the_rule() -> None:
    site = a_site()
    site.post(TaskSubmitted(task_spec(1, shots=1000, min_shots=50)))
    site.post(TaskCancelAsked(1), StoppingRuleMet(1, 50, "enough"))
    finish(site, 1)
    assert site.tasks[1].state is TaskState.CANCELLED


def test_judgement_of_an_ended_task_is_nothing_and_of_one_without_a_rule_a_mistake() -> None:
    site = a_site()
    site.post(TaskSubmitted(task_spec(1)), TaskCancelAsked(1))
    assert site.post(StoppingRuleMet(7, 50, "enough")) == []
    with pytest.raises(InternalError, match="no stopping rule of it can be met"):
        site.scheduler.handle(StoppingRuleMet(1, 50, "enough"), site.now)
    other = a_site()
    other.post(TaskSubmitted(task_spec(1, min_shots=60)))
    with pytest.raises(InternalError, match="no stopping rule of it can be met"):
        other.scheduler.handle(StoppingRuleMet(1, 59, "too few"), other.now)


def test_discarded_shots_take_the_judgement_with_them() -> None:
    site = a_site(calibration=CalibrationPlan(period_s=None, length_s=60.0))
    timing = Timing(on_recalibration=OnRecalibration.RESTART)
    site.post(CalibrationEnded("alpha", "first"))
    site.post(TaskSubmitted(task_spec(1, shots=1000, min_shots=100, timing=timing)))
    finish(site, 1)
    site.post(StoppingRuleMet(1, 100, "enough"))
    site.post(CalibrationEnded("alpha", "second"))
    finish(site, 1)
    assert site.tasks[1].state is TaskState.COMPLETED  # both chunks were of the first epoch
    site.post(TaskSubmitted(task_spec(2, shots=1000, min_shots=50, timing=timing)))
    finish(site, 2)
    site.post(StoppingRuleMet(2, 150, "with shots that won't count"))
    site.post(CalibrationEnded("alpha", "third"))
    finish(site, 2)
    assert site.tasks[2].counted == 0
    for _ in range(4):
        finish(site, 2)
    assert (site.tasks[2].state, site.tasks[2].counted) == (TaskState.RUNNING, 200)
    site.post(StoppingRuleMet(2, 250, "of the shots that count now"))
    finish(site, 2)
    assert (site.tasks[2].state, site.tasks[2].counted) == (TaskState.COMPLETED, 250)


def test_task_that_depends_on_it_may_start() -> None:
    site = a_site()
    site.post(TaskSubmitted(task_spec(1, shots=1000, min_shots=50)))
    site.post(TaskSubmitted(task_spec(2, timing=Timing(depends_on=(Dependency(1),)))))
    site.post(StoppingRuleMet(1, 50, "enough"))
    finish(site, 1)
    assert out(site) == [(2, 0, 50)]


def test_what_was_expected_of_the_saved_shots_is_given_back_to_the_account() -> None:
    site = a_site(Scheduler(credits=[Credit("physics", qpu_s=200.0)]))
    site.post(TaskSubmitted(task_spec(1, shots=900, min_shots=50)))
    asked = task_spec(2, shots=500)
    refusal = site.scheduler.refusal(asked)
    assert refusal is not None
    assert refusal.used == 180.0
    site.post(StoppingRuleMet(1, 50, "enough"))
    finish(site, 1)
    assert site.scheduler.refusal(asked) is None
    refused_now = site.scheduler.refusal(task_spec(2, shots=1000))
    assert refused_now is not None
    assert refused_now.used == 10.0  # the 50 shots that were delivered, at 5 a second


# -- the length of chunks ------------------------------------------------------------


def test_chunks_end_where_the_rule_can_be_judged_even_where_no_rate_is_known() -> None:
    site = a_site(shot_rate_hz=None)
    site.post(TaskSubmitted(task_spec(1, shots=1000, min_shots=100)))
    fast_hz = 100_000.0  # time is no bound
    assert finish_all(site, 1, fast_hz) == [100, 100, 100, 150, 225, 325]


def test_chunks_of_a_task_without_a_rule_are_as_long_as_ever() -> None:
    site = a_site(shot_rate_hz=None)
    site.post(TaskSubmitted(task_spec(1, shots=1000)))
    assert out(site) == [(1, 0, 1000)]


def test_no_chunk_becomes_longer_for_the_sake_of_a_rule() -> None:
    site = a_site()
    site.post(TaskSubmitted(task_spec(1, shots=300, min_shots=250)))
    assert finish_all(site, 1) == [50] * 6


def test_the_qpus_least_chunk_goes_before_the_rule() -> None:
    site = a_site(min_chunk_shots=40)
    site.post(TaskSubmitted(task_spec(1, shots=300, min_shots=10)))
    assert out(site) == [(1, 0, 40)]


def test_program_in_one_piece_is_one_chunk() -> None:
    site = a_site()
    site.post(TaskSubmitted(task_spec(1, shots=300, min_shots=10, divisible=False)))
    assert out(site) == [(1, 0, 300)]


def test_number_of_judgements_grows_with_the_logarithm_of_the_shots() -> None:
    def looks(shots: int) -> int:
        done = count = 0
        while done < shots:
            done += chunk_shots(
                shots - done,
                divisible=True,
                chunk_s=10.0,
                rate_hz=None,
                qpu=QpuSpec("q"),
                judged=shots_to_judgement(done, 1),
            )
            count += 1
        return count

    assert looks(1_000_000) - looks(1_000) == pytest.approx(17, abs=1)  # log(1000) / log(1.5)


def test_restored_task_is_complete_once_it_is_judged_again() -> None:
    core = Scheduler()
    core.handle(ClassesChanged(CLASSES), 1)
    core.handle(QpuRegistered(QpuSpec("alpha", shot_rate_hz=5.0)), 2)
    core.restore(
        task_spec(1, shots=1000, min_shots=50),
        TaskState.QUEUED,
        shots_done=60,
        faults=0,
        chunk=None,
        next_chunk_n=1,
    )
    commands = core.handle(StoppingRuleMet(1, 60, "enough"), 3)
    assert SaveTask(3, 1, TaskState.COMPLETED, 60, stopped_early="enough") in commands
    assert not any(isinstance(one, StartChunk) for one in commands)
    assert core.handle(StoppingRuleMet(1, 60, "again"), 4) == []
