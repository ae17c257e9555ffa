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

    def post(self, item: Item) -> None:
        """Add an item; never blocks. To be called on the manager's loop."""
        self._items.append(item)
        self._arrived.set()

    def __len__(self) -> int:
        return len(self._items)

    async def take(self) -> list[Item]:
        """Wait for the first item, then return all that is there (at most a batch)."""
        await self._arrived.wait()
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
        return taken
