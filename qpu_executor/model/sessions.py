"""What a session says of the work that it brings. Hints: policies may use them, none needs them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class WorkShape(StrEnum):
    """Where a hybrid workload spends its time, in the words of the field."""

    QPU_HEAVY = "qpu-heavy"
    """It thinks for seconds between quantum tasks that take minutes."""
    BALANCED = "balanced"
    """It thinks about as long as its quantum tasks take."""
    CLASSICAL_HEAVY = "classical-heavy"
    """It thinks for much longer than its quantum tasks take."""


@dataclass(frozen=True, slots=True)
class SessionHints:
    """What a session says of its tasks; None: it doesn't say.

    `expected_tasks`: how many it will submit in all. `think_s`: seconds of classical work
    between the end of a task and the submission of the next one. Nobody checks either.
    """

    shape: WorkShape | None = None
    expected_tasks: int | None = None
    think_s: float | None = None

    def __bool__(self) -> bool:
        """True if anything is said."""
        return (self.shape, self.expected_tasks, self.think_s) != (None, None, None)


NO_HINTS = SessionHints()
