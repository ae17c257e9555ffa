"""What a site says of a QPU, whatever its adapter is: plan, windows, bounds."""

from __future__ import annotations

from dataclasses import dataclass

from qpu_executor.manager.service.window_calendar import WindowRule
from qpu_executor.model.timing import CalibrationPlan


@dataclass(frozen=True, slots=True)
class SiteRules:
    """What the site says of a QPU, whatever its adapter is. Fields: as in `QpuSpec`;
    `plan`: None stands for the adapter's own. `unknown_deadline_s`: for how long it may leave
    a question about a chunk unanswered.
    """

    plan: CalibrationPlan | None = None
    windows: tuple[WindowRule, ...] = ()
    group_tasks: int = 0
    group_s: float = 0.0
    max_linger_s: float = 0.0
    max_run_s: float = 0.0
    max_run_idle_s: float | None = None
    unknown_deadline_s: float = 600.0

    def changes(self, after: SiteRules) -> list[str]:
        """What is otherwise in `after`, in words."""
        return [
            what
            for what, differs in (
                ("calibration plan", self.plan != after.plan),
                ("windows", self.windows != after.windows),
                ("layout grouping", self._grouping() != after._grouping()),
                ("keeping warm", self._keeping() != after._keeping()),
                ("unknown deadline", self.unknown_deadline_s != after.unknown_deadline_s),
            )
            if differs
        ]

    def _grouping(self) -> tuple[float, ...]:
        return (self.group_tasks, self.group_s)

    def _keeping(self) -> tuple[float | None, ...]:
        return (self.max_linger_s, self.max_run_s, self.max_run_idle_s)
