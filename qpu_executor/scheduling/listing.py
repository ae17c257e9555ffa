"""All live tasks in the order in which they are to run: computed when somebody asks. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge
from itertools import chain

from qpu_executor.model.values import Instant
from qpu_executor.scheduling.lineup import in_order
from qpu_executor.scheduling.queue import Queue
from qpu_executor.scheduling.state import Bucket, CoreState, Entry, Key


def running(state: CoreState) -> list[int]:
    """Ids of the tasks that run, by id."""
    return sorted(set(chain.from_iterable(qpu.running for qpu in state.qpus.values())))


def in_line(state: CoreState, queue: Queue, now: Instant) -> Iterator[int]:
    """Ids of the tasks that wait and have a place in the order, the first in line first.

    Lazy: the cost follows those that are taken, besides a little for every bucket. The core
    must not change meanwhile.
    """
    places = [_places(state, bucket, queue.key(bucket, now)) for _, bucket in queue.buckets()]
    return (task_id for _, _, task_id in merge(*places))


def _places(state: CoreState, bucket: Bucket, key: Key) -> Iterator[tuple[Key, Entry, int]]:
    for task in in_order(state, bucket, None):
        assert task.entry is not None
        yield key, task.entry, task.task_id
