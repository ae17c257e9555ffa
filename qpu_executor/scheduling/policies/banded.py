"""The shipped policy: class, then fair-share band, then the least work, bounded by age.

The class's priority comes first. Within a class, whoever is far above its share
goes behind the others (`fair_share.py`); that is looked at live. What is left is
decided by the QPU-seconds that the task was expected to need when it became
ready, the least first: this key is frozen, since keys that move while a task
runs make tasks chase each other off the QPU.

A task that has waited for the age cap, or whose latest start for its deadline is
near, goes before all others of its class and band; among such, the older first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from qpu_executor.model.values import MICROSECONDS, Instant
from qpu_executor.scheduling.policies.ageing import of_age_at
from qpu_executor.scheduling.state import Bucket, Key, Task


@lru_cache(maxsize=1024)
def _bucket_key(priority: int, over: int, user_raised: bool) -> Key:
    """Remembered because all buckets share a few of them: that saves memory."""
    return (-priority, over - user_raised, user_raised)


@dataclass(frozen=True, slots=True)
class Banded:
    """`age_cap_s`: seconds of waiting after which a task goes first within class and band.

    `deadline_margin`: a task with a deadline goes first from so many times its
    expected work before it.
    """

    age_cap_s: float = 86_400.0
    deadline_margin: float = 2.0

    def task_key(self, task: Task, now: Instant) -> Key:
        """Users may put their task back (a priority below 0), not push it; then age, work."""
        back = 2 * max(0, -task.priority)
        if now >= self.rerank_at(task):
            return (back, task.ready_at)
        return (back + 1, task.work_s)

    def rerank_at(self, task: Task) -> Instant:
        """When it is old enough, or its deadline near enough, to go first."""
        at = of_age_at(task.ready_at, self.age_cap_s)
        if task.hints is not None and task.hints.deadline_at is not None:
            lead_s = self.deadline_margin * task.work_s
            at = min(at, task.hints.deadline_at - round(lead_s * MICROSECONDS))
        return at

    def bucket_key(self, bucket: Bucket, now: Instant) -> Key:
        """Higher class first, then those within their share: the account, then the user."""
        user = bucket.user
        return _bucket_key(bucket.job_class.priority, user.over, user.raised)

    def next_change(self, now: Instant) -> Instant | None:
        """Never: bands move when somebody is charged."""
        return None
