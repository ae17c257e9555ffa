"""The manager's clock: integer microseconds that never go back.

It starts at the system's time (or at the newest instant in the store, if that
is later) and then follows the monotonic clock, so that a stepped system clock
neither reorders the journal nor ends a wait too early. So one start with a clock that is
ahead leaves the manager ahead, and a host's clock that is set while the manager runs leaves
it where it was: `ahead_s` tells how far, for whoever says so, and for what can't be undone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from qpu_executor.model.clock import Clock
from qpu_executor.model.values import MICROSECONDS, Instant


def host_now() -> Instant:
    """The clock of this host, whatever it is set to."""
    return time.time_ns() // 1000


def ahead_of_host_s(clock: Clock) -> float:
    """See `SystemClock.ahead_s`; 0.0 for a clock that isn't the host's, as in a rehearsal."""
    return clock.ahead_s() if isinstance(clock, SystemClock) else 0.0


class SystemClock:
    """Real time, times `scale` (2: twice as fast) from the moment it was started.

    `host`: the clock of the host, in microseconds since the epoch; it may be set at any time.
    """

    def __init__(
        self,
        not_before: Instant = 0,
        scale: float = 1.0,
        host: Callable[[], Instant] = host_now,
    ) -> None:
        self._scale = scale
        self._host = host
        self._origin = max(not_before, host())
        self._started_ns = time.monotonic_ns()

    def now(self) -> Instant:
        """Microseconds since the epoch."""
        elapsed_us = (time.monotonic_ns() - self._started_ns) / 1000
        return self._origin + int(elapsed_us * self._scale)

    def ahead_s(self) -> float:
        """Seconds from the host's clock to this one (negative: it is behind).

        0.0 where it isn't meant to keep to the host's, with a `scale`.
        """
        if self._scale != 1:
            return 0.0
        return (self.now() - self._host()) / MICROSECONDS

    async def sleep_until(self, instant: Instant) -> None:
        """Return once `now()` has reached the instant."""
        left_us = instant - self.now()
        if left_us > 0:
            # One microsecond more than needed: the loop's timer may round down.
            await asyncio.sleep((left_us + 1) / MICROSECONDS / self._scale)
