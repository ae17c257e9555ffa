"""Weighted shortest work first: the least sum of completion times, each times its weight.

Classes aren't strict ranks here, they are weights: with production at 5, a production
task goes before a development task unless that is five times shorter. A task that waits
for `age_cap_s` goes first, whatever its class.

A task that much work follows (`TaskSpec.path_s`, or at least the think time that its session
speaks of) may count for up to `path_bonus` times its weight, since the sooner it is done, the
sooner that work can go on beside others' shots. Users say how much follows, and nobody checks
it: whoever lies wins no more than that factor, and a task that says nothing loses nothing
but it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qpu_executor.errors import ConfigError
from qpu_executor.model.values import Instant
from qpu_executor.scheduling.policies.ageing import of_age_at
from qpu_executor.scheduling.state import Bucket, Key, Task

_MOST_BONUS = 100.0


@dataclass(frozen=True, slots=True)
class Weighted:
    """`weights`: of classes, by name; the others have 1. `path_bonus`: 1 for none."""

    weights: Mapping[str, float] = field(default_factory=lambda: {"production": 5.0})
    age_cap_s: float = 86_400.0
    path_bonus: float = 1.0

    def __post_init__(self) -> None:
        """Raises ConfigError for a bonus that would be a malus."""
        if not 1.0 <= self.path_bonus <= _MOST_BONUS:
            raise ConfigError(
                f"path_bonus: {self.path_bonus:g}",
                where="policy",
                expected=f"1 (for none) to {_MOST_BONUS:g}",
            )

    def task_key(self, task: Task, now: Instant) -> Key:
        """Least expected QPU-seconds for its weight first; then by age once it is old."""
        if now >= self.rerank_at(task):
            return (0, task.ready_at)
        weight = self.weights.get(task.bucket.job_class.name, 1.0) * self._bonus(task)
        return (1, task.work_s / weight)

    def _bonus(self, task: Task) -> float:
        """From 1 (nothing follows, as far as anybody says) towards `path_bonus`."""
        hints = task.hints
        if hints is None or self.path_bonus <= 1.0:
            return 1.0
        if hints.path_s is not None:
            rest_s = max(0.0, hints.path_s - task.work_s)
        else:
            rest_s = (hints.session.think_s or 0.0) if hints.session is not None else 0.0
        if rest_s <= 0.0:
            return 1.0
        return 1.0 + (self.path_bonus - 1.0) * rest_s / (rest_s + task.work_s)

    def rerank_at(self, task: Task) -> Instant:
        """When it is old enough to go first."""
        return of_age_at(task.ready_at, self.age_cap_s)

    def bucket_key(self, bucket: Bucket, now: Instant) -> Key:
        """All are equal: the weights are in the tasks' keys."""
        return ()

    def next_change(self, now: Instant) -> Instant | None:
        """Never."""
        return None
