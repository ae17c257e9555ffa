"""What changes of a QPU's calendar: its windows and its calibrations."""

from __future__ import annotations

from qpu_executor.errors import InternalError
from qpu_executor.model.events import (
    CalibrationDue,
    CalibrationEnded,
    CalibrationReported,
    CalibrationStarted,
    WindowsChanged,
)
from qpu_executor.model.timing import QUALITY, Instant
from qpu_executor.scheduling import calibration
from qpu_executor.scheduling.agenda import Agenda
from qpu_executor.scheduling.placement import Placement
from qpu_executor.scheduling.queue import Queue
from qpu_executor.scheduling.recorder import Recorder
from qpu_executor.scheduling.state import CoreState, Qpu
from qpu_executor.scheduling.timekeeper import Timekeeper
from qpu_executor.scheduling.windows import in_order


class CalendarEvents:
    """Takes in windows and calibrations, and has everything planned anew around them."""

    def __init__(
        self,
        state: CoreState,
        queue: Queue,
        recorder: Recorder,
        placement: Placement,
        agenda: Agenda,
        time: Timekeeper,
    ) -> None:
        self._state = state
        self._queue = queue
        self._recorder = recorder
        self._placement = placement
        self._agenda = agenda
        self._time = time

    def joined(self, qpu: Qpu, now: Instant) -> None:
        """A QPU joined, or its specification (and so its plan) changed."""
        calibration.join(qpu.calibration, qpu.spec.calibration, now)
        self._calendar_changed(qpu, now)

    def windows_changed(self, event: WindowsChanged, now: Instant) -> None:
        """Plan with these windows; a chunk that is out across a start is stopped then."""
        qpu = self._state.known(event.qpu)
        for window in event.windows:
            if window.ends_at <= window.starts_at:
                what = f"window {window.name!r} ends before it starts"
                raise InternalError(what, where=event.qpu)
        qpu.windows = in_order(event.windows, now)
        for window in qpu.windows:
            self._agenda.add(window.starts_at, event.qpu)
            self._agenda.add(window.ends_at, event.qpu)
        self._calendar_changed(qpu, now)

    def calibration_due(self, event: CalibrationDue, now: Instant) -> None:
        """Plan a calibration for that instant, or before the next chunk."""
        qpu = self._state.known(event.qpu)
        calibration.ask(qpu.calibration, now, event.reason or "it was asked for", event.due_at)
        self._calendar_changed(qpu, now)

    def calibration_started(self, event: CalibrationStarted, now: Instant) -> None:
        """The QPU takes nothing now; what it still has is stopped if it can be."""
        qpu = self._state.known(event.qpu)
        calibration.started(qpu.calibration)
        self._time.not_due(event.qpu)
        if qpu.spec.partial_results:
            for chunk in qpu.running.values():
                self._recorder.stop_noted(chunk, "a calibration has started")
        self._calendar_changed(qpu, now)

    def calibration_ended(self, event: CalibrationEnded, now: Instant) -> None:
        """A new epoch: tasks that can't use shots of the one before start anew or fail."""
        qpu = self._state.known(event.qpu)
        calibration.ended(
            qpu.calibration,
            qpu.spec.calibration,
            now,
            epoch=event.epoch,
            ended_at=event.ended_at,
            quality=event.quality,
            worked=event.worked,
        )
        if event.worked:
            for task_id in tuple(qpu.one_epoch):
                task = self._state.tasks[task_id]
                if task.chunk is None:
                    self._time.leave_epoch(task, qpu, now)
        self._calendar_changed(qpu, now)

    def calibration_reported(self, event: CalibrationReported, now: Instant) -> None:
        """Note a metric; one that is out of its bounds asks for a calibration."""
        qpu = self._state.known(event.qpu)
        if event.metric == QUALITY:
            qpu.calibration.quality = event.value
        plan = qpu.spec.calibration
        drift = None if plan is None else plan.drift
        if drift is not None and drift.metric == event.metric and drift.broken_by(event.value):
            calibration.ask(qpu.calibration, now, f"{event.metric} is {event.value:g}", None)
        self._calendar_changed(qpu, now)

    # -- inside -------------------------------------------------------------------------

    def _calendar_changed(self, qpu: Qpu, now: Instant) -> None:
        name, state = qpu.spec.name, qpu.calibration
        if state.due_at is not None:
            self._agenda.add(max(state.due_at, now), name)
            grace_at = calibration.grace_ends_at(state, qpu.spec.calibration)
            if grace_at is not None:
                self._agenda.add(grace_at, name)
        self._time.note_due(qpu, now)
        qpu.parked_shot_s = qpu.shot_s
        self._queue.unpark(name, now)
        self._placement.touched[name] = None
