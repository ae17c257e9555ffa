"""After a restart: the core is rebuilt from the store.

What is certain (tasks, shots counted, chunks that ended) is put back as it
was. What isn't (chunks that were in flight) keeps its slot, and its QPU is
asked about it; the answers reach the core as ordinary events. A task whose
class or QPU is no longer in the site file isn't lost: it waits. Device faults
in a row are counted anew.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from qpu_executor.manager.service.fleet import Fleet
from qpu_executor.manager.service.qpu_news import health_events
from qpu_executor.manager.service.submission import spec_of
from qpu_executor.manager.service.usage_recall import recall
from qpu_executor.manager.store.records import ChunkRow, Snapshot, TaskRow, UsageRow
from qpu_executor.model.events import (
    CalibrationEnded,
    ClassesChanged,
    Event,
    QpuDrained,
    QpuRegistered,
    TaskCancelAsked,
    TaskHoldAsked,
    WokenUp,
)
from qpu_executor.model.states import QpuState, TaskState
from qpu_executor.model.values import ChunkId, Instant, JobClass, QpuSpec
from qpu_executor.scheduling.charging import ChargingTable
from qpu_executor.scheduling.commands import StartCalibration
from qpu_executor.scheduling.restore import StoredChunk
from qpu_executor.scheduling.same_kind import of_one_kind
from qpu_executor.scheduling.scheduler import Scheduler

Restored = tuple[list[Event], list[tuple[str, ChunkId]], list[StartCalibration]]
"""Events that are due, chunks whose QPU has to be asked (QPU, chunk), and commands."""

log = logging.getLogger(__name__)


def restore(
    scheduler: Scheduler,
    fleet: Fleet,
    classes: Mapping[str, JobClass],
    snapshot: Snapshot,
    now: Instant,
    *,
    known: Iterable[Event] = (),
    usage: Iterable[UsageRow] = (),
    charging: ChargingTable | None = None,
) -> Restored:
    """Fill an empty scheduler. Returns events that are still due, unclear chunks, and commands.

    The unclear chunks are (QPU, chunk): those that a QPU has to be asked about. The
    commands are for QPUs whose calibration fell due while no manager was there. `known`:
    events about QPUs that the core has to know of before it sees a task (windows).
    `usage`: what was taken before, charged by `charging`.
    """
    scheduler.handle(ClassesChanged(_all_classes(classes, snapshot)), now)
    for spec in _all_qpus(fleet, snapshot):
        scheduler.handle(QpuRegistered(spec), now)
    recall(scheduler, charging or ChargingTable(), usage)
    for event in (*_drains(fleet, snapshot), *known):
        scheduler.handle(event, now)
    due: list[Event] = []
    calibrations: list[StartCalibration] = []
    for qpu in fleet:
        for event in health_events(qpu.name, None, qpu.health):
            if not isinstance(event, CalibrationEnded):
                due.append(event)
                continue
            # Before the tasks: whether their shots are of the current epoch depends on it.
            commands = scheduler.handle(event, now)
            calibrations += [one for one in commands if isinstance(one, StartCalibration)]
    unclear: list[tuple[str, ChunkId]] = []
    hints = {one.id: one.hints for one in snapshot.open_sessions if one.hints}
    for task in snapshot.live:
        chunks = snapshot.chunks.get(task.id, ())
        out = next((chunk for chunk in reversed(chunks) if not chunk.state.ended), None)
        taken = spec_of(task, hints.get(task.session_id or ""))
        scheduler.restore(
            replace(taken, qpus=_still_open_to(taken.qpus, chunks, fleet)),
            task.state,
            shots_done=task.shots_done,
            faults=0,
            chunk=None if out is None else _out(out),
            next_chunk_n=len(chunks),
            started_at=task.started_at,
            epoch=_epoch(chunks),
        )
        if out is not None:
            unclear.append((out.qpu, out.id))
        due += _asked(task)
    # A last word from nobody, so that the core looks at its queue once it is complete.
    due.append(WokenUp())
    if snapshot.live:
        log.info("restored %d live tasks, %d chunks to ask about", len(snapshot.live), len(unclear))
    return due, unclear, calibrations


def _drains(fleet: Fleet, snapshot: Snapshot) -> list[QpuDrained]:
    drained = snapshot.drained.items()
    return [QpuDrained(name, why) for name, why in drained if fleet.find(name) is not None]


def _out(chunk: ChunkRow) -> StoredChunk:
    return StoredChunk(chunk.id, chunk.qpu, chunk.shots, chunk.first_shot, chunk.state)


def _epoch(chunks: Sequence[ChunkRow]) -> tuple[str, str | None] | None:
    """QPU and epoch of the latest shots that count; None if none do."""
    counted = [one for one in chunks if one.shots_counted and not one.discarded]
    return (counted[-1].qpu, counted[-1].epoch) if counted else None


def _still_open_to(
    qpus: tuple[str, ...], chunks: Sequence[ChunkRow], fleet: Fleet
) -> tuple[str, ...]:
    """The QPUs on which a task may go on, by what gave its shots so far."""
    counted = next((one for one in chunks if one.shots_counted), None)
    if counted is None:
        return qpus

    def is_emulated(name: str) -> bool | None:
        found = fleet.find(name)
        return None if found is None else found.capabilities.emulated

    return of_one_kind(qpus, counted.emulated, is_emulated)


def _asked(task: TaskRow) -> list[Event]:
    """What was asked of a task before the restart and hasn't come about."""
    if task.cancel_asked:
        return [TaskCancelAsked(task.id)]
    if task.hold_asked and task.state is TaskState.RUNNING:
        return [TaskHoldAsked(task.id)]
    return []


def _all_classes(classes: Mapping[str, JobClass], snapshot: Snapshot) -> tuple[JobClass, ...]:
    """The site's classes, and one of least priority for each that only live tasks know."""
    gone = {task.job_class for task in snapshot.live} - set(classes)
    for name in sorted(gone):
        log.warning("job class %s is no longer in the site file; its live tasks go last", name)
    lowest = min(one.priority for one in classes.values())
    return (*classes.values(), *(JobClass(name, lowest) for name in sorted(gone)))


def _all_qpus(fleet: Fleet, snapshot: Snapshot) -> list[QpuSpec]:
    """The site's QPUs, and a DOWN one for each that only live tasks know."""
    specs = [qpu.spec() for qpu in fleet]
    known = {spec.name for spec in specs}
    gone = {name for task in snapshot.live for name in task.qpus} - known
    for name in sorted(gone):
        log.warning("QPU %s is no longer in the site file; tasks that need it wait", name)
        specs.append(QpuSpec(name, state=QpuState.DOWN, reason="not in the site file"))
    return specs
