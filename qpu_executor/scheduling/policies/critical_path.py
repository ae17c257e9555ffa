"""The longest remaining job first: the shortest makespan of a closed batch.

A task's key is the work, classical and quantum, that follows from it on to the end
of its job, as its workflow said (`TaskSpec.path_s`); without that, its own expected
QPU-seconds. It is frozen when the task becomes ready. Classes count for nothing.

For a batch that is known as a whole, this comes within half a per cent of the shortest
makespan. In open operation it is harmful: it favours long jobs over short ones, and
was measured to make everybody wait 2.7 times as long as first come, first served.
"""

from __future__ import annotations

from dataclasses import dataclass

from qpu_executor.model.values import Instant
from qpu_executor.scheduling.state import Bucket, Key, Task


@dataclass(frozen=True, slots=True)
class CriticalPath:
    """The task with the most work to come goes first."""

    def task_key(self, task: Task, now: Instant) -> Key:
        """The longer path first, then the older task."""
        path_s = None if task.hints is None else task.hints.path_s
        return (-(task.work_s if path_s is None else path_s), task.ready_at)

    def rerank_at(self, task: Task) -> Instant | None:
        """Never: a batch ends."""
        return None

    def bucket_key(self, bucket: Bucket, now: Instant) -> Key:
        """All are equal."""
        return ()

    def next_change(self, now: Instant) -> Instant | None:
        """Never."""
        return None
