"""Who goes before a task, one by one, and how much work that is: computed when asked. Pure.

Rank, list and seconds come from one look at the state. Of very many tasks of one
kind only some are looked at, so that the answer's cost stays bounded; the rest is
taken to be like them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush, nsmallest
from itertools import islice

from qpu_executor.model.states import TaskState
from qpu_executor.model.values import Instant
from qpu_executor.scheduling.queue import Queue
from qpu_executor.scheduling.shot_times import expected_shot_s
from qpu_executor.scheduling.state import Bucket, CoreState, Entry, Key, Task

LOOKED_AT = 5000
"""Tasks of a bucket that are looked at for the seconds that all of them need."""


@dataclass(frozen=True, slots=True)
class AheadTask:
    """A task that goes before. `remaining_s`: of QPU time, None where no rate is known."""

    task_id: int
    owner: str
    job_class: str
    running: bool
    remaining_shots: int
    remaining_s: float | None
    why_first: str


@dataclass(frozen=True, slots=True)
class Lineup:
    """`ahead`: the first of those before the task; `total`: all; `waiting`: that wait themselves.

    `ahead_s`: QPU-seconds until the task's turn; `own_s`: that the task itself needs.
    None: nobody knows. What runs is ahead, also where it gives way after its chunk.
    """

    ahead: tuple[AheadTask, ...]
    total: int
    waiting: int
    ahead_s: float | None
    own_s: float | None


def lineup(state: CoreState, queue: Queue, task_id: int, now: Instant, limit: int) -> Lineup | None:
    """Who goes before a task; None if it isn't alive or has no place in the order."""
    task = state.tasks.get(task_id)
    if task is None or task.entry is None or task.state is not TaskState.QUEUED:
        return None
    mine = (queue.key(task.bucket, now), task.entry)
    usable = set(task.bucket.needs.qpus)
    first: list[tuple[bool, Key, Entry, Task]] = []
    total, waits, ahead_s = 0, 0, 0.0
    known = True

    def count(
        others: list[Task], how_many: int, key: Key, named: Iterable[Task], *, runs: bool
    ) -> None:
        nonlocal total, waits, ahead_s, known
        total += how_many
        waits += 0 if runs else how_many
        stays = not runs or (key, others[0].entry or ()) < mine
        seconds = [_remaining_s(state, other, to_the_end=stays) for other in others]
        known = known and None not in seconds
        mean_s = sum(s for s in seconds if s is not None) / max(1, len(seconds))
        ahead_s += mean_s * how_many
        first.extend((not runs, key, other.entry or (), other) for other in named)

    for _, bucket in queue.buckets():
        key = queue.key(bucket, now)
        if key > mine[0] or usable.isdisjoint(bucket.needs.qpus):
            continue
        below = task.entry if key == mine[0] else None
        others, how_many = _some(state, queue, bucket, below)
        if how_many:
            named = islice(in_order(state, bucket, below), limit)
            count(others, how_many, key, named, runs=False)
    for name in sorted(usable & state.qpus.keys()):
        running = [state.tasks[other_id] for other_id in state.qpus[name].running]
        for other in running:
            count([other], 1, queue.key(other.bucket, now), [other], runs=True)
    found = nsmallest(limit, first, key=lambda place: place[:3])
    return Lineup(
        ahead=tuple(_ahead(state, task, mine, key, other) for _, key, _, other in found),
        total=total,
        waiting=waits,
        ahead_s=ahead_s if known else None,
        own_s=_remaining_s(state, task),
    )


def _some(
    state: CoreState, queue: Queue, bucket: Bucket, below: Entry | None
) -> tuple[list[Task], int]:
    """Some tasks of a bucket (up to a bound), and how many there are."""
    ids = queue.waiting(bucket, below)
    some = [state.tasks[one] for one in islice(ids, LOOKED_AT)]
    if below is None:
        return some, bucket.queued
    return some, len(some) + sum(1 for _ in ids)


def in_order(state: CoreState, bucket: Bucket, below: Entry | None) -> Iterator[Task]:
    """The bucket's waiting tasks, the first in line first; the cost follows those taken."""
    heap = bucket.heap
    frontier = [(heap[0], 0)] if heap else []
    while frontier:
        entry, i = heappop(frontier)
        if below is not None and entry >= below:
            return
        task = state.tasks.get(int(entry[-1]))
        if task is not None and task.entry is entry and task.state is TaskState.QUEUED:
            yield task
        for child in range(2 * i + 1, min(2 * i + 3, len(heap))):
            heappush(frontier, (heap[child], child))


def _remaining_s(state: CoreState, task: Task, *, to_the_end: bool = True) -> float | None:
    """Seconds that a task still needs (or its chunk at most), by its hint or a QPU's rate."""
    seconds = _all_s(state, task)
    if seconds is None or to_the_end:
        return seconds
    return min(seconds, task.bucket.job_class.chunk_s)


def _all_s(state: CoreState, task: Task) -> float | None:
    known = task.measured
    names = task.bucket.needs.qpus if known is None else (known.qpu, *task.bucket.needs.qpus)
    qpus = (state.qpus.get(name) for name in names)
    shot_s = (expected_shot_s(task, qpu) for qpu in qpus if qpu is not None)
    first = next((one for one in shot_s if one is not None), task.shot_s)
    return None if first is None else task.remaining * first


def _ahead(
    state: CoreState, task: Task, mine: tuple[Key, Entry], key: Key, other: Task
) -> AheadTask:
    runs = other.state is TaskState.RUNNING
    goes_first = (key, other.entry or ()) < mine
    why = "" if not goes_first else _why_first(task, mine, key, other)
    if runs:
        why = f"it runs; {why}" if why else "it runs, until the end of its chunk"
    return AheadTask(
        other.task_id,
        other.bucket.owner,
        other.bucket.job_class.name,
        runs,
        other.remaining,
        _remaining_s(state, other),
        why,
    )


def _why_first(task: Task, mine: tuple[Key, Entry], key: Key, other: Task) -> str:
    """What in the two keys decides, in words."""
    its, own = other.bucket, task.bucket
    if key != mine[0]:
        if its.job_class.priority > own.job_class.priority:
            return f"class {its.job_class.name!r} goes before class {own.job_class.name!r}"
        if its.user.over < own.user.over:
            return "its account and user have used less of their share"
        return "the site's policy puts its group first"
    pairs = zip(other.entry or (), task.entry or (), strict=False)
    at, (theirs, ours) = next(
        ((i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1]), (0, (0, 0))
    )
    if at + 1 == len(mine[1]):
        return "it was submitted earlier"
    if theirs in (other.ready_at, other.submitted_at):
        return "it has waited longer"
    if theirs == other.work_s and ours == task.work_s:
        return "it needs less QPU time"
    if other.priority > task.priority:
        return "its priority within the class is higher"
    return "the site's policy puts it first"
