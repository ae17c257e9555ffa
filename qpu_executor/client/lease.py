"""When a session's lease is renewed, and what its user is told. No I/O: time is an argument.

A lease is renewed three times in its length, each time a bit earlier or later, so that
thousands of clients that began together don't come together. What wasn't answered is tried
again soon, until the manager says that there is nothing to renew.
"""

from __future__ import annotations

from qpu_executor.errors import CallerError, RequestRefused
from qpu_executor.wire.sessions import HeartbeatOut

RENEWALS = 3
"""In the length of a lease, on average: one or two may be lost."""

TRIALS = 12
"""In the length of a lease, on average, after a renewal that failed."""

JITTER = 0.2
"""A renewal comes earlier or later by at most this part of the pause."""


class Lease:
    """One session's. `lease_s`: its length; `now_s`: on a clock that never goes back."""

    def __init__(self, session_id: str, lease_s: float, now_s: float) -> None:
        self.session_id = session_id
        self.lease_s = lease_s
        self._renewed_at_s = now_s
        self._told = False
        self._failed = False

    def pause_s(self, jitter: float) -> float:
        """Seconds until the next renewal. `jitter`: uniform in [0, 1)."""
        pauses = TRIALS if self._failed else RENEWALS
        return self.lease_s / pauses * (1.0 - JITTER + 2.0 * JITTER * jitter)

    @property
    def patience_s(self) -> float:
        """For how long one renewal is tried again while nobody answers."""
        return self.lease_s / RENEWALS

    def renewed(self, answer: HeartbeatOut, now_s: float) -> str | None:
        """The manager has answered. Returns what the user has to know, if anything."""
        self._renewed_at_s = now_s
        self._told = self._failed = False
        self.lease_s = answer.lease_s or self.lease_s
        if not answer.was_lost:
            return None
        ids = ", ".join(map(str, answer.released[:10])) + (", …" if answer.released[10:] else "")
        went_on = f"the tasks that waited go on: {ids}" if ids else "none of its tasks had waited"
        return (
            f"session {self.session_id} had lost its lease of {self.lease_s:g} s, and has it "
            f"back; {went_on}. QPUs that it kept warm are given back: ask again if it needs one"
        )

    def unanswered(self, error: Exception, now_s: float) -> str | None:
        """Nobody answered, or not to this. Returns what the user has to know, once."""
        self._failed = True
        silent_s = now_s - self._renewed_at_s
        if self._told or silent_s < self.lease_s:
            return None
        self._told = True
        return (
            f"session {self.session_id} couldn't be renewed for {silent_s:.0f} s, longer than its "
            f"lease; its tasks may pause until the manager answers again: {error}"
        )

    @staticmethod
    def is_over(error: Exception) -> bool:
        """True if the manager says that there is nothing to renew, or can't renew anything.

        Anything else may pass: a credential that is refused while its service is started again
        or its file is replaced, an error of the manager's or of this process's.
        """
        return isinstance(error, RequestRefused) or type(error) is CallerError

    def ended(self, error: Exception) -> str:
        """The manager says that there is nothing to renew any more."""
        return (
            f"session {self.session_id} isn't renewed any more: {error}; "
            "submissions to it are refused, its results stay"
        )
