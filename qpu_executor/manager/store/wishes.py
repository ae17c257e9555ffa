"""What few tasks ask for, beyond what every task has: one value, one text column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from qpu_executor.model.states import DependencyKind, OnRecalibration
from qpu_executor.model.timing import Dependency, Timing
from qpu_executor.model.values import Instant


@dataclass(frozen=True, slots=True)
class Wishes:
    """A task's wishes about time and calibration; what isn't given binds nobody.

    `begin_at`, `time_limit_s`, `depends_on`, `on_recalibration`, `max_calibration_age_s`,
    `min_quality`: as in `Timing`. `deadline_at`: when its user wants it done. `shot_s`:
    seconds that a shot takes, as its user says. `path_s`: seconds of work from this task
    to the end of its workflow, as that says. `session_ends_at`: not wished, but given by
    the session that it was submitted in.
    """

    begin_at: Instant | None = None
    time_limit_s: float | None = None
    depends_on: tuple[Dependency, ...] = ()
    on_recalibration: OnRecalibration = OnRecalibration.CONTINUE
    max_calibration_age_s: float | None = None
    min_quality: float | None = None
    deadline_at: Instant | None = None
    shot_s: float | None = None
    path_s: float | None = None
    session_ends_at: Instant | None = None

    def __bool__(self) -> bool:
        """True if there is any wish."""
        return self is not NO_WISHES and self != NO_WISHES

    def timing(self) -> Timing | None:
        """Those that the core keeps a clock for; None where there are none."""
        found = Timing(
            begin_at=self.begin_at,
            time_limit_s=self.time_limit_s,
            depends_on=self.depends_on,
            on_recalibration=self.on_recalibration,
            max_calibration_age_s=self.max_calibration_age_s,
            min_quality=self.min_quality,
            session_ends_at=self.session_ends_at,
        )
        return None if found == _NO_TIMING else found

    def values(self) -> dict[str, Any]:
        """The wishes there are, as plain values that JSON has."""
        found: dict[str, Any] = {
            one.name: value
            for one in fields(self)
            if (value := getattr(self, one.name)) != getattr(NO_WISHES, one.name)
        }
        if self.depends_on:
            found["depends_on"] = [[one.task_id, one.kind.value] for one in self.depends_on]
        if "on_recalibration" in found:
            found["on_recalibration"] = self.on_recalibration.value
        return found

    @classmethod
    def of_values(cls, values: Mapping[str, Any]) -> Wishes:
        """The other way round. Raises ValueError or TypeError for what can't be wishes."""
        if not values:
            return NO_WISHES
        found = dict(values)
        found["depends_on"] = tuple(
            Dependency(int(task_id), DependencyKind(kind))
            for task_id, kind in found.get("depends_on", ())
        )
        found["on_recalibration"] = OnRecalibration(found.get("on_recalibration", "continue"))
        return cls(**found)


NO_WISHES = Wishes()
_NO_TIMING = Timing()
