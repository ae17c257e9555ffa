"""When to look at a job again: seldom while it can't have ended, soon when it should.

Pure. On a cloud each look is a request that others pay for as well; a fixed interval
either asks too often or leaves the QPU idle. The end is predicted from the time that
a shot took so far on this QPU.
"""

from __future__ import annotations

from dataclasses import dataclass

_LEARNT = 0.3
"""Weight of the newest job in the mean time of a shot."""


@dataclass(frozen=True, slots=True)
class Pauses:
    """`least_s`, `most_s`: bounds of a pause in seconds."""

    least_s: float
    most_s: float

    def next_s(self, elapsed_s: float, expected_s: float | None) -> float:
        """Seconds until the next look at a job that was sent `elapsed_s` ago.

        `expected_s`: how long it should take in all (None: nobody knows). Halves what
        is left until then, and afterwards grows with what it is overdue.
        """
        if expected_s is None:
            wanted = elapsed_s / 4
        elif elapsed_s < expected_s:
            wanted = (expected_s - elapsed_s) / 2
        else:
            wanted = (elapsed_s - expected_s) / 4
        return min(max(wanted, self.least_s), self.most_s)


class ShotTime:
    """Seconds from the sending of a job to its end, per shot, as measured."""

    def __init__(self, shot_rate_hz: float | None) -> None:
        self._shot_s = None if shot_rate_hz is None else 1 / shot_rate_hz

    def expected_s(self, shots: int) -> float | None:
        """How long a job of so many shots should take; None before the first one."""
        return None if self._shot_s is None else self._shot_s * shots

    def learn(self, shots: int, took_s: float) -> None:
        """A job of so many shots took so long."""
        if shots < 1:
            return
        new = took_s / shots
        old = self._shot_s
        self._shot_s = new if old is None else old + _LEARNT * (new - old)
