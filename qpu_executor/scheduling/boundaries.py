"""May a chunk of this task start on this QPU now, and how many shots fit? Pure.

A boundary is an instant that no chunk may be planned across: a calibration that
is due, a window that isn't for the task, the end of its session, the age that it
allows a calibration. The planned upper bound of a chunk is its overhead plus its
shots at the slowest rate that is expected, times a safety factor.
"""

from __future__ import annotations

from typing import NamedTuple

from qpu_executor.model.states import WaitReason
from qpu_executor.model.timing import Instant, after, seconds_between
from qpu_executor.scheduling.calibration import grace_ends_at
from qpu_executor.scheduling.epochs import epoch_need_s
from qpu_executor.scheduling.shot_times import planned_on
from qpu_executor.scheduling.state import Bucket, Qpu, Task
from qpu_executor.scheduling.windows import REASONS, next_window


class Boundary(NamedTuple):
    """`at`: the instant (past: the QPU is closed to the task now). `opens_at`: when it is
    over, None: an event will tell. `stops`: a chunk that is out at `at` is stopped.
    """

    at: Instant
    reason: WaitReason
    detail: str
    opens_at: Instant | None
    stops: bool


class Blocked(NamedTuple):
    """No chunk may start. `until`: when to look again; None: after an event."""

    reason: WaitReason
    detail: str
    until: Instant | None


def next_boundary(qpu: Qpu, bucket: Bucket, now: Instant) -> Boundary | None:
    """The earliest boundary for tasks of a bucket on a QPU; None where none is known."""
    found = [
        one
        for one in (
            _calibration_boundary(qpu, now),
            _window_boundary(qpu, bucket, now),
            _session_boundary(bucket),
            _freshness_boundary(qpu, bucket, now),
        )
        if one is not None
    ]
    return min(found, key=lambda one: one.at) if found else None


def room(task: Task, qpu: Qpu, now: Instant) -> int | Blocked | None:
    """The most shots that a chunk of a task may get on a QPU now, or why none may start.

    None: as many as it likes, no boundary is known.
    """
    bucket = task.bucket
    needs, hold = bucket.needs, qpu.hold
    if hold is not None and hold.on and needs.session_id != hold.session_id:
        how = "for a contiguous run" if hold.contiguous else "between its tasks"
        detail = f"kept warm for another session {how}"
        return Blocked(WaitReason.RESERVATION, detail, hold.ends_at())
    if needs.one_epoch:
        blocked = _other_epoch(task, qpu) or _epoch_too_short(task, qpu, now)
        if blocked is not None:
            return blocked
    state = qpu.calibration
    if bucket.timeless and not qpu.windows and state.due_at is None and not state.running:
        return None
    edge = next_boundary(qpu, bucket, now)
    if edge is None:
        return None
    left_s = seconds_between(now, edge.at) - overhead_s(task, qpu)
    fits = int(left_s / planned_on(task, qpu)) if left_s > 0.0 else 0
    least = qpu.spec.min_chunk_shots if task.divisible else task.remaining
    if fits < max(1, least):
        return Blocked(edge.reason, edge.detail, edge.opens_at)
    return fits


def overhead_s(task: Task, qpu: Qpu) -> float:
    """Seconds before the first shot, if the task's chunk were the QPU's next one."""
    spec = qpu.spec
    seconds = spec.setup_s
    if qpu.last_task != task.task_id:
        seconds += spec.switch_s
    if changes_layout(task, qpu):
        seconds += spec.layout_s
    return seconds


def changes_layout(task: Task, qpu: Qpu) -> bool:
    """True if the QPU has to load another register layout for the task."""
    return task.layout is not None and task.layout != qpu.layout


# -- one boundary each -------------------------------------------------------------


def _calibration_boundary(qpu: Qpu, now: Instant) -> Boundary | None:
    state = qpu.calibration
    if state.running:
        return Boundary(now, WaitReason.CALIBRATION, "it is being calibrated", None, False)
    if state.due_at is None or state.overdue:
        return None
    stops = state.foreseen and qpu.spec.partial_results
    opens_at = grace_ends_at(state, qpu.spec.calibration)
    detail = f"a calibration is due: {state.due_reason}" if state.due_reason else "it is due"
    return Boundary(state.due_at, WaitReason.CALIBRATION, detail, opens_at, stops)


def _window_boundary(qpu: Qpu, bucket: Bucket, now: Instant) -> Boundary | None:
    window = next_window(qpu.windows, bucket, now) if qpu.windows else None
    if window is None:
        return None
    detail = f"window {window.name!r}"
    return Boundary(window.starts_at, REASONS[window.kind], detail, window.ends_at, True)


def _session_boundary(bucket: Bucket) -> Boundary | None:
    at = bucket.needs.session_ends_at
    if at is None:
        return None
    detail = "its session's allocation ends before another chunk could"
    return Boundary(at, WaitReason.SESSION_ENDING, detail, None, True)


def _freshness_boundary(qpu: Qpu, bucket: Bucket, now: Instant) -> Boundary | None:
    """The age that a task allows a calibration, and the quality that it wants."""
    needs, state = bucket.needs, qpu.calibration
    reason = WaitReason.CALIBRATION
    if needs.min_quality is not None and (state.quality or 0.0) < needs.min_quality:
        said = "unknown" if state.quality is None else f"{state.quality:g}"
        detail = f"the QPU's quality is {said}, it wants {needs.min_quality:g}"
        return Boundary(now, reason, detail, None, False)
    if needs.max_calibration_age_s is None:
        return None
    if state.ended_at is None:
        detail = "the age of the QPU's calibration is unknown"
        return Boundary(now, reason, detail, None, False)
    at = after(state.ended_at, needs.max_calibration_age_s)
    detail = f"the calibration is older than {needs.max_calibration_age_s:g} s"
    return Boundary(at, reason, detail, None, qpu.spec.partial_results)


def _other_epoch(task: Task, qpu: Qpu) -> Blocked | None:
    clock = task.clock
    if clock is None or clock.epoch is None or clock.epoch[0] == qpu.spec.name:
        return None
    detail = f"its shots so far are of {clock.epoch[0]}'s epoch"
    return Blocked(WaitReason.CALIBRATION, detail, None)


def _epoch_too_short(task: Task, qpu: Qpu, now: Instant) -> Blocked | None:
    """A task that starts anew in every epoch isn't started in one that it can't end in."""
    state = qpu.calibration
    if task.shots_done or state.due_at is None or state.overdue:
        return None
    needs_s = epoch_need_s(
        task.remaining,
        planned_on(task, qpu),
        chunk_s=task.bucket.job_class.chunk_s,
        qpu=qpu.spec,
    )
    left_s = seconds_between(now, state.due_at)
    if needs_s <= left_s:
        return None
    detail = f"it needs {needs_s:.0f} s of one epoch, {max(left_s, 0.0):.0f} s are left of this one"
    opens_at = grace_ends_at(state, qpu.spec.calibration)
    return Blocked(WaitReason.CALIBRATION, detail, opens_at)
