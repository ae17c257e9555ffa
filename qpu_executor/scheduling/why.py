"""The whole story of a task's place: its parts, and who goes before it. Pure.

Everything comes from one look at the state, so that rank, parts and those ahead
agree. The cost grows with the number of tasks ahead and of buckets.
"""

from __future__ import annotations

from dataclasses import dataclass

from qpu_executor.model.states import TaskState
from qpu_executor.model.values import MICROSECONDS, Instant
from qpu_executor.scheduling.explain import Waiting, waiting
from qpu_executor.scheduling.fair_share import ShareView, UsageLedger
from qpu_executor.scheduling.minimum_share import MinimumShares
from qpu_executor.scheduling.queue import Queue
from qpu_executor.scheduling.state import CoreState, Key, Task


@dataclass(frozen=True, slots=True)
class Ahead:
    """Tasks of one user and class that go before. `running`: how many of them run now."""

    job_class: str
    account: str
    owner: str
    tasks: int
    running: int


@dataclass(frozen=True, slots=True)
class Why:
    """Where a task stands. `waiting`: None while it runs. `key`: as the policy sees it.

    `account`, `user`: usage against share; `over`: 0 within its share, else how many of
    account, accounts above, and user are raised. `work_s`: QPU-seconds that it was
    expected to need when it became ready; `age_s`: since then. `ahead`: the most urgent
    first. `owed`: the class that goes first now because of its minimum share, if one
    does. `balance_s`: seconds that the task's own class is owed.
    """

    task_id: int
    state: TaskState
    waiting: Waiting | None
    key: Key | None
    job_class: str
    class_priority: int
    account: ShareView
    user: ShareView
    over: int
    work_s: float
    age_s: float
    ahead: tuple[Ahead, ...]
    owed: str | None
    balance_s: float


def why(
    state: CoreState,
    queue: Queue,
    usage: UsageLedger,
    shares: MinimumShares,
    task_id: int,
    now: Instant,
) -> Why | None:
    """Where a task stands now; None if it isn't alive."""
    task = state.tasks.get(task_id)
    if task is None or task.state is None:
        return None
    bucket = task.bucket
    account, user = usage.lines_of(bucket.user, now)
    wanting = {one.job_class.name for _, one in queue.buckets() if one.head is not None}
    return Why(
        task_id=task_id,
        state=task.state,
        waiting=waiting(state, queue, task_id, now),
        key=None if task.entry is None else (*queue.key(bucket, now), *task.entry),
        job_class=bucket.job_class.name,
        class_priority=bucket.job_class.priority,
        account=account,
        user=user,
        over=bucket.user.over,
        work_s=task.work_s,
        age_s=max(0, now - (task.ready_at or task.submitted_at)) / MICROSECONDS,
        ahead=_ahead(state, queue, task, now),
        owed=shares.owed(sorted(wanting)),
        balance_s=shares.balance_s(bucket.job_class.name),
    )


def _ahead(state: CoreState, queue: Queue, task: Task, now: Instant) -> tuple[Ahead, ...]:
    """Who goes before a task that takes part in the order, by class and user."""
    if task.entry is None or task.state is not TaskState.QUEUED:
        return ()
    mine = (queue.key(task.bucket, now), task.entry)
    usable = set(task.bucket.needs.qpus)
    found: dict[tuple[Key, str, str, str], list[int]] = {}

    def count(other: Task, key: Key, tasks: int, running: int) -> None:
        bucket = other.bucket
        name = (key, bucket.job_class.name, bucket.account, bucket.owner)
        counts = found.setdefault(name, [0, 0])
        counts[0] += tasks
        counts[1] += running

    for _, bucket in queue.buckets():
        if bucket.head is None or usable.isdisjoint(bucket.needs.qpus):
            continue
        key, first = queue.key(bucket, now), state.tasks[int(bucket.head[1][-1])]
        if key < mine[0]:
            count(first, key, bucket.queued, 0)
        elif key == mine[0] and bucket.head[1] < task.entry:
            count(first, key, sum(1 for _ in queue.waiting(bucket, below=task.entry)), 0)
    for qpu_name in sorted(usable & state.qpus.keys()):
        for other_id in state.qpus[qpu_name].running:
            other = state.tasks[other_id]
            key = queue.key(other.bucket, now)
            if (key, other.entry or ()) < mine:
                count(other, key, 1, 1)
    return tuple(
        Ahead(job_class, account, owner, tasks, running)
        for (_, job_class, account, owner), (tasks, running) in sorted(found.items())
    )
