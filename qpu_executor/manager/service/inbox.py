"""The only way up: callers, the dispatcher and the wake-up timer post here.

The loop takes everything that has arrived since the last commit, which makes
one transaction of it (group commit).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Inbox(Generic[Item]):
    """Unbounded by design: callers are limited at the API, devices by their slots."""

    def __init__(self, batch: int = 2000) -> None:
        self._items: deque[Item] = deque()
        self._arrived = asyncio.Event()
        self._batch = batch
        self._lingering: asyncio.TimerHandle | None = None

    def post(self, item: Item, within_s: float = 0.0) -> None:
        """Add an item; never blocks. To be called on the manager's loop.

        `within_s`: it may wait so long (real seconds) for one that is urgent, to be taken
        with it.
        """
        self._items.append(item)
        if within_s <= 0:
            self._arrived.set()
        elif self._lingering is None and not self._arrived.is_set():
            loop = asyncio.get_running_loop()
            self._lingering = loop.call_later(within_s, self._arrived.set)

    def __len__(self) -> int:
        return len(self._items)

    async def take(self) -> list[Item]:
        """Wait for the first item, then return all that is there (at most a batch)."""
        await self._arrived.wait()
        self._linger_no_more()
        count = min(len(self._items), self._batch)
        taken = [self._items.popleft() for _ in range(count)]
        if not self._items:
            self._arrived.clear()
        return taken

    def drain(self) -> list[Item]:
        """All that is there now, without waiting (for the end)."""
        taken = list(self._items)
        self._items.clear()
        self._arrived.clear()
        self._linger_no_more()
        return taken

    def _linger_no_more(self) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
