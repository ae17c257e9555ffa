"""Tells event streams that the journal has grown, without a queue per stream.

The newest journal rows are kept in a ring. A stream holds a cursor: it reads
from the ring, or from the store if it is too far behind, so a slow client
costs nothing and misses nothing. Only streams of those whose tasks have changed
are woken: thousands that have nothing to say cost nothing. Shot progress is
ephemeral: the newest value per task, dropped when a stream doesn't keep up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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


class Audience:
    """Who listens for the same. `serial`: grows with every publication for them.

    `streams`: how many they are. `progress`: the newest of each of their running tasks.
    """

    def __init__(self) -> None:
        self.serial = 0
        self.streams = 0
        self.progress: dict[int, Progress] = {}
        self._waiting: set[asyncio.Future[None]] = set()

    def wake(self) -> None:
        """Something was published for them."""
        self.serial += 1
        waiting, self._waiting = self._waiting, set()
        for one in waiting:
            if not one.done():
                one.set_result(None)

    async def wait_beyond(self, serial: int, timeout_s: float) -> bool:
        """Wait for a publication after `serial`; False after `timeout_s` without one."""
        if self.serial > serial:
            return True
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except TimeoutError:
            return False
        finally:
            self._waiting.discard(waiter)
        return True


class Broadcast:
    """Committed journal rows with a state change, in order, for everybody who listens."""

    def __init__(self, newest: int, keep: int = 20_000) -> None:
        self.newest = newest
        self._oldest_kept = newest + 1
        self._ring: deque[JournalRow] = deque(maxlen=keep)
        self._everybody = Audience()
        self._owners: dict[str, Audience] = {}
        self.closed = False

    async def close(self) -> None:
        """Wake every stream for the last time."""
        self.closed = True
        for audience in (self._everybody, *self._owners.values()):
            audience.wake()

    @contextmanager
    def listen(self, owner: str) -> Iterator[Audience]:
        """Be one of the streams of an owner."""
        audience = self._owners.setdefault(owner, Audience())
        audience.streams += 1
        try:
            yield audience
        finally:
            audience.streams -= 1
            if not audience.streams:
                self._owners.pop(owner, None)

    async def publish(
        self, newest: int, rows: Iterable[JournalRow], progress: Iterable[Progress]
    ) -> None:
        """Rows up to number `newest` are committed; wake those whom they are about."""
        concerned: dict[str, Audience] = {}
        for row in rows:
            if len(self._ring) == self._ring.maxlen:
                self._oldest_kept = self._ring[0].n + 1
            self._ring.append(row)
            if row.owner is not None and (found := self._owners.get(row.owner)) is not None:
                concerned[row.owner] = found
        for item in progress:
            if (found := self._owners.get(item.owner)) is not None:
                found.progress[item.task_id] = item
                concerned[item.owner] = found
        self.newest = newest
        for audience in (self._everybody, *concerned.values()):
            audience.wake()

    def since(self, cursor: int, owner: str, limit: int) -> list[JournalRow] | None:
        """An owner's first rows above the cursor, or None if some are no longer kept."""
        if cursor + 1 < self._oldest_kept:
            return None
        found: deque[JournalRow] = deque(maxlen=limit)
        for row in reversed(self._ring):
            if row.n <= cursor:
                break
            if row.owner == owner:
                found.append(row)
        return list(reversed(found))

    def forget(self, owner: str, task_id: int) -> None:
        """The task has ended: its progress is history."""
        if (audience := self._owners.get(owner)) is not None:
            audience.progress.pop(task_id, None)

    @property
    def serial(self) -> int:
        """Grows with every publication; hand it to `wait_beyond`."""
        return self._everybody.serial

    async def wait_beyond(self, serial: int, timeout_s: float) -> bool:
        """Wait for any publication after `serial`; False after `timeout_s` without one."""
        return await self._everybody.wait_beyond(serial, timeout_s)
