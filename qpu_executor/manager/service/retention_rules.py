"""How long a site keeps what its tasks leave behind."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetentionRules:
    """Seconds; None: for ever. `results_s`: programs, counts and names of tasks that have ended.

    `journal_s`: rows of the journal, once the task that they tell of has expired. `audit_s`:
    those that are the audit log.
    """

    results_s: float | None = None
    journal_s: float | None = None
    audit_s: float | None = None

    @property
    def any(self) -> bool:
        """True if something expires."""
        return (self.results_s, self.journal_s, self.audit_s) != (None, None, None)
