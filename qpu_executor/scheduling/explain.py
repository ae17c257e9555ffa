"""Why a task waits, and how many go before it: computed when somebody asks. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from qpu_executor.model.states import ChunkState, QpuState, TaskState, WaitReason
from qpu_executor.model.timing import Window
from qpu_executor.model.values import ChunkId, Instant
from qpu_executor.scheduling.boundaries import Blocked
from qpu_executor.scheduling.calibration import Calibration
from qpu_executor.scheduling.queue import Queue
from qpu_executor.scheduling.state import CoreState, Qpu, Task, TaskClock
from qpu_executor.scheduling.warm_hold import WarmHold


@dataclass(frozen=True, slots=True)
class Waiting:
    """`position`: tasks, waiting or running, that the ordering puts before this one on a
    QPU that it can use (None while it is held or waits for an instant or a task: it has no
    place). `detail`: in words. `until`: the instant that it waits for, if that is known.
    """

    reason: WaitReason
    position: int | None
    detail: str = ""
    until: Instant | None = None


@dataclass(frozen=True, slots=True)
class QpuView:
    """A QPU as the core sees it. `rate_hz`: measured (`rate_measured`), else expected, else None.

    `running`: ids of the tasks with a chunk there; `waiting`: tasks that could go there.
    `drained`: an operator's reason, None: it isn't drained. `calibration`, `hold`,
    `lingers`: copies; for whom it is kept now, and may be after their tasks.
    """

    name: str
    state: QpuState
    reason: str
    slots: int
    running: tuple[int, ...]
    waiting: int
    rate_hz: float | None
    drained: str | None = None
    calibration: Calibration = field(default_factory=Calibration)
    windows: tuple[Window, ...] = ()
    hold: WarmHold | None = None
    lingers: tuple[WarmHold, ...] = ()
    rate_measured: bool = False


@dataclass(frozen=True, slots=True)
class ChunkView:
    """A task's chunk that is out. `shots`: asked of the QPU."""

    id: ChunkId
    qpu: str
    shots: int
    state: ChunkState


def chunk_out(state: CoreState, task_id: int) -> ChunkView | None:
    """A task's chunk that hasn't ended; None if there is none."""
    task = state.tasks.get(task_id)
    if task is None or task.chunk is None:
        return None
    chunk = task.chunk
    return ChunkView(chunk.id, chunk.qpu, chunk.shots, chunk.state)


def waiting(state: CoreState, queue: Queue, task_id: int, now: Instant) -> Waiting | None:
    """Why a task waits; None if it runs or isn't alive."""
    task = state.tasks.get(task_id)
    if task is None or task.state is TaskState.RUNNING:
        return None
    if task.state is TaskState.HELD:
        return Waiting(WaitReason.JOB_HELD, None)
    reason, detail, until = _reason(state, queue, task, now)
    place = None if task.entry is None else position(state, queue, task, now)
    return Waiting(reason, place, detail, until)


def wait_reason(state: CoreState, queue: Queue, task_id: int, now: Instant) -> WaitReason | None:
    """Why a task waits, without its position: cheap enough for every row of a listing."""
    task = state.tasks.get(task_id)
    if task is None or task.state is TaskState.RUNNING:
        return None
    if task.state is TaskState.HELD:
        return WaitReason.JOB_HELD
    return _reason(state, queue, task, now)[0]


def position(state: CoreState, queue: Queue, task: Task, now: Instant) -> int:
    """How many tasks go before a queued task. Cost grows with the answer and the buckets."""
    assert task.entry is not None
    mine = (queue.key(task.bucket, now), task.entry)
    usable = set(task.bucket.needs.qpus)
    before = 0
    for _, bucket in queue.buckets():
        if usable.isdisjoint(bucket.needs.qpus):
            continue
        key = queue.key(bucket, now)
        if key < mine[0]:
            before += bucket.queued
        elif key == mine[0]:
            before += sum(1 for _ in queue.waiting(bucket, below=task.entry))
    for name in sorted(usable):
        qpu = state.qpus.get(name)
        for other_id in qpu.running if qpu is not None else ():
            other = state.tasks[other_id]
            before += (queue.key(other.bucket, now), other.entry or ()) < mine
    return before


def view(state: CoreState, queue: Queue, name: str) -> QpuView | None:
    """A QPU as the core sees it; None if it isn't registered."""
    qpu = state.qpus.get(name)
    if qpu is None or not qpu.registered:
        return None
    waits = sum(bucket.queued for _, bucket in queue.buckets() if name in bucket.needs.qpus)
    return QpuView(
        name,
        qpu.state,
        qpu.reason,
        qpu.spec.slots,
        tuple(qpu.running),
        waits,
        qpu.rate_hz,
        drained=qpu.drained,
        calibration=replace(qpu.calibration),
        windows=qpu.windows,
        hold=None if qpu.hold is None else replace(qpu.hold),
        lingers=tuple(replace(one) for one in qpu.lingers.values()),
        rate_measured=qpu.shot_s is not None,
    )


_Found = tuple[WaitReason, str, Instant | None]


def _reason(state: CoreState, queue: Queue, task: Task, now: Instant) -> _Found:
    """As Slurm says it: Resources for the next in line at a QPU, Priority behind it."""
    if task.clock is not None and task.clock.deferred:
        return _what_defers(task.clock)
    qpus = [state.qpus[name] for name in task.bucket.needs.qpus if name in state.qpus]
    qpus = [qpu for qpu in qpus if qpu.registered]
    if not qpus:
        return WaitReason.NO_COMPATIBLE_QPU, "none of its QPUs is registered", None
    up = [qpu for qpu in qpus if qpu.up]
    if up:
        blocked = [queue.blocked(task, qpu.spec.name, now) for qpu in up]
        if all(blocked):
            return _soonest(up, blocked)
        heads = [queue.first(qpu.spec.name, now, look_only=True) for qpu in up]
        first = any(head is not None and head[1] == task.entry for head in heads)
        return (WaitReason.RESOURCES if first else WaitReason.PRIORITY), "", None
    reasons = [(qpu, qpu.drained or qpu.reason) for qpu in qpus]
    detail = "; ".join(f"{qpu.spec.name}: {reason}" for qpu, reason in reasons if reason)
    if any(qpu.drained or qpu.state is QpuState.DRAINING for qpu in qpus):
        return WaitReason.QPU_DRAINING, detail, None
    return WaitReason.QPU_DOWN, detail, None


def _what_defers(clock: TaskClock) -> _Found:
    if clock.unmet:
        others = ", ".join(str(one) for one in sorted(clock.unmet))
        return WaitReason.DEPENDENCY, f"it waits for task {others}", None
    return WaitReason.BEGIN_TIME, "", clock.timing.begin_at


def _soonest(qpus: list[Qpu], blocked: list[Blocked | None]) -> _Found:
    """What keeps the task from the QPU that is expected to take it first."""
    found = [(qpu.spec.name, one) for qpu, one in zip(qpus, blocked, strict=True) if one]
    _, first = min(found, key=lambda each: (each[1].until is None, each[1].until or 0))
    detail = "; ".join(f"{name}: {one.detail}" for name, one in found)
    return first.reason, detail, first.until
