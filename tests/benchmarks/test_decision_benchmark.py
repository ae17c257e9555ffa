"""What a decision and a queued task cost, from a thousand to a million queued tasks.

    pytest tests/benchmarks/test_decision_benchmark.py --benchmark-only
    QPU_BENCHMARK_TASKS=1000000 pytest ... (the largest queue; default 100,000)

A decision is one `ChunkFinished` and the commands that follow: here the running
task always gives way to the first of 100 accounts, 3 classes and 10
requirements, which is the most that a decision has to do. The policy is `banded`, with
usage charged for every chunk.
"""

from __future__ import annotations

import gc
import itertools
import os
import tracemalloc
from collections.abc import Iterator

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from qpu_executor.model.events import ChunkFinished, ClassesChanged, QpuRegistered, TaskSubmitted
from qpu_executor.model.values import ChunkId, JobClass, QpuSpec, TaskSpec
from qpu_executor.scheduling.commands import StartChunk
from qpu_executor.scheduling.policies.banded import Banded
from qpu_executor.scheduling.scheduler import Scheduler

LARGEST = int(os.environ.get("QPU_BENCHMARK_TASKS", "100000"))
SIZES = [size for size in (1_000, 10_000, 100_000, 1_000_000) if size <= LARGEST]
CLASSES = ("production", "test", "development")
REQUIREMENTS = tuple(("alpha", *(f"other-{i}" for i in range(n))) for n in range(10))
BYTES_PER_TASK = 450


def a_site() -> Scheduler:
    scheduler = Scheduler(ordering=Banded())
    classes = tuple(JobClass(name, priority=100 - i) for i, name in enumerate(CLASSES))
    scheduler.handle(ClassesChanged(classes), 0)
    scheduler.handle(QpuRegistered(QpuSpec("alpha", shot_rate_hz=5.0)), 0)
    return scheduler


def a_task(task_id: int) -> TaskSpec:
    """Task `task_id` of a load that is spread over all 3000 buckets."""
    return TaskSpec(
        task_id=task_id,
        owner=f"user-{task_id % 100}",
        account=f"account-{task_id % 100}",
        job_class=CLASSES[task_id // 100 % 3],
        shots=1000,
        qpus=REQUIREMENTS[task_id // 300 % 10],
        submitted_at=1_000_000 + task_id,
        priority=task_id * 7919 % 5,
    )


def a_queue(size: int) -> tuple[Scheduler, ChunkId]:
    """A scheduler with `size` tasks; the QPU works on the chunk that is returned."""
    scheduler = a_site()
    chunk = None
    for task_id in range(1, size + 1):
        for command in scheduler.handle(TaskSubmitted(a_task(task_id)), task_id):
            if isinstance(command, StartChunk):
                chunk = command.chunk
    assert chunk is not None
    return scheduler, chunk


@pytest.fixture(params=SIZES)
def queue(request: pytest.FixtureRequest) -> Iterator[tuple[Scheduler, ChunkId]]:
    built = a_queue(request.param)
    gc.collect()
    gc.freeze()
    yield built
    gc.unfreeze()


def test_decision_cost_by_queue_length(
    benchmark: BenchmarkFixture, queue: tuple[Scheduler, ChunkId]
) -> None:
    scheduler, chunk = queue
    now = itertools.count(10_000_000)

    def decide() -> None:
        nonlocal chunk
        commands = scheduler.handle(ChunkFinished(chunk, 1000, 10.0), next(now))
        last = commands[-1]
        assert isinstance(last, StartChunk)
        chunk = last.chunk

    benchmark.pedantic(decide, rounds=900, warmup_rounds=20)


def test_giving_way_cost_by_queue_length(
    benchmark: BenchmarkFixture, queue: tuple[Scheduler, ChunkId]
) -> None:
    """The running task is queued again and a newly submitted, more urgent one starts."""
    scheduler, chunk = queue
    now = itertools.count(10_000_000)
    task_ids = itertools.count(10_000_000)

    def submit_urgent() -> tuple[tuple[ChunkId], dict[str, object]]:
        task_id = next(task_ids)
        urgent = TaskSpec(
            task_id=task_id,
            owner="user-0",
            account="account-0",
            job_class="production",
            shots=999 - task_id % 1000,
            qpus=("alpha",),
            submitted_at=1,
        )
        scheduler.handle(TaskSubmitted(urgent), next(now))
        return (chunk,), {}

    def give_way(ended: ChunkId) -> None:
        nonlocal chunk
        last = scheduler.handle(ChunkFinished(ended, 1, 0.2), next(now))[-1]
        assert isinstance(last, StartChunk)
        assert last.chunk.task_id != ended.task_id
        chunk = last.chunk

    benchmark.pedantic(give_way, setup=submit_urgent, rounds=900)


@pytest.mark.parametrize("lifetime", [1_000, 30_000])
def test_decision_cost_by_finished_tasks(benchmark: BenchmarkFixture, lifetime: int) -> None:
    scheduler, chunk = a_queue(1000)
    task_ids = itertools.count(1001)
    now = itertools.count(10_000_000)

    def cycle() -> None:
        nonlocal chunk
        scheduler.handle(TaskSubmitted(a_task(next(task_ids))), next(now))
        last = scheduler.handle(ChunkFinished(chunk, 1000, 10.0), next(now))[-1]
        assert isinstance(last, StartChunk)
        chunk = last.chunk

    for _ in range(lifetime):
        cycle()
    benchmark.pedantic(cycle, rounds=900)


def test_memory_per_queued_task() -> None:
    size = 20_000
    gc.collect()
    tracemalloc.start()
    scheduler = a_site()
    events = (TaskSubmitted(a_task(task_id)) for task_id in range(1, size + 1))
    for event in events:
        scheduler.handle(event, event.task.submitted_at)
    del event
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    scheduler.check()
    # The buckets are counted in: 3000 of them weigh more here than in a longer queue.
    print(f"{used / size:.0f} bytes per queued task")  # noqa: T201
    assert used / size <= BYTES_PER_TASK
