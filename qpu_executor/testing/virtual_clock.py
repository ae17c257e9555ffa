"""A clock for tests: time passes when the test says so, and at once.

clock = VirtualClock()
...                              # the code under test sleeps until an instant
await clock.advance(30.0)        # half a minute later
"""

from __future__ import annotations

import asyncio
import heapq
from itertools import count

from qpu_executor.model.values import MICROSECONDS, Instant

_TURNS = 20
"""Turns of the loop that whoever was woken gets before time goes on."""


class VirtualClock:
    """A Clock. `start`: its first instant, in microseconds since the epoch."""

    def __init__(self, start: Instant = 1_800_000_000 * MICROSECONDS) -> None:
        self._now = start
        self._sleepers: list[tuple[Instant, int, asyncio.Future[None]]] = []
        self._order = count()

    def now(self) -> Instant:
        """Microseconds since the epoch."""
        return self._now

    @property
    def next_at(self) -> Instant | None:
        """When the first of those who sleep wants to be woken; None if nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    async def sleep_until(self, instant: Instant) -> None:
        """Return once the test has let the instant come."""
        if instant <= self._now:
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (instant, next(self._order), woken))
        await woken

    async def advance(self, seconds: float) -> None:
        """Let time pass; whoever sleeps is woken at their own instant, in order."""
        end = self._now + round(seconds * MICROSECONDS)
        await self._let_run()
        while self._sleepers and self._sleepers[0][0] <= end:
            instant, _, woken = heapq.heappop(self._sleepers)
            self._now = max(self._now, instant)
            if not woken.done():
                woken.set_result(None)
            await self._let_run()
        self._now = end

    async def _let_run(self) -> None:
        for _ in range(_TURNS):
            await asyncio.sleep(0)
