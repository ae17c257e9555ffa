"""When a waiting task may be expected to start and to end, if nothing else is submitted. Pure.

Earliest: the work before it, at the measured rates. Likely: with all calibrations and
windows that are known to come between (`calendar_walk.py`), on the QPU whose calendar lets
it through first. Latest: on the last one, with the safety factor of the core's own
planning. Unknown is None, never a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qpu_executor.manager.service.calendar_walk import end_of_work
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


NOW = Span(0.0, 0.0, 0.0)

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
    span = _span(work_s, is_open, now)
    return Span(
        max(span.earliest_s, closed_s),
        max(span.likely_s, closed_s),
        max(span.latest_s, closed_s),
    )


def expected_end(
    start: Span | None, own_s: float | None, qpus: Usable, now: Instant
) -> Span | None:
    """Until its last chunk has ended, if it isn't interrupted."""
    if start is None or own_s is None:
        return None
    is_open = [(view, plan) for view, plan in qpus if _takes_chunks(view)]
    return _span(own_s, is_open, now, start)


def _span(work_s: float, qpus: Usable, now: Instant, since: Span = NOW) -> Span:
    """Until that much work is done that begins at `since`."""

    def ends_s(seconds: float, since_s: float) -> list[float]:
        at = after(now, since_s)
        ends = [end_of_work(seconds, view, plan, now, at) for view, plan in qpus]
        return [seconds_between(now, end) for end in ends] or [since_s + seconds]

    return Span(
        since.earliest_s + work_s,
        min(ends_s(work_s, since.likely_s)),
        max(ends_s(SAFETY * work_s, since.latest_s)),
    )


def _takes_chunks(view: QpuView) -> bool:
    return view.state is QpuState.UP and view.drained is None
