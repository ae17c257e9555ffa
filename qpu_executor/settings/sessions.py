"""The site file's part about sessions."""

from __future__ import annotations

from pydantic import Field

from qpu_executor.manager.service.session_rules import SessionRules
from qpu_executor.model.sessions import TaskFate
from qpu_executor.settings.part import Part

LONGEST_S = 366 * 86_400.0
_DEFAULT = SessionRules()


class SessionSettings(Part):
    """How long sessions live, and what their end means for their tasks: see `SessionRules`."""

    lease_s: float = Field(default=_DEFAULT.lease_s, ge=1, le=LONGEST_S)
    grace_s: float = Field(default=_DEFAULT.grace_s, ge=0, le=LONGEST_S)
    idle_s: float = Field(default=_DEFAULT.idle_s, ge=10, le=LONGEST_S)
    lifetime_s: float = Field(default=_DEFAULT.lifetime_s, ge=10, le=LONGEST_S)
    on_lost: TaskFate = _DEFAULT.on_lost
    on_close: TaskFate = _DEFAULT.on_close
    on_end: TaskFate = _DEFAULT.on_end

    def rules(self, time_scale: float) -> SessionRules:
        """As the manager sees them. `time_scale`: of its clock."""
        return SessionRules(**self.model_dump(), time_scale=time_scale)
