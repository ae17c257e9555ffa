"""Tells event streams that the journal has grown, without a queue per stream.

The newest journal rows are kept in a ring. A stream holds a cursor: it reads
from the ring, or from the store if it is too far behind, so a slow client
costs nothing and misses nothing. Shot progress is ephemeral: the newest value
per task, dropped when a stream doesn't keep up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from qpu_executor.manager.store.records import JournalRow


@dataclass(frozen=True, slots=True)
class Progress:
    """Shots of a running task so far (not in the journal)."""

    task_id: int
    owner: str
    session_id: str | None
    shots_done: int
    shots: int


class Broadcast:
    """Committed journal rows with a state change, in order, for everybody who listens."""

    def __init__(self, newest: int, keep: int = 20_000) -> None:
        self.newest = newest
        self._oldest_kept = newest + 1
        self._ring: deque[JournalRow] = deque(maxlen=keep)
        self._grown = asyncio.Condition()
        self._progress: dict[str, dict[int, Progress]] = {}
        self._serial = 0
        self.closed = False

    async def close(self) -> None:
        """Wake every stream for the last time."""
        self.closed = True
        self._serial += 1
        async with self._grown:
            self._grown.notify_all()

    def listen(self, owner: str) -> None:
        """Start to keep this owner's progress (idempotent)."""
        self._progress.setdefault(owner, {})

    async def publish(
        self, newest: int, rows: Iterable[JournalRow], progress: Iterable[Progress]
    ) -> None:
        """Rows up to number `newest` are committed; wake everybody."""
        for row in rows:
            if len(self._ring) == self._ring.maxlen:
                self._oldest_kept = self._ring[0].n + 1
            self._ring.append(row)
        for item in progress:
            kept = self._progress.get(item.owner)
            if kept is not None:
                kept[item.task_id] = item
        self.newest = newest
        self._serial += 1
        async with self._grown:
            self._grown.notify_all()

    def since(self, cursor: int) -> list[JournalRow] | None:
        """Rows above the cursor, or None if some of them are no longer kept."""
        if cursor + 1 < self._oldest_kept:
            return None
        found: list[JournalRow] = []
        for row in reversed(self._ring):
            if row.n <= cursor:
                break
            found.append(row)
        found.reverse()
        return found

    def progress_of(self, owner: str) -> list[Progress]:
        """The newest progress of this owner's tasks; drops what has ended."""
        return list(self._progress.get(owner, {}).values())

    def forget(self, owner: str, task_id: int) -> None:
        """The task has ended: its progress is history."""
        self._progress.get(owner, {}).pop(task_id, None)

    @property
    def serial(self) -> int:
        """Grows with every publication; hand it to `wait_beyond`."""
        return self._serial

    async def wait_beyond(self, serial: int, timeout_s: float) -> bool:
        """Wait for a publication after `serial`; False after `timeout_s` without one."""
        if self._serial > serial:
            return True
        try:
            async with asyncio.timeout(timeout_s), self._grown:
                await self._grown.wait_for(lambda: self._serial > serial)
        except TimeoutError:
            return False
        return True
