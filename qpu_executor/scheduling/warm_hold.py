"""Keeping a QPU for a session while it thinks: a linger after each of its tasks, or a whole run.

While a hold is on, only that session's tasks go to the QPU. A linger begins when
the session's last task there has ended and nothing of it waits; it is over when
the session's next task starts, when its seconds are over, or when the QPU is
closed anyway. A contiguous run is on from the moment it is granted until its
end; only the seconds in which nothing runs count as kept.
"""

from __future__ import annotations

from dataclasses import dataclass

from qpu_executor.model.timing import Instant, after


@dataclass(slots=True)
class WarmHold:
    """A session's wish for a QPU. `kept_since`: the QPU has waited for it since then."""

    session_id: str
    linger_s: float
    until_at: Instant
    contiguous: bool = False
    kept_since: Instant | None = None
    account: str = ""
    owner: str = ""

    @property
    def on(self) -> bool:
        """Whether other sessions' tasks are kept out now."""
        return self.contiguous or self.kept_since is not None

    def ends_at(self) -> Instant:
        """When the hold that is on is over, as far as time decides it."""
        if self.contiguous or self.kept_since is None:
            return self.until_at
        return min(self.until_at, after(self.kept_since, self.linger_s))
