"""The site file's retention: how long results, the journal and the audit log are kept."""

from __future__ import annotations

from pydantic import Field

from qpu_executor.manager.service.retention_rules import RetentionRules
from qpu_executor.settings.part import Part

DAY_S = 86_400.0


class RetentionSettings(Part):
    """Seconds, at least a day; left out: for ever."""

    results_s: float | None = Field(default=None, ge=DAY_S)
    journal_s: float | None = Field(default=None, ge=DAY_S)
    audit_s: float | None = Field(default=None, ge=DAY_S)

    def rules(self) -> RetentionRules:
        """As the manager sees them."""
        return RetentionRules(self.results_s, self.journal_s, self.audit_s)
