"""Keeping a QPU for a session while it thinks: a linger after each of its tasks, or a whole run.

While a hold is on, only that session's tasks go to the QPU. A linger begins when
the session's last task there has ended and nothing of it waits; it is over when
the session's next task starts, when its seconds are over, or when the QPU is
closed anyway. A contiguous run is on from the moment it is granted until its
end; only the seconds in which nothing runs count as kept, and too many of them
in a row end it.
"""

from __future__ import annotations

from dataclasses import dataclass

from qpu_executor.model.timing import Instant, after


@dataclass(slots=True)
class WarmHold:
    """What a session was granted on a QPU. `kept_since`: the QPU has waited for it since then.

    `granted_at`: a run's bound counts from here, however often it is asked for. `idle_s`:
    seconds of waiting that end a run (None: none do).
    """

    session_id: str
    linger_s: float
    until_at: Instant
    contiguous: bool = False
    kept_since: Instant | None = None
    account: str = ""
    owner: str = ""
    granted_at: Instant = 0
    idle_s: float | None = None

    @property
    def on(self) -> bool:
        """Whether other sessions' tasks are kept out now."""
        return self.contiguous or self.kept_since is not None

    def ends_at(self) -> Instant:
        """When the hold that is on is over, unless the session's next task comes before."""
        waits_s = self.idle_s if self.contiguous else self.linger_s
        if self.kept_since is None or waits_s is None:
            return self.until_at
        return min(self.until_at, after(self.kept_since, waits_s))
