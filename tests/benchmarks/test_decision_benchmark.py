"""What a decision and a queued task cost, from a thousand to a million queued tasks.

    pytest tests/benchmarks/test_decision_benchmark.py --benchmark-only -s
    QPU_BENCHMARK_TASKS=1000000 pytest ... (the largest queue; default 100,000)

A decision is one `ChunkFinished` and the commands that follow: here the running
task always gives way to the first of 100 accounts, 3 classes and 10
requirements, which is the most that a decision has to do. The policy is `banded`, with
usage charged for every chunk; "all rules" adds minimum shares, limits, a calibration
plan and a window. Besides pytest-benchmark's table, each case prints its median and p99,
and the collector's longest pause: a full collection visits every queued task, which is
why the service freezes what lasts (`qpu serve`), and why that is a number of its own here.
"""

from __future__ import annotations

import gc
import itertools
import os
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from qpu_executor.model.events import (
    ChunkFinished,
    ClassesChanged,
    QpuRegistered,
    TaskSubmitted,
    WindowsChanged,
)
from qpu_executor.model.states import WindowKind
from qpu_executor.model.timing import MICROSECONDS, CalibrationPlan, Window
from qpu_executor.model.values import ChunkId, JobClass, QpuSpec, TaskSpec
from qpu_executor.scheduling.commands import StartChunk
from qpu_executor.scheduling.policies.banded import Banded
from qpu_executor.scheduling.scheduler import Scheduler

LARGEST = int(os.environ.get("QPU_BENCHMARK_TASKS", "100000"))
SIZES = [size for size in (1_000, 10_000, 100_000, 1_000_000) if size <= LARGEST]
CLASSES = ("production", "test", "development")
REQUIREMENTS = tuple(("alpha", *(f"other-{i}" for i in range(n))) for n in range(10))
BYTES_PER_TASK = 450
DAY_AT = 86_400 * MICROSECONDS


def a_site(*, all_rules: bool = False) -> Scheduler:
    scheduler = Scheduler(ordering=Banded())
    rules: dict[str, Any] = {"min_share": 0.1, "max_running": 5} if all_rules else {}
    classes = tuple(JobClass(name, priority=100 - i, **rules) for i, name in enumerate(CLASSES))
    plan = CalibrationPlan(period_s=7200.0) if all_rules else None
    scheduler.handle(ClassesChanged(classes), 0)
    scheduler.handle(QpuRegistered(QpuSpec("alpha", shot_rate_hz=5.0, calibration=plan)), 0)
    if all_rules:
        service = Window("service", WindowKind.MAINTENANCE, 10_000 * MICROSECONDS, DAY_AT)
        scheduler.handle(WindowsChanged("alpha", (service,)), 0)
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


def a_queue(size: int, *, all_rules: bool = False) -> tuple[Scheduler, ChunkId]:
    """A scheduler with `size` tasks; the QPU works on the chunk that is returned."""
    scheduler = a_site(all_rules=all_rules)
    chunk = None
    for task_id in range(1, size + 1):
        for command in scheduler.handle(TaskSubmitted(a_task(task_id)), task_id):
            if isinstance(command, StartChunk):
                chunk = command.chunk
    assert chunk is not None
    return scheduler, chunk


@pytest.fixture(params=SIZES)
def queue(request: pytest.FixtureRequest) -> Iterator[tuple[Scheduler, ChunkId]]:
    with frozen():
        yield a_queue(request.param)


@contextmanager
def frozen() -> Iterator[None]:
    """As the service does it: what lasts isn't visited by the collector again."""

    def freeze(phase: str, info: dict[str, int]) -> None:
        if phase == "stop" and info["generation"] == 2:
            gc.freeze()

    gc.collect()
    gc.callbacks.append(freeze)
    try:
        yield
    finally:
        gc.callbacks.remove(freeze)
        gc.unfreeze()


def report(benchmark: BenchmarkFixture, what: str) -> None:
    """Median and p99, also in the saved figures."""
    seconds = sorted(benchmark.stats.stats.data)
    us = {q: 1e6 * seconds[int(q / 100 * (len(seconds) - 1))] for q in (50, 99)}
    benchmark.extra_info.update(p50_us=us[50], p99_us=us[99])
    print(f"\n{what}: median {us[50]:.1f} us, p99 {us[99]:.1f} us")  # noqa: T201


def decide_again_and_again(
    benchmark: BenchmarkFixture, scheduler: Scheduler, chunk: ChunkId, what: str
) -> None:
    now = itertools.count(10_000_000)

    def decide() -> None:
        nonlocal chunk
        commands = scheduler.handle(ChunkFinished(chunk, 1000, 10.0), next(now))
        last = commands[-1]
        assert isinstance(last, StartChunk)
        chunk = last.chunk

    benchmark.pedantic(decide, rounds=900, warmup_rounds=20)
    report(benchmark, what)


def test_decision_cost_by_queue_length(
    benchmark: BenchmarkFixture, queue: tuple[Scheduler, ChunkId]
) -> None:
    decide_again_and_again(benchmark, *queue, "the next task starts")


def test_decision_cost_under_all_rules(benchmark: BenchmarkFixture) -> None:
    with frozen():
        queue = a_queue(10_000, all_rules=True)
        decide_again_and_again(benchmark, *queue, "the next task starts, all rules")


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
    report(benchmark, "gives way to an urgent task")


@pytest.mark.parametrize("lifetime", [1_000, 30_000])
def test_decision_cost_by_finished_tasks(benchmark: BenchmarkFixture, lifetime: int) -> None:
    """As above after many tasks have come and gone. Only the decision is timed, not the
    submission that keeps the queue at its length."""
    scheduler, chunk = a_queue(1000)
    task_ids = itertools.count(1001)
    now = itertools.count(10_000_000)

    def submit() -> tuple[tuple[ChunkId], dict[str, object]]:
        scheduler.handle(TaskSubmitted(a_task(next(task_ids))), next(now))
        return (chunk,), {}

    def decide(ended: ChunkId) -> None:
        nonlocal chunk
        last = scheduler.handle(ChunkFinished(ended, 1000, 10.0), next(now))[-1]
        assert isinstance(last, StartChunk)
        chunk = last.chunk

    for _ in range(lifetime):
        submit()
        decide(chunk)
    with frozen():
        benchmark.pedantic(decide, setup=submit, rounds=900)
    report(benchmark, f"after {lifetime} finished tasks")


@pytest.mark.parametrize("size", SIZES)
def test_submission_cost_and_collectors_pauses_while_a_queue_grows(
    benchmark: BenchmarkFixture, size: int
) -> None:
    """What a burst of submissions costs a task, and the longest time it stands still for."""
    pauses: list[float] = []
    since = 0.0

    def watch(phase: str, info: dict[str, int]) -> None:
        nonlocal since
        if phase == "start":
            since = time.perf_counter()
        else:
            pauses.append(time.perf_counter() - since)

    with frozen():
        gc.callbacks.insert(0, watch)
        try:
            benchmark.pedantic(a_queue, args=(size,), rounds=1)
        finally:
            gc.callbacks.remove(watch)
    us = 1e6 * benchmark.stats.stats.mean / size
    longest_ms = 1e3 * max(pauses, default=0.0)
    benchmark.extra_info.update(submit_us=us, longest_pause_ms=longest_ms)
    print(f"\n{size} submissions: {us:.1f} us each, longest pause {longest_ms:.1f} ms")  # noqa: T201


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
