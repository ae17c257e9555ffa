"""The site file's QPUs: adapter, calibration plan, windows, grouping, keeping warm."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from qpu_executor.manager.service.site_rules import SiteRules
from qpu_executor.manager.service.window_calendar import WindowRule
from qpu_executor.model.states import CalibrationStarter
from qpu_executor.model.timing import CalibrationPlan, DriftBound
from qpu_executor.settings.part import Part
from qpu_executor.settings.windows import WindowSettings


class DriftSettings(Part):
    """A metric that the QPU reports; out of this range, a calibration is due."""

    metric: str = Field(min_length=1)
    at_least: float | None = None
    at_most: float | None = None


class CalibrationPlanSettings(Part):
    """When a QPU is calibrated and who starts it (`scheduling/calibration.py`)."""

    period_s: float | None = Field(default=None, gt=0)
    length_s: float = Field(default=600.0, gt=0)
    starter: CalibrationStarter = CalibrationStarter.MANAGER
    grace_s: float = Field(default=900.0, ge=0)
    drift: DriftSettings | None = None

    def plan(self) -> CalibrationPlan:
        """The plan as the scheduling core sees it."""
        drift = None if self.drift is None else DriftBound(**self.drift.model_dump())
        return CalibrationPlan(self.period_s, self.length_s, self.starter, drift, self.grace_s)


class LayoutGroupingSettings(Part):
    """For how many chunks and seconds the next in line may be passed over by tasks that are
    its equals and have the register layout that is loaded.
    """

    chunks: int = Field(default=10, ge=0)
    seconds: float = Field(default=600.0, ge=0)


class KeepWarmSettings(Part):
    """For how long a session may keep the QPU: between two tasks, and for a contiguous run.

    `max_run_idle_s`: a run ends when nothing of the session ran for so long.
    """

    max_linger_s: float = Field(default=0.0, ge=0)
    max_run_s: float = Field(default=0.0, ge=0)
    max_run_idle_s: float = Field(default=300.0, gt=0)


class QpuSettings(BaseModel):
    """A QPU: its adapter's `kind`, and whatever that adapter wants to know.

    `calibration_plan`: what the manager plans with, instead of what the adapter says.
    `unknown_deadline_s`: how long the QPU may leave open what became of a chunk.
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    kind: str
    calibration_plan: CalibrationPlanSettings | None = None
    windows: list[WindowSettings] = []
    layout_grouping: LayoutGroupingSettings = LayoutGroupingSettings(chunks=0)
    keep_warm: KeepWarmSettings = KeepWarmSettings()
    unknown_deadline_s: float = Field(default=600.0, gt=0)

    def __repr__(self) -> str:
        # What an adapter is told may hold secrets.
        return f"QpuSettings(kind={self.kind!r}, ...)"

    def plan(self) -> CalibrationPlan | None:
        """The site's own calibration plan; None: the adapter's."""
        return None if self.calibration_plan is None else self.calibration_plan.plan()

    def site_rules(self) -> SiteRules:
        """What the site says of the QPU besides its adapter's settings."""
        return SiteRules(
            plan=self.plan(),
            windows=self.window_rules(),
            group_tasks=self.layout_grouping.chunks,
            group_s=self.layout_grouping.seconds,
            max_linger_s=self.keep_warm.max_linger_s,
            max_run_s=self.keep_warm.max_run_s,
            max_run_idle_s=self.keep_warm.max_run_idle_s,
            unknown_deadline_s=self.unknown_deadline_s,
        )

    def window_rules(self) -> tuple[WindowRule, ...]:
        """The QPU's windows, as the site writes them."""
        return tuple(window.rule() for window in self.windows)

    def adapter_settings(self) -> dict[str, Any]:
        """The adapter's own part."""
        return dict(self.model_extra or {})
