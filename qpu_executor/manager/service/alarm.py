"""Wakes the manager at the instant that the core has named."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from qpu_executor.manager.service.vital import Died, vital
from qpu_executor.model.clock import Clock
from qpu_executor.model.values import Instant


class Alarm:
    """One instant at a time; `ring` is called on the loop once it has come.

    `died` is told where it never will.
    """

    def __init__(self, clock: Clock, ring: Callable[[], None], died: Died) -> None:
        self._clock = clock
        self._ring = ring
        self._died = died
        self._at: Instant | None = None
        self._task: asyncio.Task[None] | None = None

    def set(self, at: Instant | None) -> None:
        """Ring at `at` instead of whatever was set before; None: not at all."""
        if at == self._at:
            return
        self.cancel()
        if at is not None:
            self._at = at
            self._task = vital(self._sleep(at), "alarm", self._died)

    def cancel(self) -> None:
        """Don't ring."""
        if self._task is not None:
            self._task.cancel()
        self._at = self._task = None

    async def _sleep(self, at: Instant) -> None:
        await self._clock.sleep_until(at)
        self._at = self._task = None
        self._ring()
