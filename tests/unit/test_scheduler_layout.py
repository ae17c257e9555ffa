"""Layout grouping: equals that have the loaded register layout go first, within a bound."""

from __future__ import annotations

from typing import Any

from qpu_executor.model.events import ChunkFinished, ClassesChanged, QpuRegistered, TaskSubmitted
from qpu_executor.model.timing import MICROSECONDS
from qpu_executor.model.values import ChunkId, JobClass, QpuSpec
from qpu_executor.scheduling.commands import Command, StartChunk
from qpu_executor.testing.core_driver import CoreDriver, task_spec

CLASSES = (JobClass("production", priority=100), JobClass("development", 10))


def a_queue(**spec: Any) -> CoreDriver:
    """Layouts in the order of age: square (running), triangle, square, triangle, square, square."""
    site = CoreDriver(step=0)
    values: dict[str, Any] = {"layout_s": 30.0, "group_tasks": 2, "group_s": 1000.0, **spec}
    site.post(ClassesChanged(CLASSES), QpuRegistered(QpuSpec("alpha", shot_rate_hz=5.0, **values)))
    for task_id, layout in enumerate("STSTSS", start=1):
        site.post(TaskSubmitted(task_spec(task_id, shots=50, layout=layout)))
    return site


def finish(site: CoreDriver) -> list[Command]:
    """The chunk that is out ends after ten seconds."""
    site.now += 10 * MICROSECONDS
    (chunk,) = site.out
    shots = site.out[chunk].shots
    return site.post(ChunkFinished(chunk, shots, 10.0))


def order(site: CoreDriver) -> list[int]:
    """Ids of the tasks in the order in which they run."""
    ids = []
    while site.out:
        ids.append(next(iter(site.out)).task_id)
        finish(site)
    return ids


def test_equals_with_the_loaded_layout_pass_as_many_as_the_bound_says() -> None:
    assert order(a_queue()) == [1, 3, 5, 2, 4, 6]


def test_bound_in_seconds_ends_the_passing_as_well() -> None:
    assert order(a_queue(group_tasks=9, group_s=5.0)) == [1, 3, 2, 4, 5, 6]


def test_grouping_is_off_unless_the_qpu_has_a_bound() -> None:
    assert order(a_queue(group_tasks=0)) == [1, 2, 3, 4, 5, 6]


def test_higher_class_is_never_passed() -> None:
    site = a_queue()
    site.post(TaskSubmitted(task_spec(7, shots=50, layout="T", job_class="production")))
    assert order(site)[:2] == [1, 7]


def test_tasks_without_a_layout_are_neither_passed_nor_preferred() -> None:
    site = a_queue()
    site.post(TaskSubmitted(task_spec(7, shots=50, submitted_at=0)))
    assert order(site)[:2] == [1, 7]


def test_running_task_stays_before_an_older_equal_of_another_layout_within_the_bound() -> None:
    site = CoreDriver(step=0)
    spec = QpuSpec("alpha", shot_rate_hz=5.0, layout_s=30.0, group_tasks=1, group_s=1000.0)
    site.post(ClassesChanged(CLASSES), QpuRegistered(spec))
    site.post(TaskSubmitted(task_spec(2, shots=200, layout="S")))
    site.post(TaskSubmitted(task_spec(1, shots=50, layout="T")))
    sent = [command for _ in range(3) for command in finish(site)]
    chunks = [command.chunk for command in sent if isinstance(command, StartChunk)]
    assert chunks == [ChunkId(2, 1), ChunkId(1, 0), ChunkId(2, 2)]
