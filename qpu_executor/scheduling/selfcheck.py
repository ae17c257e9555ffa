"""What must always be true of the core's memory; tests ask after every event."""

from __future__ import annotations

import math

from qpu_executor.errors import InternalError
from qpu_executor.model.states import TaskState
from qpu_executor.model.values import Instant
from qpu_executor.scheduling.buckets import SLACK
from qpu_executor.scheduling.queue import Queue
from qpu_executor.scheduling.state import CoreState, Head, Qpu, Task


def check_core(state: CoreState, queue: Queue, now: Instant, *, settled: bool) -> None:
    """Raise InternalError, naming what is wrong, unless all of it holds.

    `settled`: no task was restored since the last event, so no QPU has room
    while a task waits that could go there.
    """
    for task_id, task in state.tasks.items():
        _check_task(state, task_id, task)
    _check_slots(state)
    _check_buckets(state, queue)
    _check_indexes(state, queue, now, settled=settled)


def _require(holds: bool, what: str, where: str) -> None:
    if not holds:
        raise InternalError(f"the core's self-check failed: {what}", where=where)


def _check_task(state: CoreState, task_id: int, task: Task) -> None:
    where = f"task {task_id}"
    _require(task.task_id == task_id, "filed under another id", where)
    _require(task.state is not None and not task.state.final, f"kept though {task.state}", where)
    _require(0 <= task.shots_done < task.shots, f"{task.shots_done} of {task.shots} done", where)
    runs = task.state is TaskState.RUNNING
    _require((task.chunk is not None) == runs, "RUNNING exactly if a chunk is out", where)
    _require(runs or not (task.cancel_asked or task.hold_asked), "asked, not done", where)
    _require(runs or task.enough is None, "has enough shots and goes on", where)
    deferred = task.clock is not None and task.clock.deferred
    unranked = task.state is TaskState.HELD or deferred
    _require((task.entry is None) == unranked, "ranked unless held or deferred", where)
    _require(not deferred or task.state is TaskState.QUEUED, "deferred, not queued", where)
    if task.chunk is not None:
        chunk = task.chunk
        _require(not chunk.state.ended, f"chunk {chunk.id} has ended", where)
        _require(chunk.id.task_id == task_id, f"has chunk {chunk.id}", where)
        _require(chunk.id.n == task.next_n - 1, f"chunk {chunk.id} isn't the newest", where)
        _require(chunk.first_shot == task.shots_done, "the chunk starts elsewhere", where)
        _require(chunk.shots > 0, "the chunk has no shots", where)
        _require(chunk.qpu in task.bucket.needs.qpus, f"runs on {chunk.qpu}", where)
        on_qpu = state.qpus[chunk.qpu].running.get(task_id)
        _require(on_qpu is chunk, "the QPU doesn't know its chunk", where)


def _check_slots(state: CoreState) -> None:
    for name, qpu in state.qpus.items():
        out = len(qpu.running)
        _require(out <= max(qpu.spec.slots, qpu.overhang), f"{out} chunks at once", name)
        for task_id, chunk in qpu.running.items():
            task = state.tasks.get(task_id)
            _require(task is not None and task.chunk is chunk, f"busy with {chunk.id}", name)


def _check_buckets(state: CoreState, queue: Queue) -> None:
    live = 0
    for name, bucket in queue.buckets():
        where = f"bucket {name}"
        made_of = (bucket.job_class.name, bucket.account, bucket.owner, bucket.needs)
        _require(name == made_of, "filed under another name", where)
        _require(bucket.live > 0, "kept though empty", where)
        live += bucket.live
        ids = list(queue.waiting(bucket))
        _require(len(ids) == len(set(ids)) == bucket.queued, "miscounted", where)
        entries = [state.tasks[task_id].entry or () for task_id in ids]
        _require(all(state.tasks[i].bucket is bucket for i in ids), "a foreign task", where)
        first = min(entries, default=None)
        _require((None if bucket.head is None else bucket.head[1]) == first, "wrong head", where)
        _require(len(bucket.heap) <= 2 * bucket.queued + 1 + SLACK, "too much garbage", where)
    _require(live == len(state.tasks), f"{live} of {len(state.tasks)} tasks", "buckets")
    queued = sum(
        task.state is TaskState.QUEUED and task.entry is not None for task in state.tasks.values()
    )
    filed = sum(bucket.queued for _, bucket in queue.buckets())
    _require(queued == filed, f"{filed} of {queued} queued tasks", "buckets")


def _check_indexes(state: CoreState, queue: Queue, now: Instant, *, settled: bool) -> None:
    buckets = [bucket for _, bucket in queue.buckets()]
    for name, qpu in state.qpus.items():
        shows = queue.index(name)
        _require((shows is not None) == qpu.up, "indexed exactly if UP", name)
        if shows is None:
            continue
        index, parked = shows.heads(), shows.parked()
        size = len(index) + len(parked)
        _require(size == shows.size, "miscounted heads", name)
        _require(size <= 2 * len(buckets) + SLACK, "too many stale heads", name)
        heads = [b.head for b in buckets if b.head is not None and name in b.needs.qpus]
        shown, aside = {id(head) for head in index}, {id(head) for head in parked}
        _require(
            all(id(head) in shown or id(head) in aside for head in heads),
            "a bucket is neither indexed nor parked",
            name,
        )
        _check_parked(state, queue, qpu, [h for h in heads if id(h) not in shown], now)
        heads = [
            head
            for head in heads
            if id(head) in shown and queue.blocked(state.tasks[int(head[1][-1])], name, now) is None
        ]
        kept = qpu.hold.session_id if qpu.hold is not None and qpu.hold.on else None
        _require(queue.kept(name) == kept, "kept for another session", name)
        if kept is not None:  # what is parked counts as well: all of a session's is looked at
            heads += [
                head
                for head in parked
                if head[2].head is head
                and id(head) not in shown
                and queue.blocked(state.tasks[int(head[1][-1])], name, now) is None
            ]
        best = queue.first(name, now, look_only=True)
        first = min(((queue.key(head[2], now), head[1]) for head in heads), default=None)
        _require((None if best is None else best[:2]) == first, "the wrong task goes first", name)
        _require(not (settled and qpu.has_room and heads), "idle while a task waits", name)


def _check_parked(
    state: CoreState, queue: Queue, qpu: Qpu, heads: list[Head], now: Instant
) -> None:
    """What is parked couldn't start now either (unless the QPU became a little faster)."""
    faster = qpu.shot_s is not None and qpu.shot_s < (qpu.parked_shot_s or math.inf)
    if faster or qpu.spec.layout_s:
        return
    for head in heads:
        task = state.tasks[int(head[1][-1])]
        why = queue.blocked(task, qpu.spec.name, now)
        _require(why is not None, f"task {task.task_id} is parked and could run", qpu.spec.name)
