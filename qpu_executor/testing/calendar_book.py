"""Books about calendars: may this chunk start now? Judged from the events alone.

Written anew from the rules, not from the core's code, so that a mistake in one
of them shows: law 3 (no chunk is planned across a known boundary) and law 9 (so
no reserved start is delayed as planned).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from qpu_executor.model.events import (
    CalibrationDue,
    CalibrationEnded,
    CalibrationReported,
    CalibrationStarted,
    Event,
    QpuDrained,
    QpuRegistered,
    QpuResumed,
    WindowsChanged,
)
from qpu_executor.model.states import CalibrationStarter, OnRecalibration
from qpu_executor.model.timing import QUALITY, Instant, Timing, Window, after
from qpu_executor.model.values import QpuSpec, TaskSpec
from qpu_executor.scheduling.commands import DiscardShots, StartCalibration, StartChunk

SAFETY = 1.2
ASSUMED_SHOT_S = 4.0


@dataclass(slots=True)
class QpuBook:
    """What is known of a QPU's calendar. `epoch_n`: calibrations that worked so far."""

    spec: QpuSpec
    joined_at: Instant
    ended_at: Instant | None = None
    due_at: Instant | None = None
    calibrating: bool = False
    asked_now: bool = False
    epoch_n: int = 0
    quality: float | None = None
    drained: bool = False
    windows: tuple[Window, ...] = ()
    last_task: int | None = None
    layout: str | None = None

    def plan_next(self) -> None:
        """A period after the last calibration, or after the QPU joined."""
        plan = self.spec.calibration
        period_s = None if plan is None else plan.period_s
        start = self.joined_at if self.ended_at is None else self.ended_at
        self.due_at = None if period_s is None else after(start, period_s)

    def known_due_at(self, now: Instant) -> Instant | None:
        """When a calibration is due; None if it isn't known, or was waited for in vain."""
        plan = self.spec.calibration
        if self.due_at is None or plan is None:
            return self.due_at
        waits = plan.starter is not CalibrationStarter.MANAGER
        return None if waits and now >= after(self.due_at, plan.grace_s) else self.due_at


@dataclass(slots=True)
class CalendarBook:
    """All QPUs' calendars, and the epochs of counted shots."""

    qpus: dict[str, QpuBook] = field(default_factory=dict)
    epochs: dict[int, tuple[str, int]] = field(default_factory=dict)

    def note(self, event: Event, now: Instant) -> None:
        """An event is about to be posted."""
        if isinstance(event, QpuRegistered):
            self._register(event.qpu, now)
            return
        book = self.qpus.get(getattr(event, "qpu", ""))
        if book is None:
            return
        match event:
            case QpuDrained():
                book.drained = True
            case QpuResumed():
                book.drained = False
            case WindowsChanged(windows=windows):
                book.windows = windows
            case CalibrationDue(due_at=due_at):
                self._ask(book, now if due_at is None else max(due_at, now), now)
            case CalibrationStarted():
                book.calibrating = True
            case CalibrationEnded():
                self._end(book, event, now)
            case CalibrationReported(metric=metric, value=value):
                if metric == QUALITY:
                    book.quality = value
                plan = book.spec.calibration
                drift = None if plan is None else plan.drift
                if drift is not None and drift.metric == metric and drift.broken_by(value):
                    self._ask(book, now, now)

    def check_start(
        self, task: TaskSpec, start: StartChunk, counted: int, rate_hz: float | None, now: Instant
    ) -> None:
        """Fails unless the chunk may start now and fits before every known boundary."""
        book = self.qpus[start.qpu]
        ends_by = self._ends_by(book, task, start, rate_hz, now)
        assert not book.drained, start
        assert not book.calibrating, start
        due_at = book.known_due_at(now)
        assert due_at is None or ends_by <= due_at, (start, due_at)
        for window in book.windows:
            if not window.admits(task.account, task.session_id, task.job_class):
                assert ends_by <= window.starts_at or now >= window.ends_at, (start, window)
        if task.timing is not None:
            self._check_wishes(task.timing, book, start, counted, ends_by, now)
        book.last_task = task.task_id
        book.layout = task.layout or book.layout

    def check_discard(self, task: TaskSpec, command: DiscardShots) -> None:
        """Only a task that asked for it loses counted shots."""
        timing = task.timing
        assert timing is not None, command
        assert timing.on_recalibration is OnRecalibration.RESTART, command
        self.epochs.pop(task.task_id, None)

    def check_calibration(self, command: StartCalibration, now: Instant) -> None:
        """Asked for only when it is due, by a manager that has to, once."""
        book = self.qpus[command.qpu]
        plan = book.spec.calibration
        assert book.due_at is not None, command
        assert book.due_at <= now, command
        assert plan is None or plan.starter is CalibrationStarter.MANAGER, command
        assert not book.calibrating, command

    def _register(self, spec: QpuSpec, now: Instant) -> None:
        book = self.qpus.get(spec.name)
        if book is None:
            book = self.qpus[spec.name] = QpuBook(spec, now)
            book.plan_next()
            return
        asked = book.asked_now and book.known_due_at(now) is not None
        changed = book.spec.calibration != spec.calibration
        book.spec = spec
        if changed and not asked:
            book.plan_next()

    def _ask(self, book: QpuBook, at: Instant, now: Instant) -> None:
        due_at = book.known_due_at(now)
        if not book.calibrating and (due_at is None or due_at > now):
            book.due_at = at
            book.asked_now = at <= now

    def _end(self, book: QpuBook, event: CalibrationEnded, now: Instant) -> None:
        book.calibrating = book.asked_now = False
        plan = book.spec.calibration
        if not event.worked:
            book.due_at = None if plan is None else after(now, plan.grace_s)
            return
        book.ended_at = now if event.ended_at is None else event.ended_at
        book.epoch_n += 1
        book.quality = event.quality
        book.plan_next()

    def _ends_by(
        self,
        book: QpuBook,
        task: TaskSpec,
        start: StartChunk,
        rate_hz: float | None,
        now: Instant,
    ) -> Instant:
        spec = book.spec
        seconds = spec.setup_s
        if book.last_task != task.task_id:
            seconds += spec.switch_s
        if task.layout is not None and task.layout != book.layout:
            seconds += spec.layout_s
        slowest = max(task.shot_s or 0.0, 1.0 / rate_hz if rate_hz else 0.0) * SAFETY
        # One microsecond for the rounding of instants.
        return after(now, seconds + start.shots * (slowest or ASSUMED_SHOT_S * SAFETY)) - 1

    def _check_wishes(
        self,
        timing: Timing,
        book: QpuBook,
        start: StartChunk,
        counted: int,
        ends_by: Instant,
        now: Instant,
    ) -> None:
        assert timing.begin_at is None or timing.begin_at <= now, start
        assert timing.session_ends_at is None or ends_by <= timing.session_ends_at, start
        if timing.min_quality is not None:
            assert book.quality is not None, start
            assert book.quality >= timing.min_quality, start
        if timing.max_calibration_age_s is not None:
            assert book.ended_at is not None, start
            assert ends_by <= after(book.ended_at, timing.max_calibration_age_s), start
        if timing.on_recalibration is not OnRecalibration.CONTINUE:
            epoch = (book.spec.name, book.epoch_n)
            if counted:
                assert self.epochs[start.chunk.task_id] == epoch, start
            self.epochs[start.chunk.task_id] = epoch
