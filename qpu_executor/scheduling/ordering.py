"""Who goes first: the interface of an ordering policy, and ordering by priority.

A policy is a pair of pure functions. Tasks of one bucket are told apart by
`task_key`, frozen when the task becomes ready, since keys that move while a
task runs make tasks chase each other off the QPU. Buckets are told apart by
`bucket_key`, which is asked again for the first in line at every decision.
Together they are one order: the smallest (bucket key, task key, task id) first.
"""

from __future__ import annotations

from typing import Protocol

from qpu_executor.model.values import Instant
from qpu_executor.scheduling.state import Bucket, Key, Task


class Ordering(Protocol):
    """An ordering policy. It reads, and calls nobody."""

    def task_key(self, task: Task, now: Instant) -> Key:
        """A task's place within its bucket, from when it becomes ready until it ends or is held.

        Asked when it becomes ready, and at the instant that `rerank_at` named.
        """

    def rerank_at(self, task: Task) -> Instant | None:
        """When to ask once more for the key of a task that still waits then; None: never.

        Asked when the task becomes ready. This is how age and deadlines get their due.
        """

    def bucket_key(self, bucket: Bucket, now: Instant) -> Key:
        """A bucket's place among the buckets, now.

        A key that has grown is noticed at the next decision. One that may have
        shrunk is noticed at the instant that `next_change` names.
        """

    def next_change(self, now: Instant) -> Instant | None:
        """When the bucket keys have to be looked at again although nothing happened."""


class Priority:
    """The class's priority, then the task's, then age."""

    def task_key(self, task: Task, now: Instant) -> Key:
        """Higher priority first, then the older task."""
        return (-task.priority, task.submitted_at)

    def rerank_at(self, task: Task) -> Instant | None:
        """Never: age counts from the beginning."""
        return None

    def bucket_key(self, bucket: Bucket, now: Instant) -> Key:
        """Higher class first."""
        return (-bucket.job_class.priority,)

    def next_change(self, now: Instant) -> Instant | None:
        """Never: nothing here depends on the time."""
        return None
