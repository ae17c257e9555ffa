"""What few tasks ask for, beyond what every task has: one value, one text column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from qpu_executor.errors import RequestRefused
from qpu_executor.model.needs import QpuNeeds
from qpu_executor.model.states import DependencyKind, OnRecalibration
from qpu_executor.model.stopping import StopRule, read_stop_rule
from qpu_executor.model.timing import Dependency, Timing
from qpu_executor.model.values import Instant


@dataclass(frozen=True, slots=True)
class Wishes:
    """A task's wishes about time, calibration and its end; what isn't given binds nobody.

    `begin_at`, `time_limit_s`, `depends_on`, `on_recalibration`, `max_calibration_age_s`,
    `min_quality`: as in `Timing`. `deadline_at`: when its user wants it done. `shot_s`:
    seconds that a shot takes, as its user says. `stop_when`: when it has enough shots.
    `device`: name of the device that its QPUs have to be. `require`: what its QPUs have to have.
    `path_s`: seconds of work from this task to the end of its workflow, as that says.
    `session_ends_at`: not wished, but given by the session that it was submitted in.
    """

    begin_at: Instant | None = None
    time_limit_s: float | None = None
    depends_on: tuple[Dependency, ...] = ()
    on_recalibration: OnRecalibration = OnRecalibration.CONTINUE
    max_calibration_age_s: float | None = None
    min_quality: float | None = None
    deadline_at: Instant | None = None
    shot_s: float | None = None
    stop_when: StopRule | None = None
    device: str | None = None
    require: QpuNeeds | None = None
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
        if self.stop_when is not None:
            found["stop_when"] = self.stop_when.values()
        if self.require is not None:
            found["require"] = self.require.values()
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
        if "stop_when" in found:
            found["stop_when"] = _stored_rule(found["stop_when"])
        if "require" in found:
            found["require"] = QpuNeeds.of_values(found["require"])
        return cls(**found)


def _stored_rule(values: Mapping[str, Any]) -> StopRule:
    """A stored stopping rule. Raises ValueError for what no version stored."""
    try:
        return read_stop_rule(values)
    except RequestRefused as error:
        raise ValueError(str(error)) from None


NO_WISHES = Wishes()
_NO_TIMING = Timing()
