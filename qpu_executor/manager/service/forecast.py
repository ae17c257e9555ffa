"""When a waiting task may be expected to start and to end, if nothing else is submitted. Pure.

Earliest: the work before it, at the measured rates. Likely: with the calibrations and
windows that come between. Latest: that with the safety factor of the core's own
planning. Unknown is None, never a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qpu_executor.model.states import QpuState, WaitReason
from qpu_executor.model.timing import CalibrationPlan, Instant, after, seconds_between
from qpu_executor.scheduling.explain import QpuView, Waiting
from qpu_executor.scheduling.lineup import Lineup
from qpu_executor.scheduling.shot_times import SAFETY

IN_LINE = (WaitReason.PRIORITY, WaitReason.RESOURCES)


@dataclass(frozen=True, slots=True)
class Span:
    """Seconds from now."""

    earliest_s: float
    likely_s: float
    latest_s: float


Usable = Sequence[tuple[QpuView, CalibrationPlan | None]]
"""The QPUs that a task can use, each with its calibration plan."""


def wait_for(
    least_s: float, likely_s: float, most_s: float, qpus: Usable, now: Instant
) -> Span | None:
    """Until that much work (QPU-seconds) is done by QPUs that are open; None if none is."""
    is_open = [(view, plan) for view, plan in qpus if _takes_chunks(view)]
    if not is_open:
        return None
    slots = max(1, sum(view.slots for view, _ in is_open))
    least, likely, most = (
        _span(seconds / slots, is_open, now) for seconds in (least_s, likely_s, most_s)
    )
    return Span(least.earliest_s, likely.likely_s, most.latest_s)


def expected_start(
    line: Lineup | None, waiting: Waiting | None, qpus: Usable, now: Instant
) -> Span | None:
    """Until a task's first (or next) chunk; None where nobody knows."""
    is_open = [(view, plan) for view, plan in qpus if _takes_chunks(view)]
    if line is None or waiting is None or line.ahead_s is None or not is_open:
        return None
    if waiting.reason not in IN_LINE and waiting.until is None:
        return None
    slots = sum(view.slots for view, _ in is_open)
    work_s = line.ahead_s / max(1, slots)
    closed_s = 0.0 if waiting.until is None else max(0.0, seconds_between(now, waiting.until))
    earliest_s = max(work_s, closed_s)
    return _span(earliest_s, is_open, now)


def expected_end(
    start: Span | None, own_s: float | None, qpus: Usable, now: Instant
) -> Span | None:
    """Until its last chunk has ended, if it isn't interrupted."""
    if start is None or own_s is None:
        return None
    is_open = [(view, plan) for view, plan in qpus if _takes_chunks(view)]
    return _span(start.earliest_s + own_s, is_open, now)


def _span(work_s: float, qpus: Usable, now: Instant) -> Span:
    until = after(now, work_s)
    pauses = [_paused_s(view, plan, now, until) for view, plan in qpus] or [0.0]
    return Span(work_s, work_s + min(pauses), SAFETY * work_s + max(pauses))


def _takes_chunks(view: QpuView) -> bool:
    return view.state is QpuState.UP and view.drained is None


def _paused_s(view: QpuView, plan: CalibrationPlan | None, now: Instant, until: Instant) -> float:
    """Seconds that calibrations and windows take of a QPU between two instants.

    A reservation is taken to be for others. One in a row of calibrations is counted.
    """
    calibration, paused_s = view.calibration, 0.0
    due_at = calibration.due_at
    comes = due_at is not None and due_at <= until and not calibration.overdue
    if plan is not None and (calibration.running or comes):
        paused_s += plan.length_s
    for window in view.windows:
        if window.starts_at <= until and window.ends_at > now:
            paused_s += seconds_between(max(window.starts_at, now), window.ends_at)
    return paused_s
