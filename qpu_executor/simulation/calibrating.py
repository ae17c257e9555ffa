"""Calibrations in a rehearsal: announced ones through the core's calendar, others as they come."""

from __future__ import annotations

from qpu_executor.model.events import (
    CalibrationDue,
    CalibrationEnded,
    QpuReported,
)
from qpu_executor.model.states import QpuState
from qpu_executor.simulation.heap import Action
from qpu_executor.simulation.qpu_model import SimulatedQpu
from qpu_executor.simulation.stage import START_AT, Stage


class Calibrations:
    """Closes the QPUs of a stage when their calibrations are due."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def plan_closings(self, qpu: SimulatedQpu) -> None:
        """Plan the closings that are known beforehand (to us, not to the core)."""
        for begins_s, lasts_s in qpu.timing.closings:
            self._stage.later(begins_s, self._closing_due, (qpu, lasts_s))

    def plan(self, qpu: SimulatedQpu) -> None:
        """Draw the next one; the core plans with it if it may know."""
        stage, law = self._stage, qpu.timing.calibration
        due_at = qpu.next_due(stage.now)
        if law is None or due_at is None:
            return
        if law.announced and stage.policy.site_rules:
            stage.post(CalibrationDue(qpu.timing.name, "as announced", START_AT + due_at))
        else:
            stage.heap.push(due_at, self._surprise, qpu)

    def start_asked(self, qpu: SimulatedQpu) -> None:
        """The core wants the one that was announced."""
        self._start(qpu, self._announced_ends)

    def start_if_due(self, qpu: SimulatedQpu) -> None:
        """Start one that came as a surprise, unless a chunk still runs."""
        if qpu.due and not qpu.running:
            self._start(qpu, self._surprise_ends)
            self._stage.post(QpuReported(qpu.timing.name, QpuState.DOWN, "calibrates"))

    def _closing_due(self, closing: tuple[SimulatedQpu, float]) -> None:
        """One that is due while another one lasts or waits is part of that one."""
        qpu, lasts_s = closing
        if qpu.due or qpu.calibrating_until is not None:
            return
        qpu.closes_s = lasts_s
        self._surprise(qpu)

    def _surprise(self, qpu: SimulatedQpu) -> None:
        qpu.due = True
        name = qpu.timing.name
        self._stage.post(QpuReported(name, QpuState.DRAINING, "a calibration is due"))
        if qpu.used:
            self.start_if_due(qpu)

    def _surprise_ends(self, qpu: SimulatedQpu) -> None:
        qpu.calibrating_until = None
        self.plan(qpu)
        self._stage.post(QpuReported(qpu.timing.name, QpuState.UP))

    def _announced_ends(self, qpu: SimulatedQpu) -> None:
        qpu.calibrating_until = None
        self._stage.post(CalibrationEnded(qpu.timing.name, epoch=str(qpu.calibrations)))
        self.plan(qpu)

    def _start(self, qpu: SimulatedQpu, at_its_end: Action) -> None:
        stage = self._stage
        ends_at = qpu.begin_calibration(stage.now)
        stage.heap.push(ends_at, at_its_end, qpu)
        stage.note_span(qpu.timing.name, stage.now, ends_at, "calibration")
