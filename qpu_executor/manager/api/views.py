"""From rows to wire shapes: pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from qpu_executor.manager.service.fleet import Qpu
from qpu_executor.manager.store.records import ChunkRow, JournalRow, ProgramRow, TaskRow
from qpu_executor.manager.store.wishes import Wishes
from qpu_executor.model.values import Instant
from qpu_executor.wire.site import EventOut
from qpu_executor.wire.tasks import (
    ChunkOut,
    DependencyWish,
    NeedsWish,
    ResultOut,
    StateTime,
    StopWhenOut,
    TaskOut,
    WishesOut,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(at: Instant) -> datetime:
    """Microseconds since the epoch as a UTC datetime."""
    return _EPOCH + timedelta(microseconds=at)


def instant(when: datetime) -> Instant:
    """A moment as microseconds since the epoch."""
    return (when - _EPOCH) // timedelta(microseconds=1)


def optional_instant(when: datetime | None) -> Instant | None:
    """The same, or None."""
    return None if when is None else instant(when)


def optional_moment(at: Instant | None) -> datetime | None:
    """The same, or None."""
    return None if at is None else moment(at)


def task_out(
    row: TaskRow, qpu: Qpu | None, reason: str | None = None, standing: str | None = None
) -> TaskOut:
    """A task. `qpu`: the one it ran on last, where that is still there. `standing`: of its
    stopping rule.
    """
    early = row.stopped_early is not None
    return TaskOut(
        id=row.id,
        name=row.name,
        state=row.state,
        reason=reason,
        held_because=row.held_because or None,
        error=row.error,
        error_code=row.error_code,
        permanent=row.permanent,
        job_class=row.job_class,
        priority=row.priority,
        shots=row.shots,
        shots_done=row.shots_done,
        qpu=row.qpu,
        qpu_asked=row.qpu_asked,
        device=qpu.description.device_name if qpu else None,
        emulated=qpu.capabilities.emulated if qpu else None,
        owner=row.owner,
        account=row.account,
        session=row.session_id,
        key=row.key,
        program_hash=row.program_hash,
        seed=row.seed,
        submitted_at=moment(row.submitted_at),
        started_at=optional_moment(row.started_at),
        ended_at=optional_moment(row.ended_at),
        wishes=_wishes_out(row.wishes) if row.wishes else None,
        stopped_early=early,
        stop_reason=row.stopped_early,
        shots_saved=row.shots - row.shots_done if early else 0,
        stop_standing=standing,
        expired_at=optional_moment(row.expired_at),
    )


def _wishes_out(wishes: Wishes) -> WishesOut:
    rule = wishes.stop_when
    return WishesOut(
        begin_at=optional_moment(wishes.begin_at),
        time_limit_s=wishes.time_limit_s,
        depends_on=[DependencyWish(task=one.task_id, kind=one.kind) for one in wishes.depends_on],
        on_recalibration=wishes.on_recalibration,
        max_calibration_age_s=wishes.max_calibration_age_s,
        min_quality=wishes.min_quality,
        deadline_at=optional_moment(wishes.deadline_at),
        shot_s=wishes.shot_s,
        stop_when=None if rule is None else StopWhenOut(**rule.values()),
        device=wishes.device,
        require=None if wishes.require is None else NeedsWish(**wishes.require.values()),
        path_s=wishes.path_s,
        session_ends_at=optional_moment(wishes.session_ends_at),
    )


def chunk_out(row: ChunkRow) -> ChunkOut:
    """A chunk, without its counts."""
    return ChunkOut(
        n=row.n,
        state=row.state,
        qpu=row.qpu,
        first_shot=row.first_shot,
        shots=row.shots,
        shots_counted=row.shots_counted,
        epoch=row.epoch,
        sent_at=moment(row.sent_at),
        started_at=optional_moment(row.started_at),
        ended_at=optional_moment(row.ended_at),
        setup_s=row.setup_s,
        device_s=row.device_s,
        reason=row.reason,
        discarded=row.discarded,
    )


def history_out(rows: Sequence[JournalRow]) -> list[StateTime]:
    """When the task entered each state, in order."""
    return [StateTime(state=row.state, at=moment(row.at)) for row in rows if row.state is not None]


def result_out(
    task: TaskOut,
    program: ProgramRow | None,
    chunks: Sequence[ChunkRow],
    history: Sequence[JournalRow],
) -> ResultOut:
    """A result: the counted shots of all chunks, derived from their rows."""
    counts: Counter[str] = Counter()
    versions: dict[str, str] = {}
    counted = [chunk for chunk in chunks if chunk.shots_counted and not chunk.discarded]
    for chunk in counted:
        counts.update(chunk.counts)
        versions.update(chunk.versions)
    last = counted[-1] if counted else None
    return ResultOut(
        task=task,
        counts=dict(sorted(counts.items())),
        shots=sum(chunk.shots_counted for chunk in counted),
        surplus_shots=sum(chunk.surplus for chunk in chunks),
        qubit_ids=list(program.qubit_ids) if program else [],
        duration_ns=program.duration_ns if program else None,
        qpu=last.qpu if last else task.qpu,
        device=last.device if last else task.device,
        emulated=last.emulated if last else task.emulated,
        epochs=list(dict.fromkeys(chunk.epoch for chunk in counted)),
        chunks=[chunk_out(chunk) for chunk in chunks],
        history=history_out(history),
        versions=versions,
    )


def event_out(row: JournalRow) -> EventOut:
    """A task's state change as an event."""
    reason = row.data.get("error")
    return EventOut(
        type="task",
        n=row.n,
        task=row.task_id,
        state=row.state,
        shots_done=row.shots_done,
        session=row.session_id,
        reason=str(reason) if reason is not None else None,
        at=moment(row.at),
    )
