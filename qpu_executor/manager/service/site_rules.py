"""What a site says of a QPU, whatever its adapter is: plan, windows, bounds."""

from __future__ import annotations

from dataclasses import dataclass

from qpu_executor.manager.service.window_calendar import WindowRule
from qpu_executor.model.timing import CalibrationPlan


@dataclass(frozen=True, slots=True)
class SiteRules:
    """What the site says of a QPU, whatever its adapter is. Fields: as in `QpuSpec`;
    `plan`: None stands for the adapter's own.
    """

    plan: CalibrationPlan | None = None
    windows: tuple[WindowRule, ...] = ()
    group_tasks: int = 0
    group_s: float = 0.0
    max_linger_s: float = 0.0
    max_run_s: float = 0.0
    max_run_idle_s: float | None = None
