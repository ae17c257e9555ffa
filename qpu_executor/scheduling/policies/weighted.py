"""Weighted shortest work first: the least sum of completion times, each times its weight.

Classes aren't strict ranks here, they are weights: with production at 5, a production
task goes before a development task unless that is five times shorter. A task that waits
for `age_cap_s` goes first, whatever its class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qpu_executor.model.values import Instant
from qpu_executor.scheduling.policies.ageing import of_age_at
from qpu_executor.scheduling.state import Bucket, Key, Task


@dataclass(frozen=True, slots=True)
class Weighted:
    """`weights`: of classes, by name; the others have 1."""

    weights: Mapping[str, float] = field(default_factory=lambda: {"production": 5.0})
    age_cap_s: float = 86_400.0

    def task_key(self, task: Task, now: Instant) -> Key:
        """Least expected QPU-seconds for its weight first; then by age once it is old."""
        if now >= self.rerank_at(task):
            return (0, task.ready_at)
        return (1, task.work_s / self.weights.get(task.bucket.job_class.name, 1.0))

    def rerank_at(self, task: Task) -> Instant:
        """When it is old enough to go first."""
        return of_age_at(task.ready_at, self.age_cap_s)

    def bucket_key(self, bucket: Bucket, now: Instant) -> Key:
        """All are equal: the weights are in the tasks' keys."""
        return ()

    def next_change(self, now: Instant) -> Instant | None:
        """Never."""
        return None
