"""What is known of time, wherever something waits for it: an interface, no clock."""

from __future__ import annotations

from typing import Protocol

from qpu_executor.model.values import Instant


class Clock(Protocol):
    """Time as the manager and its QPUs see it; it may run faster than real time."""

    def now(self) -> Instant:
        """Microseconds since the epoch; never less than the answer before."""

    async def sleep_until(self, instant: Instant) -> None:
        """Return once `now()` has reached the instant."""
