"""Strict fair share: class, then whoever has had the least for its share, then age.

Accounts are compared from the top of the tree down, each by its decayed usage over its
shares, then the users of an account in the same way. The comparison is live, so
that the QPU changes hands at nearly every chunk while several accounts have work.

That is as fair as it gets and costs utilisation: tasks are put aside half done, and
nothing gets the short ones out of the way. A closed batch dropped from 97 to 91 %
utilisation; `banded` keeps nearly all of the fairness without that.
"""

from __future__ import annotations

from dataclasses import dataclass

from qpu_executor.model.values import Instant
from qpu_executor.scheduling.state import Bucket, Key, Task


@dataclass(frozen=True, slots=True)
class FairShare:
    """Least decayed usage for its share first, within a class."""

    def task_key(self, task: Task, now: Instant) -> Key:
        """The older first."""
        return (task.ready_at,)

    def rerank_at(self, task: Task) -> Instant | None:
        """Never: usage decays, so everybody's turn comes."""
        return None

    def bucket_key(self, bucket: Bucket, now: Instant) -> Key:
        """Higher class first, then the smaller load: of the top account down to the user."""
        return (-bucket.job_class.priority, *bucket.user.load())

    def next_change(self, now: Instant) -> Instant | None:
        """Never: loads decay alike, so their order moves only when somebody is charged."""
        return None
