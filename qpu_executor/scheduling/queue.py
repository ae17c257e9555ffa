"""Queued tasks in their order, and for every open QPU an index of who goes first there.

A decision looks at one head of each class, never at all buckets. A QPU that takes
nothing has no index until it opens.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from heapq import heappush

from qpu_executor.model.states import TaskState
from qpu_executor.model.values import Instant, JobClass, TaskSpec
from qpu_executor.scheduling.agenda import Agenda
from qpu_executor.scheduling.boundaries import Blocked
from qpu_executor.scheduling.buckets import SLACK, Buckets
from qpu_executor.scheduling.fair_share import UsageLedger
from qpu_executor.scheduling.head_index import HeadIndex
from qpu_executor.scheduling.ordering import Ordering
from qpu_executor.scheduling.reranking import Reranking
from qpu_executor.scheduling.state import Bucket, Entry, Head, Key, Requirements, Task

LOOK_FOR_LAYOUT = 32
"""Heads that are looked at for one with the loaded layout."""

Gate = Callable[[Task, str, Instant], Blocked | None]
"""Why no chunk of a task may start on a QPU (by name) now; None if one may."""


class Queue:
    """All tasks that take part in the order. `tasks`: the core's live tasks by id.

    `usage`: where accounts and users stand. `gate`: what may start; `agenda`: gets the
    instants at which that may change.
    """

    def __init__(
        self,
        tasks: dict[int, Task],
        ordering: Ordering,
        usage: UsageLedger,
        gate: Gate,
        agenda: Agenda,
    ) -> None:
        self._tasks = tasks
        self._ordering = ordering
        self._gate = gate
        self._agenda = agenda
        self._buckets = Buckets(tasks, usage)
        self._indexes: dict[str, HeadIndex] = {}
        self._kept: dict[str, str] = {}
        self._reranking = Reranking(tasks, ordering)

    # -- tasks ------------------------------------------------------------------

    def admit(self, spec: TaskSpec, job_class: JobClass) -> Task:
        """Make a new task alive; it has no state and doesn't wait yet."""
        return self._buckets.admit(spec, job_class)

    def forget(self, task: Task) -> None:
        """Drop a task that has ended."""
        self._reranking.forget(task.task_id)
        if self._buckets.forget(task):
            self._trim_all()

    def narrow(self, task: Task, qpus: tuple[str, ...]) -> None:
        """From now on a task that doesn't wait goes to these QPUs only."""
        if self._buckets.move(task, qpus):
            self._trim_all()

    def rebind(
        self, task: Task, session_id: str | None, session_ends_at: Instant | None, now: Instant
    ) -> None:
        """Let a task belong to another session; one that waits keeps its place."""
        entry, waits = task.entry, task.state is TaskState.QUEUED and task.entry is not None
        if waits:
            task.entry = None
            self.pull(task, now)
        self._buckets.rebind(task, session_id, session_ends_at)
        for qpu, index in self._indexes.items():
            index.rebuild(self._heads(qpu))  # an entry is in one bucket only, stale ones included
        if waits and entry is not None:
            task.entry = (*entry[:-1], task.task_id)  # a new one: the old heap may hold the first
            self.push(task, now)

    def rank(self, task: Task, now: Instant) -> None:
        """Freeze the key of a task that becomes ready now."""
        again = task.ready_at != 0
        task.ready_at = task.submitted_at if task.submitted_at == now else now
        task.entry = (*self._ordering.task_key(task, now), task.task_id)
        self._reranking.add(task, again=again)

    def next_rerank(self) -> Instant | None:
        """When the first key has to be asked for again."""
        return self._reranking.next_at()

    def rerank(self, now: Instant) -> None:
        """Ask for the keys of the tasks whose time has come."""
        for task in self._reranking.take(now):
            task.entry = (*self._ordering.task_key(task, now), task.task_id)
            if task.state is TaskState.QUEUED:
                heappush(task.bucket.heap, task.entry)
                self.show(task.bucket, now)

    def push(self, task: Task, now: Instant) -> None:
        """Let a ranked task wait (its state is QUEUED)."""
        bucket, entry = task.bucket, task.entry
        assert entry is not None
        bucket.queued += 1
        heappush(bucket.heap, entry)
        head = bucket.head
        if head is None or entry < head[1]:
            self.show(bucket, now)

    def pull(self, task: Task, now: Instant) -> None:
        """Let a task wait no longer. Its state is no longer QUEUED, or its entry None."""
        bucket = task.bucket
        bucket.queued -= 1
        self._buckets.tidy(bucket)
        head = bucket.head
        if head is not None and head[1][-1] == task.task_id:
            self.show(bucket, now)

    def show(self, bucket: Bucket, now: Instant) -> None:
        """Find the bucket's first task and show it to the open QPUs that it may go to.

        For when that has changed, or what it wants of a QPU, or whether it is held back.
        """
        entry = self._buckets.first(bucket)
        if entry is None:
            bucket.head = None
            return
        head = bucket.head = (self._ordering.bucket_key(bucket, now), entry, bucket)
        for qpu in bucket.needs.qpus:
            index = self._indexes.get(qpu)
            if index is not None:
                index.show(head)
                self._trim(qpu, index)

    # -- decisions --------------------------------------------------------------

    def first(
        self,
        qpu: str,
        now: Instant,
        classes: Collection[str] | None = None,
        *,
        look_only: bool = False,
    ) -> Head | None:
        """The head that goes first on a QPU, of these classes (None: all); None where
        nothing of them may start.

        Heads that may not are parked on the way, unless somebody only looks: then
        nothing changes that a later decision could notice.
        """
        index = self._indexes.get(qpu)
        if index is None:
            return None
        if qpu in self._kept:
            return self._first_of(self._kept[qpu], qpu, now, classes)
        passed: list[Head] = []
        while (head := index.first(classes)) is not None:
            bucket = head[2]
            if self._ordering.bucket_key(bucket, now) != head[0]:
                self.show(bucket, now)
                continue
            blocked = self._gate(self._tasks[head[1][-1]], qpu, now)  # type: ignore[index]
            if blocked is None:
                break
            index.take(head)
            if look_only:
                passed.append(head)
                continue
            index.park(head, blocked.until)
            if blocked.until is not None:
                self._agenda.add(blocked.until, qpu)
        for one in passed:
            index.show(one)
        return head

    def classes(self, qpu: str) -> list[JobClass]:
        """The classes of which something waits for an open QPU, unless it is parked."""
        index = self._indexes.get(qpu)
        return [] if index is None else index.classes()

    def equal_with_layout(self, qpu: str, head: Head, layout: str, now: Instant) -> Head | None:
        """A head of the same class and bucket key that has a layout; None if none is near.

        Only the first entries of the index are looked at, so that this costs no scan.
        """
        found: Head | None = None
        index = self._indexes.get(qpu)
        near = [] if index is None else index.top(head[2].job_class.name, LOOK_FOR_LAYOUT)
        for other in near:
            bucket = other[2]
            if bucket.head is not other or bucket.needs.layout != layout or other[0] != head[0]:
                continue
            if self._ordering.bucket_key(bucket, now) != other[0]:
                continue
            if self._gate(self._tasks[int(other[1][-1])], qpu, now) is not None:
                continue
            if found is None or other < found:
                found = other
        return found

    def goes_before(self, task: Task, head: Head, now: Instant) -> bool:
        """True if a ranked task that doesn't wait goes before a head."""
        assert task.entry is not None
        key = self._ordering.bucket_key(task.bucket, now)
        return (key, task.entry) < (head[0], head[1])

    def keep_for(self, qpu: str, session_id: str | None) -> None:
        """Only this session's tasks go to the QPU; None: everybody's."""
        if session_id is None:
            self._kept.pop(qpu, None)
        else:
            self._kept[qpu] = session_id

    def waits_of(self, session_id: str, qpu: str) -> bool:
        """True if a task of a session waits that names the QPU."""
        buckets = self._buckets.of_session(session_id)
        return any(bucket.queued and qpu in bucket.needs.qpus for bucket in buckets)

    def unpark(self, qpu: str, now: Instant, *, due_only: bool = False) -> None:
        """The QPU's calendar has changed, or (`due_only`) an instant of it has come: look
        again at what was parked.
        """
        index = self._indexes.get(qpu)
        if index is not None:
            index.unpark(now if due_only else None)

    # -- what changes many buckets ----------------------------------------------

    def open(self, qpu: str, now: Instant) -> None:
        """The QPU takes chunks: index the buckets that can go there."""
        if qpu not in self._indexes:
            self._indexes[qpu] = HeadIndex(self._heads(qpu))

    def close(self, qpu: str) -> None:
        """The QPU takes nothing: park its buckets."""
        self._indexes.pop(qpu, None)

    def refresh(self, now: Instant, accounts: Collection[str] | None = None) -> None:
        """Look at the key of every bucket again, or of these accounts' buckets."""
        for bucket in self._buckets.values():
            if accounts is not None and bucket.account not in accounts:
                continue
            head = bucket.head
            if head is not None and self._ordering.bucket_key(bucket, now) != head[0]:
                self.show(bucket, now)

    def reclass(self, classes: dict[str, JobClass], now: Instant) -> None:
        """The definitions of the classes have changed (a class that is gone keeps its last one)."""
        for bucket in self._buckets.values():
            bucket.job_class = classes.get(bucket.job_class.name, bucket.job_class)
        self.refresh(now)

    # -- views ------------------------------------------------------------------

    def buckets(self) -> Iterator[tuple[tuple[str, str, str, Requirements], Bucket]]:
        """All buckets with a live task."""
        return self._buckets.items()

    def waiting(self, bucket: Bucket, below: Entry | None = None) -> Iterator[int]:
        """Ids of the bucket's waiting tasks, in no order; `below`: only those before it."""
        return self._buckets.waiting(bucket, below)

    def index(self, qpu: str) -> HeadIndex | None:
        """A QPU's index; None where the QPU is closed (for checks)."""
        return self._indexes.get(qpu)

    def kept(self, qpu: str) -> str | None:
        """The session that a QPU is kept for now."""
        return self._kept.get(qpu)

    def blocked(self, task: Task, qpu: str, now: Instant) -> Blocked | None:
        """Why no chunk of a task may start on an open QPU now; None if one may."""
        return self._gate(task, qpu, now)

    def key(self, bucket: Bucket, now: Instant) -> Key:
        """A bucket's place among the buckets, now."""
        return self._ordering.bucket_key(bucket, now)

    # -- inside -----------------------------------------------------------------

    def _first_of(
        self, session_id: str, qpu: str, now: Instant, classes: Collection[str] | None
    ) -> Head | None:
        """The first head among a session's buckets that may start."""
        found: Head | None = None
        for bucket in tuple(self._buckets.of_session(session_id)):
            if qpu not in bucket.needs.qpus:
                continue
            if classes is not None and bucket.job_class.name not in classes:
                continue
            head = bucket.head
            if head is not None and self._ordering.bucket_key(bucket, now) != head[0]:
                self.show(bucket, now)
                head = bucket.head
            if head is None or self._gate(self._tasks[int(head[1][-1])], qpu, now) is not None:
                continue
            if found is None or head < found:
                found = head
        return found

    def _trim_all(self) -> None:
        for qpu, index in self._indexes.items():
            self._trim(qpu, index)

    def _trim(self, qpu: str, index: HeadIndex) -> None:
        """Rebuild an index that is mostly stale."""
        if index.size > 2 * len(self._buckets) + SLACK:
            index.rebuild(self._heads(qpu))

    def _heads(self, qpu: str) -> list[Head]:
        return [
            bucket.head
            for bucket in self._buckets.values()
            if bucket.head is not None and qpu in bucket.needs.qpus
        ]
