"""When a QPU is done with some work, around everything that its calendar is known to hold. Pure.

Windows as they are announced; calibrations as planned, one period after the end of the one
before, for as long as the work lasts. A reservation is taken to be for others.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge
from itertools import islice

from qpu_executor.model.timing import CalibrationPlan, Instant, after, seconds_between
from qpu_executor.scheduling.explain import QpuView

MOST_PAUSES = 10_000
"""Pauses that are looked at: work that lasts longer is taken to run on from there."""

Pause = tuple[Instant, Instant]
"""A time in which the QPU takes nothing: its start and its end."""


def end_of_work(
    work_s: float, view: QpuView, plan: CalibrationPlan | None, now: Instant, since: Instant
) -> Instant:
    """When `work_s` seconds of QPU time are over that begin at `since`, or after a pause."""
    at, left_s = since, work_s
    for start, end in islice(pauses(view, plan, now), MOST_PAUSES):
        open_s = seconds_between(at, start)
        if open_s >= left_s:
            break
        if end > at:
            left_s -= max(0.0, open_s)
            at = end
    return after(at, left_s)


def pauses(view: QpuView, plan: CalibrationPlan | None, now: Instant) -> Iterator[Pause]:
    """Every known pause that isn't over, by its start; calibrations go on without end."""
    windows = ((max(one.starts_at, now), one.ends_at) for one in view.windows if one.ends_at > now)
    return merge(sorted(windows), _calibrations(view, plan, now))


def _calibrations(view: QpuView, plan: CalibrationPlan | None, now: Instant) -> Iterator[Pause]:
    state = view.calibration
    if plan is None or plan.length_s <= 0.0:
        return
    due_at = now if state.running else state.due_at
    if state.overdue and not state.running:
        due_at = None
    if due_at is None:
        return
    start = max(due_at, now)
    yield start, after(start, plan.length_s)
    while plan.period_s is not None:
        start = after(start, plan.length_s + plan.period_s)
        yield start, after(start, plan.length_s)
