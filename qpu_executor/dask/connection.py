"""A worker's one connection to the manager: opened at first use, shared by its tasks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from qpu_executor.dask.address import ManagerAddress

if TYPE_CHECKING:
    from qpu_executor.client import AsyncClient


class Connection:
    """Belongs to one event loop. A failure to open is the error of the tasks that wait for it;
    the next task tries again. `close` lets the tasks that use it finish first.
    """

    def __init__(self, address: ManagerAddress) -> None:
        self.address = address
        self._opening: asyncio.Task[AsyncClient] | None = None
        self._users = 0
        self._closed = False

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[AsyncClient]:
        """The client, for as long as the block lasts. Raises ManagerUnreachable."""
        self._users += 1
        try:
            yield await self._opened()
        finally:
            self._users -= 1
            await self._close_if_unused()

    async def close(self) -> None:
        """Take no new users; the connection ends with its last one. May be called again."""
        self._closed = True
        await self._close_if_unused()

    async def _opened(self) -> AsyncClient:
        failed = self._opening is not None and self._opening.done() and _failure(self._opening)
        if self._opening is None or failed:
            self._opening = asyncio.create_task(self.address.open())
        # Shielded: the other users go on waiting when one of them is cancelled.
        return await asyncio.shield(self._opening)

    async def _close_if_unused(self) -> None:
        if not self._closed or self._users or self._opening is None:
            return
        opening, self._opening = self._opening, None
        if not opening.done():
            opening.cancel()
            return
        if not _failure(opening):
            await opening.result().close()


def _failure(opening: asyncio.Task[AsyncClient]) -> bool:
    return opening.cancelled() or opening.exception() is not None
