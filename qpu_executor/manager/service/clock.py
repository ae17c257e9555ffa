"""The manager's clock: integer microseconds that never go back.

It starts at the system's time (or at the newest instant in the store, if that
is later) and then follows the monotonic clock, so that a stepped system clock
neither reorders the journal nor ends a wait too early.
"""

from __future__ import annotations

import asyncio
import time

from qpu_executor.model.values import MICROSECONDS, Instant


class SystemClock:
    """Real time, times `scale` (2: twice as fast) from the moment it was started."""

    def __init__(self, not_before: Instant = 0, scale: float = 1.0) -> None:
        self._scale = scale
        self._origin = max(not_before, time.time_ns() // 1000)
        self._started_ns = time.monotonic_ns()

    def now(self) -> Instant:
        """Microseconds since the epoch."""
        elapsed_us = (time.monotonic_ns() - self._started_ns) / 1000
        return self._origin + int(elapsed_us * self._scale)

    async def sleep_until(self, instant: Instant) -> None:
        """Return once `now()` has reached the instant."""
        left_us = instant - self.now()
        if left_us > 0:
            # One microsecond more than needed: the loop's timer may round down.
            await asyncio.sleep((left_us + 1) / MICROSECONDS / self._scale)
