"""What others offer today, in the same rehearsal, to compare with.

None of them divides a task, so their orders need no live keys: each is a frozen
key of every task, as short as what it stands for.
"""

from __future__ import annotations

from functools import partial

from qpu_executor.model.values import Instant
from qpu_executor.scheduling.scheduler import Scheduler
from qpu_executor.scheduling.state import Bucket, Key, Task
from qpu_executor.simulation.policy import Policy


class _Fifo:
    """First come, first served."""

    def task_key(self, task: Task, now: Instant) -> Key:
        return (task.submitted_at,)

    def rerank_at(self, task: Task) -> Instant | None:
        return None

    def bucket_key(self, bucket: Bucket, now: Instant) -> Key:
        return ()

    def next_change(self, now: Instant) -> Instant | None:
        return None


class _ShortFirst:
    """The class's priority, then the shortest task."""

    def task_key(self, task: Task, now: Instant) -> Key:
        return (task.shots if task.shot_s is None else task.shots * task.shot_s,)

    def rerank_at(self, task: Task) -> Instant | None:
        return None

    def bucket_key(self, bucket: Bucket, now: Instant) -> Key:
        return (-bucket.job_class.priority,)

    def next_change(self, now: Instant) -> Instant | None:
        return None


def _scheduler(ordering: type[_Fifo] | type[_ShortFirst]) -> Scheduler:
    return Scheduler(ordering=ordering())


EXCLUSIVE = Policy(
    "exclusive",
    "exclusive allocation (one job holds the QPU, as a Slurm GRES gives it)",
    partial(_scheduler, _Fifo),
    divisible=False,
    site_rules=False,
    jobs_at_once=1,
)
FIFO_WHOLE = Policy(
    "fifo-whole",
    "first in, first out, whole tasks",
    partial(_scheduler, _Fifo),
    divisible=False,
    site_rules=False,
)
FIFO_POLLED = Policy(
    "fifo-polled",
    "first in, first out, ends polled for every 5 s (Warden 0.1.0's defaults)",
    partial(_scheduler, _Fifo),
    divisible=False,
    site_rules=False,
    poll_s=5.0,
)
SHORT_FIRST = Policy(
    "priority-short-first",
    "priority, then shortest task, no preemption (qhw-scheduler's best setting)",
    partial(_scheduler, _ShortFirst),
    divisible=False,
    site_rules=False,
)

BASELINES = {one.name: one for one in (EXCLUSIVE, FIFO_WHOLE, FIFO_POLLED, SHORT_FIRST)}
"""By name, as `--policy` takes them."""
