"""The door through which chunks are handed to a QPU; shut while its adapter is opened anew.

An adapter that is closed under a chunk that is being handed over could only say that it
is closed: of a chunk that it may have sent already, and of one whose program nothing is
wrong with.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class HandOver:
    """Any number of chunks go through at once, and none while it is shut."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._nobody_inside = asyncio.Event()
        self._nobody_inside.set()
        self._inside = 0

    @property
    def is_open(self) -> bool:
        """Whether who comes now goes straight through."""
        return self._open.is_set()

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        """Hand something over, once the door is open."""
        while not self._open.is_set():
            await self._open.wait()
        self._inside += 1
        self._nobody_inside.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._nobody_inside.set()

    @asynccontextmanager
    async def shut(self, patience_s: float) -> AsyncIterator[None]:
        """Keep everybody out; who is inside is waited for, at most `patience_s` real seconds.

        One at a time.
        """
        self._open.clear()
        try:
            try:
                async with asyncio.timeout(patience_s):
                    await self._nobody_inside.wait()
            except TimeoutError:
                pass  # a hand-over that hangs is what opening anew may mend
            yield
        finally:
            self._open.set()
