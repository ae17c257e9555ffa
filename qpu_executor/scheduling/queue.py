"""Queued tasks in buckets, and for every open QPU and job class an index of the buckets' heads.

A decision looks at one head of each class, never at all buckets. Heaps are lazy: what is no
longer true stays inside until it reaches the top, and a heap is rebuilt when
more than about half of it is stale. A QPU that takes nothing has no index until it
opens; a head that can't start on an open one is parked (`parking.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from heapq import heapify, heappop, heappush

from qpu_executor.errors import InternalError
from qpu_executor.model.states import OnRecalibration, TaskState
from qpu_executor.model.values import Instant, JobClass, TaskSpec
from qpu_executor.scheduling.agenda import Agenda
from qpu_executor.scheduling.boundaries import Blocked
from qpu_executor.scheduling.fair_share import UsageLedger
from qpu_executor.scheduling.ordering import Ordering
from qpu_executor.scheduling.parking import Parking
from qpu_executor.scheduling.reranking import Reranking
from qpu_executor.scheduling.state import (
    Bucket,
    Entry,
    Head,
    Hints,
    Key,
    Requirements,
    Task,
    TaskClock,
)

SLACK = 64
"""Stale entries that a small heap may hold."""

LOOK_FOR_LAYOUT = 32
"""Heads that are looked at for one with the loaded layout."""

_BucketName = tuple[str, str, str, Requirements]

Gate = Callable[[Task, str, Instant], Blocked | None]
"""Why no chunk of a task may start on a QPU (by name) now; None if one may."""


class Queue:
    """All buckets. `tasks`: the core's live tasks by id ; they enter and leave here.

    `usage`: where accounts and users stand; their buckets point there. `gate`: what
    may start; `agenda`: gets the instants at which that may change.
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
        self._usage = usage
        self._gate = gate
        self._agenda = agenda
        self._parked: dict[str, Parking] = {}
        self._kept: dict[str, str] = {}
        self._of_session: dict[str, dict[Bucket, None]] = {}
        # The few that many buckets share; those of sessions and instants come and go.
        self._known_needs: dict[Requirements, Requirements] = {}
        self._buckets: dict[_BucketName, Bucket] = {}
        self._index: dict[str, dict[str, list[Head]]] = {}
        self._reranking = Reranking(tasks, ordering)

    # -- tasks ------------------------------------------------------------------

    def admit(self, spec: TaskSpec, job_class: JobClass) -> Task:
        """Make a new task alive, in its bucket; it has no state and doesn't wait yet."""
        if not spec.qpus or spec.shots < 1:
            raise InternalError("admitted without a QPU or shots", where=f"task {spec.task_id}")
        needs = requirements(spec)
        if needs.session_id is None and needs.timeless:
            needs = self._known_needs.setdefault(needs, needs)
        name = (spec.job_class, spec.account, spec.owner, needs)
        bucket = self._buckets.get(name)
        if bucket is None:
            user = self._usage.standing(spec.account, spec.owner)
            bucket = Bucket(job_class, spec.account, spec.owner, needs, user)
            user.live += 1
            self._buckets[name] = bucket
            if needs.session_id is not None:
                self._of_session.setdefault(needs.session_id, {})[bucket] = None
        bucket.live += 1
        task = Task(
            task_id=spec.task_id,
            bucket=bucket,
            shots=spec.shots,
            priority=spec.priority,
            submitted_at=spec.submitted_at,
            shot_s=spec.shot_s,
            hints=_hints(spec),
            clock=None if spec.timing is None else TaskClock(spec.timing),
        )
        self._tasks[spec.task_id] = task
        return task

    def forget(self, task: Task) -> None:
        """Drop a task that has ended, and its bucket with the last one."""
        del self._tasks[task.task_id]
        self._reranking.forget(task.task_id)
        bucket = task.bucket
        bucket.live -= 1
        if not bucket.live:
            del self._buckets[bucket.job_class.name, bucket.account, bucket.owner, bucket.needs]
            bucket.user.live -= 1
            session_id = bucket.needs.session_id
            if session_id is not None:
                del self._of_session[session_id][bucket]
                if not self._of_session[session_id]:
                    del self._of_session[session_id]
            for qpu in bucket.needs.qpus:
                self._trim(qpu)

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
                self._reindex(task.bucket, now)

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
        """The head that goes first on a QPU; None where nothing may start. Only looks."""
        return min(self.heads(qpu, now, look_only=True), default=None)

    def heads(self, qpu: str, now: Instant, *, look_only: bool = False) -> list[Head]:
        """The first head of every class that may start on a QPU now, in no order.

        Heads that may not are parked on the way, unless somebody only looks: then
        nothing changes that a later decision could notice.
        """
        by_class = self._index.get(qpu)
        if by_class is None:
            return []
        if qpu in self._kept:
            return self._heads_of(self._kept[qpu], qpu, now)
        found = [self._first(qpu, by_class, name, now, look_only) for name in tuple(by_class)]
        return [head for head in found if head is not None]

    def equal_with_layout(self, qpu: str, head: Head, layout: str, now: Instant) -> Head | None:
        """A head of the same class and bucket key that has a layout; None if none is near.

        Only the first entries of the index are looked at, so that this costs no scan.
        """
        found: Head | None = None
        by_class = self._index.get(qpu, {})
        for other in by_class.get(head[2].job_class.name, ())[:LOOK_FOR_LAYOUT]:
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

    def keep_for(self, qpu: str, session_id: str | None) -> None:
        """Only this session's tasks go to the QPU; None: everybody's."""
        if session_id is None:
            self._kept.pop(qpu, None)
        else:
            self._kept[qpu] = session_id

    def waits_of(self, session_id: str, qpu: str) -> bool:
        """True if a task of a session waits that names the QPU."""
        buckets = self._of_session.get(session_id, ())
        return any(bucket.queued and qpu in bucket.needs.qpus for bucket in buckets)

    def unpark(self, qpu: str, now: Instant, *, due_only: bool = False) -> None:
        """The QPU's calendar has changed, or (`due_only`) an instant of it has come: look
        again at what was parked.
        """
        parking = self._parked.get(qpu)
        by_class = self._index.get(qpu)
        if parking is None or by_class is None or not parking.size:
            return
        for head in parking.take(now) if due_only else parking.take_all():
            heappush(by_class.setdefault(head[2].job_class.name, []), head)

    def reshow(self, task: Task, now: Instant) -> None:
        """What a waiting task wants of a QPU has changed: look at its bucket again."""
        self._reindex(task.bucket, now)

    def show(self, bucket: Bucket, now: Instant) -> None:
        """A bucket was held back and isn't any more: look at it again."""
        self._reindex(bucket, now)

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
        self._parked.pop(qpu, None)

    def refresh(self, now: Instant, accounts: Collection[str] | None = None) -> None:
        """Look at the key of every bucket again, or of these accounts' buckets."""
        for bucket in self._buckets.values():
            if accounts is not None and bucket.account not in accounts:
                continue
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
        by_class = self._index.get(qpu)
        return None if by_class is None else [head for one in by_class.values() for head in one]

    def kept(self, qpu: str) -> str | None:
        """The session that a QPU is kept for now."""
        return self._kept.get(qpu)

    def parked(self, qpu: str) -> list[Head]:
        """What is parked at a QPU, stale heads included (for checks)."""
        parking = self._parked.get(qpu)
        return [] if parking is None else parking.heads()

    def blocked(self, task: Task, qpu: str, now: Instant) -> Blocked | None:
        """Why no chunk of a task may start on an open QPU now; None if one may."""
        return self._gate(task, qpu, now)

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

    def _heads_of(self, session_id: str, qpu: str, now: Instant) -> list[Head]:
        """The first head of every class among a session's buckets that may start."""
        first: dict[str, Head] = {}
        for bucket in tuple(self._of_session.get(session_id, ())):
            head = bucket.head
            if head is None or qpu not in bucket.needs.qpus:
                continue
            if self._ordering.bucket_key(bucket, now) != head[0]:
                self._reindex(bucket, now)
                head = bucket.head
            if head is None or self._gate(self._tasks[int(head[1][-1])], qpu, now) is not None:
                continue
            name = bucket.job_class.name
            if name not in first or head < first[name]:
                first[name] = head
        return list(first.values())

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
        name = bucket.job_class.name
        for qpu in bucket.needs.qpus:
            by_class = self._index.get(qpu)
            if by_class is None:
                continue
            index = by_class.get(name)
            if index is None:
                by_class[name] = [head]
            else:
                heappush(index, head)
                self._trim(qpu)

    def _first(
        self,
        qpu: str,
        by_class: dict[str, list[Head]],
        name: str,
        now: Instant,
        look_only: bool,
    ) -> Head | None:
        """The first head in a class's index that may start (it may be rebuilt meanwhile)."""
        found: Head | None = None
        passed: list[Head] = []
        while found is None and (index := by_class[name]):
            head = index[0]
            bucket = head[2]
            if bucket.head is not head:
                heappop(index)
            elif self._ordering.bucket_key(bucket, now) != head[0]:
                self._reindex(bucket, now)
            else:
                blocked = self._gate(self._tasks[int(head[1][-1])], qpu, now)
                if blocked is None:
                    found = head
                else:
                    heappop(index)
                    if look_only:
                        passed.append(head)
                    else:
                        self._park(qpu, head, blocked)
        for head in passed:
            heappush(by_class[name], head)
        return found

    def _park(self, qpu: str, head: Head, blocked: Blocked) -> None:
        self._parked.setdefault(qpu, Parking()).put(head, blocked.until)
        if blocked.until is not None:
            self._agenda.add(blocked.until, qpu)
        self._trim(qpu)

    def _trim(self, qpu: str) -> None:
        by_class = self._index.get(qpu)
        if by_class is None:
            return
        parking = self._parked.get(qpu)
        size = sum(map(len, by_class.values())) + (parking.size if parking is not None else 0)
        if size > 2 * len(self._buckets) + SLACK:
            self._parked.pop(qpu, None)
            fresh = self._heads(qpu)
            for name in by_class:
                by_class[name] = fresh.pop(name, [])
            by_class.update(fresh)

    def _heads(self, qpu: str) -> dict[str, list[Head]]:
        by_class: dict[str, list[Head]] = {}
        for bucket in self._buckets.values():
            if bucket.head is not None and qpu in bucket.needs.qpus:
                by_class.setdefault(bucket.job_class.name, []).append(bucket.head)
        for heads in by_class.values():
            heapify(heads)
        return by_class


def _hints(spec: TaskSpec) -> Hints | None:
    if spec.deadline_at is None and spec.path_s is None and spec.session_hints is None:
        return None
    return Hints(spec.deadline_at, spec.path_s, spec.session_hints)


def requirements(spec: TaskSpec) -> Requirements:
    """What decides whether a chunk of a task may start."""
    whole_shots = None if spec.divisible else spec.shots
    timing = spec.timing
    if timing is None:
        return Requirements(spec.qpus, spec.session_id, whole_shots, layout=spec.layout)
    return Requirements(
        spec.qpus,
        spec.session_id,
        whole_shots,
        timing.session_ends_at,
        timing.max_calibration_age_s,
        timing.min_quality,
        timing.on_recalibration is not OnRecalibration.CONTINUE,
        spec.layout,
    )
