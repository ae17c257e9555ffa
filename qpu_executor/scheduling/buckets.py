"""Live tasks in buckets: those that only their own keys tell apart share one.

A bucket's heap is lazy: what is no longer true stays inside until it reaches the top,
and a heap is rebuilt when more than about half of it is stale.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from heapq import heapify, heappop

from qpu_executor.errors import InternalError
from qpu_executor.model.states import OnRecalibration, TaskState
from qpu_executor.model.values import Instant, JobClass, TaskSpec
from qpu_executor.scheduling.fair_share import UsageLedger
from qpu_executor.scheduling.state import (
    Bucket,
    EarlyStop,
    Entry,
    Hints,
    Requirements,
    Task,
    TaskClock,
)

SLACK = 64
"""Stale entries that a small heap may hold."""

_BucketName = tuple[str, str, str, Requirements]


class Buckets:
    """All buckets with a live task. `tasks`: the core's live tasks by id; they enter and
    leave here. `usage`: where accounts and users stand; their buckets point there.
    """

    def __init__(self, tasks: dict[int, Task], usage: UsageLedger) -> None:
        self._tasks = tasks
        self._usage = usage
        self._by_name: dict[_BucketName, Bucket] = {}
        self._of_session: dict[str, dict[Bucket, None]] = {}
        # The few that many buckets share; those of sessions and instants come and go.
        self._known_needs: dict[Requirements, Requirements] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._by_name)

    def items(self) -> Iterator[tuple[_BucketName, Bucket]]:
        """All of them, by what their tasks have in common."""
        return iter(self._by_name.items())

    def values(self) -> Collection[Bucket]:
        """All of them."""
        return self._by_name.values()

    def of_session(self, session_id: str) -> Collection[Bucket]:
        """Those of a session's tasks."""
        return self._of_session.get(session_id, ())

    def admit(self, spec: TaskSpec, job_class: JobClass) -> Task:
        """Make a new task alive, in its bucket; it has no state and doesn't wait yet."""
        if not spec.qpus or spec.shots < 1:
            raise InternalError("admitted without a QPU or shots", where=f"task {spec.task_id}")
        bucket = self._bucket(job_class, spec.account, spec.owner, requirements(spec))
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
            early_stop=None if spec.min_shots is None else EarlyStop(spec.min_shots),
        )
        self._tasks[spec.task_id] = task
        return task

    def rebind(self, task: Task, session_id: str | None, session_ends_at: Instant | None) -> None:
        """Move a task that waits in no heap to the bucket of another session."""
        before = task.bucket
        needs = before.needs._replace(session_id=session_id, session_ends_at=session_ends_at)
        bucket = self._bucket(before.job_class, before.account, before.owner, needs)
        bucket.live += 1
        self._leave(before)
        task.bucket = bucket

    def forget(self, task: Task) -> bool:
        """Drop a task that has ended. True: it was its bucket's last, and that is gone too."""
        del self._tasks[task.task_id]
        return self._leave(task.bucket)

    def move(self, task: Task, qpus: tuple[str, ...]) -> bool:
        """Let a task that doesn't wait go to these QPUs only. True: its old bucket is gone."""
        old = task.bucket
        needs = old.needs._replace(qpus=qpus)
        task.bucket = self._bucket(old.job_class, old.account, old.owner, needs)
        task.bucket.live += 1
        if task.entry is not None:
            task.entry = (*task.entry[:-1], task.entry[-1])  # a new one: the old heap's is stale
        return self._leave(old)

    def tidy(self, bucket: Bucket) -> None:
        """Rebuild a heap that is mostly stale."""
        if len(bucket.heap) > 2 * bucket.queued + SLACK:
            bucket.heap = [entry for entry in bucket.heap if self._waits(entry)]
            heapify(bucket.heap)

    def first(self, bucket: Bucket) -> Entry | None:
        """The entry of the bucket's first waiting task; None where nothing waits."""
        heap, tasks = bucket.heap, self._tasks
        while heap:
            entry = heap[0]
            task = tasks.get(entry[-1])  # type: ignore[arg-type]
            if task is not None and task.entry is entry and task.state is TaskState.QUEUED:
                return entry
            heappop(heap)
        return None

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

    def _leave(self, bucket: Bucket) -> bool:
        """A task is no longer in a bucket. True: it was the last, and the bucket is gone too."""
        bucket.live -= 1
        if bucket.live:
            return False
        del self._by_name[bucket.job_class.name, bucket.account, bucket.owner, bucket.needs]
        bucket.user.live -= 1
        session_id = bucket.needs.session_id
        if session_id is not None:
            del self._of_session[session_id][bucket]
            if not self._of_session[session_id]:
                del self._of_session[session_id]
        return True

    def _bucket(self, job_class: JobClass, account: str, owner: str, needs: Requirements) -> Bucket:
        if needs.session_id is None and needs.timeless:
            needs = self._known_needs.setdefault(needs, needs)
        name = (job_class.name, account, owner, needs)
        bucket = self._by_name.get(name)
        if bucket is None:
            user = self._usage.standing(account, owner)
            bucket = Bucket(job_class, account, owner, needs, user)
            user.live += 1
            self._by_name[name] = bucket
            if needs.session_id is not None:
                self._of_session.setdefault(needs.session_id, {})[bucket] = None
        return bucket

    def _waits(self, entry: Entry) -> bool:
        task = self._tasks.get(entry[-1])  # type: ignore[arg-type]
        return task is not None and task.entry is entry and task.state is TaskState.QUEUED


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
