"""Several QPUs: which of the free ones a task gets, and how long its chunks are there."""

from __future__ import annotations

import pytest

from qpu_executor.model.events import (
    ChunkFinished,
    ChunkLost,
    ClassesChanged,
    QpuDrained,
    QpuRegistered,
    QpuReported,
    TaskSubmitted,
    WindowsChanged,
)
from qpu_executor.model.states import QpuState, TaskState, WindowKind
from qpu_executor.model.timing import MICROSECONDS, Window
from qpu_executor.model.values import ChunkId, JobClass, QpuSpec
from qpu_executor.scheduling.commands import Command, StartChunk
from qpu_executor.scheduling.shot_times import MOST_FASTER
from qpu_executor.testing.core_driver import CoreDriver, task_spec

CLASS = JobClass("development", priority=100, chunk_s=10.0)


def a_site(*qpus: QpuSpec, job_class: JobClass = CLASS) -> CoreDriver:
    """A site with these QPUs and one class, whose chunks take 10 s."""
    driver = CoreDriver()
    driver.post(ClassesChanged((job_class,)), *(QpuRegistered(qpu) for qpu in qpus))
    return driver


def submit(site: CoreDriver, task_id: int, *qpus: str, **changes: object) -> str | None:
    """Submit a task; the QPU on which it starts at once, if it does."""
    started = starts(site.post(TaskSubmitted(task_spec(task_id, qpus=qpus, **changes))))
    return started[0].qpu if started else None


def starts(commands: list[Command]) -> list[StartChunk]:
    return [command for command in commands if isinstance(command, StartChunk)]


def end(site: CoreDriver, task_id: int, n: int, shots: int, shot_s: float) -> list[StartChunk]:
    """A chunk ends that took `shot_s` a shot; what starts then."""
    return starts(site.post(ChunkFinished(ChunkId(task_id, n), shots, shots * shot_s)))


def test_task_goes_where_it_is_done_first_whatever_it_names_first() -> None:
    site = a_site(QpuSpec("slow", shot_rate_hz=1.0), QpuSpec("fast", shot_rate_hz=5.0))
    assert submit(site, 1, "slow", "fast") == "fast"
    assert submit(site, 2, "slow", "fast") == "slow"


def test_of_equal_qpus_the_task_gets_the_one_that_it_names_first() -> None:
    site = a_site(QpuSpec("alpha", shot_rate_hz=5.0), QpuSpec("beta", shot_rate_hz=5.0))
    assert submit(site, 1, "beta", "alpha") == "beta"


def test_overheads_count_for_a_short_task() -> None:
    slow_to_start = QpuSpec("fast", shot_rate_hz=5.0, switch_s=60.0)
    site = a_site(slow_to_start, QpuSpec("slow", shot_rate_hz=1.0))
    assert submit(site, 1, "fast", "slow", shots=10) == "slow"
    site = a_site(slow_to_start, QpuSpec("slow", shot_rate_hz=1.0))
    assert submit(site, 1, "fast", "slow", shots=1000) == "fast"


def test_pause_that_the_task_would_run_into_counts() -> None:
    site = a_site(QpuSpec("fast", shot_rate_hz=5.0), QpuSpec("slow", shot_rate_hz=4.0))
    hour = 3600 * MICROSECONDS
    closed = Window("repair", WindowKind.MAINTENANCE, 100 * MICROSECONDS, hour)
    site.post(WindowsChanged("fast", (closed,)))
    assert submit(site, 1, "fast", "slow", shots=1000) == "slow"
    assert submit(site, 2, "fast", "slow", shots=100) == "fast"


def test_unknown_rate_isnt_taken_for_a_fast_one() -> None:
    site = a_site(QpuSpec("unknown"), QpuSpec("known", shot_rate_hz=0.3))
    assert submit(site, 1, "unknown", "known") == "known"


def test_unknown_rate_isnt_taken_for_never() -> None:
    site = a_site(QpuSpec("known", shot_rate_hz=0.1), QpuSpec("unknown"))
    assert submit(site, 1, "known", "unknown") == "unknown"


@pytest.mark.parametrize(
    "closing", [QpuDrained("fast"), QpuReported("fast", QpuState.DOWN, "cold")]
)
def test_closed_qpu_is_no_choice(closing: QpuDrained | QpuReported) -> None:
    site = a_site(QpuSpec("fast", shot_rate_hz=5.0), QpuSpec("slow", shot_rate_hz=1.0))
    site.post(closing)
    assert submit(site, 1, "fast", "slow") == "slow"
    assert submit(site, 2, "fast", "slow") is None


def test_fallback_is_taken_only_where_nothing_else_is_free() -> None:
    with_fallback = JobClass("development", priority=100, fallback=("fast",))
    site = a_site(
        QpuSpec("fast", shot_rate_hz=500.0),
        QpuSpec("slow", shot_rate_hz=1.0),
        job_class=with_fallback,
    )
    assert submit(site, 1, "slow", "fast") == "slow"
    assert submit(site, 2, "slow", "fast") == "fast"


def test_emulator_is_taken_only_where_no_hardware_is_free() -> None:
    site = a_site(
        QpuSpec("emulator", shot_rate_hz=500.0, emulated=True), QpuSpec("real", shot_rate_hz=1.0)
    )
    assert submit(site, 1, "emulator", "real") == "real"
    assert submit(site, 2, "emulator", "real") == "emulator"


def test_policy_order_decides_who_goes_and_only_then_where() -> None:
    site = a_site(QpuSpec("fast", shot_rate_hz=5.0))
    site.post(QpuReported("fast", QpuState.DOWN, "cold"))
    assert submit(site, 1, "fast", "slow", priority=1) is None
    assert submit(site, 2, "fast", "slow", priority=9) is None
    site.post(QpuReported("fast", QpuState.UP))
    assert site.tasks[2].state is TaskState.RUNNING
    (start,) = starts(site.post(QpuRegistered(QpuSpec("slow", shot_rate_hz=1.0))))
    assert (start.chunk.task_id, start.qpu) == (1, "slow")


# -- the length of chunks ----------------------------------------------------------------


def test_chunk_is_cut_by_what_the_task_itself_took() -> None:
    """Two programs, one tenfold slower: each gets chunks of its class's ten seconds."""
    site = a_site(QpuSpec("alpha", shot_rate_hz=5.0, slots=2))
    submit(site, 1, "alpha", shots=1000)
    submit(site, 2, "alpha", shots=1000)
    (slow,) = end(site, 1, 0, 50, 2.0)
    (fast,) = end(site, 2, 0, 50, 0.2)
    assert (slow.shots, fast.shots) == (5, 50)
    (slow,) = end(site, 1, 1, 5, 2.0)
    (fast,) = end(site, 2, 1, 50, 0.2)
    assert (slow.shots, fast.shots) == (5, 50)


def test_slow_hint_makes_the_first_chunk_shorter() -> None:
    site = a_site(QpuSpec("alpha", shot_rate_hz=5.0))
    (start,) = starts(site.post(TaskSubmitted(task_spec(1, shots=1000, shot_s=1.0))))
    assert start.shots == 10


def test_fast_hint_gives_no_longer_chunk_before_it_is_measured() -> None:
    site = a_site(QpuSpec("alpha", shot_rate_hz=5.0))
    (start,) = starts(site.post(TaskSubmitted(task_spec(1, shots=5000, shot_s=0.02))))
    assert start.shots == 50
    (then,) = end(site, 1, 0, 50, 0.02)
    assert then.shots == 500


def test_absurdly_fast_measurement_is_bounded_by_the_mean_of_the_qpu() -> None:
    site = a_site(QpuSpec("alpha", shot_rate_hz=5.0))
    submit(site, 1, "alpha", shots=50)
    submit(site, 2, "alpha", shots=1_000_000)
    end(site, 1, 0, 50, 1.0)
    (start,) = end(site, 2, 0, 10, 1e-9)
    mean_s = site.scheduler.qpu("alpha")
    assert mean_s is not None
    assert mean_s.rate_hz is not None
    assert start.shots == round(10.0 * MOST_FASTER * mean_s.rate_hz)


def test_what_was_measured_on_one_qpu_says_nothing_of_another() -> None:
    site = a_site(QpuSpec("alpha", shot_rate_hz=5.0), QpuSpec("beta", shot_rate_hz=2.0))
    submit(site, 1, "alpha", "beta", shots=1000)
    submit(site, 2, "beta", shots=20)
    site.post(QpuDrained("alpha"))
    end(site, 1, 0, 50, 2.0)
    (start,) = end(site, 2, 0, 20, 0.5)
    assert (start.chunk.task_id, start.qpu, start.shots) == (1, "beta", 20)


def test_task_that_gives_way_goes_on_where_another_qpu_is_free() -> None:
    site = a_site(QpuSpec("alpha", shot_rate_hz=5.0), QpuSpec("beta", shot_rate_hz=5.0))
    site.post(QpuReported("beta", QpuState.DOWN, "cold"))
    submit(site, 1, "alpha", "beta", shots=1000)
    site.post(QpuReported("beta", QpuState.UP))
    assert submit(site, 2, "alpha", shots=50, priority=5) is None
    started = end(site, 1, 0, 50, 0.2)
    assert [(one.chunk.task_id, one.qpu) for one in started] == [(2, "alpha"), (1, "beta")]


REAL = QpuSpec("real", shot_rate_hz=10.0)
EMULATOR = QpuSpec("emulator", shot_rate_hz=100.0, emulated=True)


def test_shots_of_atoms_and_of_an_emulator_are_never_mixed() -> None:
    site = a_site(REAL, EMULATOR)
    assert submit(site, 1, "real", "emulator", shots=300) == "real"
    (second,) = end(site, 1, 0, 100, 0.1)
    assert second.qpu == "real"
    site.post(QpuReported("real", QpuState.DOWN, "broken"))
    # What it has is kept; the emulator is free, and not for this one.
    assert end(site, 1, 1, 100, 0.1) == []
    assert site.scheduler.waiting(1) is not None
    (last,) = starts(site.post(QpuReported("real", QpuState.UP, "")))
    assert (last.qpu, last.first_shot) == ("real", 200)


def test_task_begun_on_an_emulator_stays_there() -> None:
    site = a_site(REAL, EMULATOR)
    site.post(QpuReported("real", QpuState.DOWN, "broken"))
    assert submit(site, 1, "real", "emulator", shots=3000) == "emulator"
    site.post(QpuReported("real", QpuState.UP, ""))
    assert submit(site, 2, "real", "emulator", shots=100) == "real"
    (second,) = end(site, 1, 0, 1000, 0.01)
    assert second.qpu == "emulator"
    site.post(QpuDrained("emulator", "upgrade"))
    end(site, 2, 0, 100, 0.1)
    assert end(site, 1, 1, 1000, 0.01) == []


def test_shots_that_were_lost_bind_to_nothing() -> None:
    site = a_site(REAL, EMULATOR)
    assert submit(site, 1, "real", "emulator", shots=300) == "real"
    site.post(QpuReported("real", QpuState.DOWN, "broken"))
    (again,) = starts(site.post(ChunkLost(ChunkId(1, 0), "broken", fault=False)))
    assert again.qpu == "emulator"
