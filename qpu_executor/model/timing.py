"""Values about time: instants, what a task wishes, calibration plans, windows.

Instants are integer microseconds since the epoch on the manager's clock (`*_at`);
durations are seconds (`*_s`).
"""

from __future__ import annotations

from dataclasses import dataclass

from qpu_executor.model.states import (
    CalibrationStarter,
    DependencyKind,
    OnRecalibration,
    WindowKind,
)

Instant = int
"""Microseconds since the epoch, on the manager's clock, which never goes back."""

MICROSECONDS = 1_000_000

QUALITY = "quality"
"""The reported metric that a task's `min_quality` is compared with; higher is better."""


def after(instant: Instant, seconds: float) -> Instant:
    """The instant `seconds` after (or, negative, before) another one."""
    return instant + round(seconds * MICROSECONDS)


def seconds_between(start: Instant, end: Instant) -> float:
    """Seconds from `start` to `end`; negative if `end` is the earlier one."""
    return (end - start) / MICROSECONDS


@dataclass(frozen=True, slots=True)
class Dependency:
    """Another task that has to end first. Only tasks submitted earlier can be named."""

    task_id: int
    kind: DependencyKind = DependencyKind.AFTER_OK


@dataclass(frozen=True, slots=True)
class Timing:
    """What a task wishes or is bound by in time. Equal ones may be one shared object.

    `begin_at`: not before. `time_limit_s`: wall seconds since its first chunk,
    after which it is stopped and FAILED. `on_recalibration`: what happens to
    shots of an earlier epoch. `max_calibration_age_s`: its chunks end at most
    this long after a calibration. `min_quality`: least `quality` that the QPU
    has to have reported. `session_ends_at`: when its session's allocation ends.
    """

    begin_at: Instant | None = None
    time_limit_s: float | None = None
    depends_on: tuple[Dependency, ...] = ()
    on_recalibration: OnRecalibration = OnRecalibration.CONTINUE
    max_calibration_age_s: float | None = None
    min_quality: float | None = None
    session_ends_at: Instant | None = None


@dataclass(frozen=True, slots=True)
class DriftBound:
    """A metric that the QPU reports, and the range within which no calibration is needed."""

    metric: str
    at_least: float | None = None
    at_most: float | None = None

    def broken_by(self, value: float) -> bool:
        """True if a reported value asks for a calibration."""
        below = self.at_least is not None and value < self.at_least
        return below or (self.at_most is not None and value > self.at_most)


@dataclass(frozen=True, slots=True)
class CalibrationPlan:
    """When a QPU is calibrated, for how long, and who starts it.

    `period_s`: from the end of one to the next (None: only when `drift` or
    somebody says so). `length_s`: expected. `grace_s`: how long the QPU is kept
    free for one that is due and that an operator or the device doesn't report;
    afterwards tasks run again and the calibration is overdue.
    """

    period_s: float | None = None
    length_s: float = 600.0
    starter: CalibrationStarter = CalibrationStarter.MANAGER
    drift: DriftBound | None = None
    grace_s: float = 900.0


WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True, slots=True)
class Window:
    """A time in which a QPU is closed to tasks, or reserved for some.

    A reservation is for the tasks that match each of `account`, `session_id`
    and `job_class` that is given. `starts_at` <= now < `ends_at`: it is on.
    """

    name: str
    kind: WindowKind
    starts_at: Instant
    ends_at: Instant
    account: str | None = None
    session_id: str | None = None
    job_class: str | None = None

    def admits(self, account: str, session_id: str | None, job_class: str) -> bool:
        """True if tasks of these may run while the window is on."""
        return (
            self.kind is WindowKind.RESERVATION
            and self.account in (None, account)
            and self.session_id in (None, session_id)
            and self.job_class in (None, job_class)
        )
