"""What the scheduling core is told when a QPU's health has changed. Pure.

A calibration closes a QPU by events of its own, with the epoch that it ends in;
any other closing is a reported state.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from qpu_executor.model.events import (
    CalibrationDue,
    CalibrationEnded,
    CalibrationReported,
    CalibrationStarted,
    Event,
    QpuReported,
)
from qpu_executor.model.states import QpuState
from qpu_executor.model.timing import QUALITY
from qpu_executor.qpus.base import CalibrationStatus, Health


def reported_state(health: Health) -> tuple[QpuState, str]:
    """State and reason apart from a calibration that is going on."""
    calibration = health.calibration
    if calibration is not None and calibration.running:
        return QpuState.UP, ""
    return health.state, health.reason


def held_down(health: Health, overdue: Iterable[str]) -> Health:
    """DOWN whatever the QPU says of itself, where it has left questions unanswered."""
    reasons = tuple(overdue)
    if not reasons:
        return health
    said = () if health.state is QpuState.UP or not health.reason else (health.reason,)
    return replace(health, state=QpuState.DOWN, reason="; ".join((*said, *reasons)))


def health_events(qpu: str, before: Health | None, after: Health) -> list[Event]:
    """The events of a change, in order. `before` None: the QPU has just joined with `after`."""
    events: list[Event] = []
    if before is not None and reported_state(before) != reported_state(after):
        events.append(QpuReported(qpu, *reported_state(after)))
    known = None if before is None else before.calibration
    if after.calibration is not None:
        events += _calibration_events(qpu, known, after.calibration)
    return events


def _calibration_events(
    qpu: str, before: CalibrationStatus | None, after: CalibrationStatus
) -> list[Event]:
    events: list[Event] = []
    if after.running:
        return [] if before is not None and before.running else [CalibrationStarted(qpu)]
    if before is None or before.running or before.epoch != after.epoch:
        events.append(CalibrationEnded(qpu, after.epoch, after.since, after.quality))
        before = None
    elif after.quality is not None and after.quality != before.quality:
        events.append(CalibrationReported(qpu, QUALITY, after.quality))
    if after.due_at is not None and (before is None or before.due_at != after.due_at):
        events.append(CalibrationDue(qpu, "the QPU says so", after.due_at))
    return events
