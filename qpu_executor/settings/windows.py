"""The site file's windows: times in which a QPU is closed, or reserved."""

from __future__ import annotations

from pydantic import ConfigDict

from qpu_executor.manager.service.window_calendar import WindowRule
from qpu_executor.wire.policy import WindowRequest


class WindowSettings(WindowRequest):
    """A window, in the same words in which an operator announces one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def rule(self) -> WindowRule:
        """The window as the manager's calendar sees it."""
        return WindowRule.of_words(self.model_dump(mode="json"))
