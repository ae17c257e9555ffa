"""Queued tasks in buckets, and for every open QPU an index of the buckets' heads.

A decision looks at one head, never at all buckets. Heaps are lazy: what is no
longer true stays inside until it reaches the top, and a heap is rebuilt when
more than about half of it is stale. A QPU that takes nothing has no index: its
buckets are parked until it opens.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from qpu_executor.errors import InternalError
from qpu_executor.model.states import TaskState
from qpu_executor.model.values import Instant, JobClass, TaskSpec
from qpu_executor.scheduling.ordering import Ordering
from qpu_executor.scheduling.state import Bucket, Entry, Head, Key, Requirements, Task

SLACK = 64
"""Stale entries that a small heap may hold."""

_BucketName = tuple[str, str, str, Requirements]


class Queue:
    """All buckets. `tasks`: the core's live tasks by id ; they enter and leave here."""

    def __init__(self, tasks: dict[int, Task], ordering: Ordering) -> None:
        self._tasks = tasks
        self._ordering = ordering
        self._buckets: dict[_BucketName, Bucket] = {}
        self._index: dict[str, list[Head]] = {}

    # -- tasks ------------------------------------------------------------------

    def admit(self, spec: TaskSpec, job_class: JobClass) -> Task:
        """Make a new task alive, in its bucket; it has no state and doesn't wait yet."""
        if not spec.qpus or spec.shots < 1:
            raise InternalError("admitted without a QPU or shots", where=f"task {spec.task_id}")
        needs = Requirements(spec.qpus)
        name = (spec.job_class, spec.account, spec.owner, needs)
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = Bucket(job_class, spec.account, spec.owner, needs)
            self._buckets[name] = bucket
        bucket.live += 1
        task = Task(
            task_id=spec.task_id,
            bucket=bucket,
            shots=spec.shots,
            priority=spec.priority,
            submitted_at=spec.submitted_at,
            divisible=spec.divisible,
            session_id=spec.session_id,
        )
        self._tasks[spec.task_id] = task
        return task

    def forget(self, task: Task) -> None:
        """Drop a task that has ended, and its bucket with the last one."""
        del self._tasks[task.task_id]
        bucket = task.bucket
        bucket.live -= 1
        if not bucket.live:
            del self._buckets[bucket.job_class.name, bucket.account, bucket.owner, bucket.needs]
            for qpu in bucket.needs.qpus:
                self._trim(qpu)

    def rank(self, task: Task, now: Instant) -> None:
        """Freeze the key of a task that becomes ready."""
        task.entry = (*self._ordering.task_key(task, now), task.task_id)

    def push(self, task: Task, now: Instant) -> None:
        """Let a ranked task wait (its state is QUEUED)."""
        bucket, entry = task.bucket, task.entry
        assert entry is not None
        bucket.queued += 1
        heappush(bucket.heap, entry)
        head = bucket.head
        if head is None or entry < head[1]:
            self._reindex(bucket, now)

    def pull(self, task: Task, now: Instant) -> None:
        """Let a task wait no longer. Its state is no longer QUEUED, or its entry None."""
        bucket = task.bucket
        bucket.queued -= 1
        if len(bucket.heap) > 2 * bucket.queued + SLACK:
            bucket.heap = [entry for entry in bucket.heap if self._waits(entry)]
            heapify(bucket.heap)
        head = bucket.head
        if head is not None and head[1][-1] == task.task_id:
            self._reindex(bucket, now)

    # -- decisions --------------------------------------------------------------

    def best(self, qpu: str, now: Instant) -> Head | None:
        """The head that goes first on a QPU; None where nothing waits for it, or it is closed."""
        while index := self._index.get(qpu):
            head = index[0]
            bucket = head[2]
            if bucket.head is not head:
                heappop(index)
            elif self._ordering.bucket_key(bucket, now) != head[0]:
                self._reindex(bucket, now)
            else:
                return head
        return None

    def goes_before(self, task: Task, head: Head, now: Instant) -> bool:
        """True if a ranked task that doesn't wait goes before a head."""
        assert task.entry is not None
        key = self._ordering.bucket_key(task.bucket, now)
        return (key, task.entry) < (head[0], head[1])

    # -- what changes many buckets ----------------------------------------------

    def open(self, qpu: str, now: Instant) -> None:
        """The QPU takes chunks: index the buckets that can go there."""
        if qpu not in self._index:
            self._index[qpu] = self._heads(qpu)

    def close(self, qpu: str) -> None:
        """The QPU takes nothing: park its buckets."""
        self._index.pop(qpu, None)

    def refresh(self, now: Instant) -> None:
        """Look at the key of every bucket again."""
        for bucket in self._buckets.values():
            head = bucket.head
            if head is not None and self._ordering.bucket_key(bucket, now) != head[0]:
                self._reindex(bucket, now)

    def reclass(self, classes: dict[str, JobClass], now: Instant) -> None:
        """The definitions of the classes have changed (a class that is gone keeps its last one)."""
        for bucket in self._buckets.values():
            bucket.job_class = classes.get(bucket.job_class.name, bucket.job_class)
        self.refresh(now)

    # -- views ------------------------------------------------------------------

    def buckets(self) -> Iterator[tuple[_BucketName, Bucket]]:
        """All buckets with a live task."""
        return iter(self._buckets.items())

    def index(self, qpu: str) -> list[Head] | None:
        """A QPU's index, stale heads included; None where the QPU is closed (for checks)."""
        return self._index.get(qpu)

    def key(self, bucket: Bucket, now: Instant) -> Key:
        """A bucket's place among the buckets, now."""
        return self._ordering.bucket_key(bucket, now)

    def waiting(self, bucket: Bucket, below: Entry | None = None) -> Iterator[int]:
        """Ids of the bucket's waiting tasks, in no order; `below`: only those before it."""
        heap = bucket.heap
        todo = [0] if heap else []
        while todo:
            i = todo.pop()
            entry = heap[i]
            if below is not None and entry >= below:
                continue
            if self._waits(entry):
                yield int(entry[-1])
            todo += range(2 * i + 1, min(2 * i + 3, len(heap)))

    # -- inside -----------------------------------------------------------------

    def _waits(self, entry: Entry) -> bool:
        task = self._tasks.get(entry[-1])  # type: ignore[arg-type]
        return task is not None and task.entry is entry and task.state is TaskState.QUEUED

    def _reindex(self, bucket: Bucket, now: Instant) -> None:
        """Find the bucket's first task and show it to the open QPUs."""
        heap = bucket.heap
        while heap and not self._waits(heap[0]):
            heappop(heap)
        if not heap:
            bucket.head = None
            return
        head = (self._ordering.bucket_key(bucket, now), heap[0], bucket)
        bucket.head = head
        for qpu in bucket.needs.qpus:
            index = self._index.get(qpu)
            if index is not None:
                heappush(index, head)
                self._trim(qpu)

    def _trim(self, qpu: str) -> None:
        index = self._index.get(qpu)
        if index is not None and len(index) > 2 * len(self._buckets) + SLACK:
            self._index[qpu] = self._heads(qpu)

    def _heads(self, qpu: str) -> list[Head]:
        heads = [
            bucket.head
            for bucket in self._buckets.values()
            if bucket.head is not None and qpu in bucket.needs.qpus
        ]
        heapify(heads)
        return heads
