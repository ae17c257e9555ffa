"""Calibrations in a rehearsal: planned ones through the core's calendar, others as they come.

A QPU whose site has a plan keeps to it. Otherwise the recording says when there
were some, or else the law draws them.
"""

from __future__ import annotations

from qpu_executor.model.events import (
    CalibrationDue,
    CalibrationEnded,
    CalibrationStarted,
    QpuReported,
)
from qpu_executor.model.states import CalibrationStarter, QpuState
from qpu_executor.simulation.heap import Action
from qpu_executor.simulation.qpu_model import SimulatedQpu, instant
from qpu_executor.simulation.recording import RecordedCalibration
from qpu_executor.simulation.stage import Stage

CALIBRATION = "calibration"
"""What a span of a calibration is called."""


class Calibrations:
    """Closes the QPUs of a stage when their calibrations are due."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def begin(self, qpu: SimulatedQpu) -> None:
        """A QPU has joined: see to its first calibration, or to all that are recorded."""
        timing, stage = qpu.timing, self._stage
        if timing.rules.plan is not None or not timing.calibrations:
            self._plan(qpu)
            return
        for one in timing.calibrations:
            if one.told_s is not None and stage.policy.site_rules:
                stage.later(one.told_s, self._told, one)
            else:
                stage.later(one.begins_s, self._surprise, qpu)

    def start_asked(self, qpu: SimulatedQpu) -> None:
        """The core wants the one that is due."""
        self._start(qpu, self._announced_ends)

    def start_if_due(self, qpu: SimulatedQpu) -> None:
        """Start one that came by itself, unless a chunk still runs."""
        if not qpu.due or qpu.running:
            return
        if self._keeps_plan(qpu):
            self._start(qpu, self._announced_ends)
            self._stage.post(CalibrationStarted(qpu.timing.name))
        else:
            qpu.down += 1
            self._start(qpu, self._surprise_ends)
            self._stage.post(QpuReported(qpu.timing.name, QpuState.DOWN, "calibrates"))

    def _keeps_plan(self, qpu: SimulatedQpu) -> bool:
        """True if the core expects its calibrations, by the site's plan."""
        return qpu.timing.rules.plan is not None and self._stage.policy.site_rules

    def _plan(self, qpu: SimulatedQpu) -> None:
        """See to the next one: the core plans with it if it may know."""
        stage, plan, law = self._stage, qpu.timing.rules.plan, qpu.timing.calibration
        if plan is not None:
            by_core = plan.starter is CalibrationStarter.MANAGER and stage.policy.site_rules
            if plan.period_s is not None and not by_core:
                stage.later(plan.period_s, self._surprise, qpu, background=True)
            return
        due_at = None if qpu.timing.calibrations else qpu.next_due(stage.now)
        if law is None or due_at is None:
            return
        if law.announced and stage.policy.site_rules:
            stage.post(CalibrationDue(qpu.timing.name, "as announced", stage.start_at + due_at))
        else:
            stage.heap.push(due_at, self._surprise, qpu, background=True)

    def _told(self, one: RecordedCalibration) -> None:
        due_at = None if one.due_s is None else self._stage.start_at + instant(one.due_s)
        self._stage.post(CalibrationDue(one.qpu, "as recorded", due_at))

    def _surprise(self, qpu: SimulatedQpu) -> None:
        """It is due, and waits for the running chunk. One that lasts or waits is joined."""
        if qpu.due or qpu.calibrating_until is not None:
            return
        qpu.due = True
        if not self._keeps_plan(qpu) and not qpu.down:
            name = qpu.timing.name
            self._stage.post(QpuReported(name, QpuState.DRAINING, "a calibration is due"))
        if qpu.used or self._keeps_plan(qpu):
            self.start_if_due(qpu)

    def _surprise_ends(self, qpu: SimulatedQpu) -> None:
        qpu.calibrating_until = None
        qpu.down -= 1
        self._plan(qpu)
        if not qpu.down:
            self._stage.post(QpuReported(qpu.timing.name, QpuState.UP))

    def _announced_ends(self, qpu: SimulatedQpu) -> None:
        qpu.calibrating_until = None
        name, n, recorded = qpu.timing.name, qpu.calibrations, qpu.timing.calibrations
        found = recorded[n - 1] if n <= len(recorded) else None
        self._stage.post(
            CalibrationEnded(
                name,
                epoch=found.epoch if found is not None and found.epoch else str(n),
                quality=None if found is None else found.quality,
            )
        )
        self._plan(qpu)

    def _start(self, qpu: SimulatedQpu, at_its_end: Action) -> None:
        stage = self._stage
        ends_at = qpu.begin_calibration(stage.now)
        stage.heap.push(ends_at, at_its_end, qpu, background=True)
        stage.note_span(qpu.timing.name, stage.now, ends_at, CALIBRATION)
