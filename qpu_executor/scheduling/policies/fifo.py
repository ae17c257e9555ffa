"""First come, first served: classes and shares count for nothing.

With Warden's habits (one queue, no preemption) this is what a site has without a
second-level scheduler. Class limits, minimum shares and windows hold all the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from qpu_executor.model.values import Instant
from qpu_executor.scheduling.state import Bucket, Key, Task


@dataclass(frozen=True, slots=True)
class Fifo:
    """The task that became ready first goes first, and keeps its place until it ends."""

    def task_key(self, task: Task, now: Instant) -> Key:
        """The older first."""
        return (task.ready_at,)

    def rerank_at(self, task: Task) -> Instant | None:
        """Never: age is all that counts."""
        return None

    def bucket_key(self, bucket: Bucket, now: Instant) -> Key:
        """All are equal."""
        return ()

    def next_change(self, now: Instant) -> Instant | None:
        """Never."""
        return None
