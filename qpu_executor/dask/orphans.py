"""Quantum tasks that Dask forgot before they ended are cancelled at the manager from the scheduler.

The worker that runs a task does so, too, and sooner; but it can't where it died,
was restarted or closed at that moment. Cancelling twice is harmless.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from qpu_executor.dask.address import ManagerAddress
from qpu_executor.dask.options import token_in
from qpu_executor.errors import QpuExecutorError
from qpu_executor.model.states import TaskState

if TYPE_CHECKING:
    from dask.typing import Key

GATHER_S = 1.0
"""How long forgotten tasks are gathered before the manager is asked, workers going first."""
GIVE_UP_S = 5.0
"""How long a manager that doesn't answer may hold up a scheduler that closes."""
LIVE = (TaskState.HELD, TaskState.QUEUED, TaskState.RUNNING)

log = logging.getLogger("qpu_executor.dask")


class Orphans:
    """Follows the quantum tasks of one scheduler. `address`: their manager."""

    def __init__(self, address: ManagerAddress) -> None:
        self._address = address
        self._waiting: dict[Key, str] = {}
        self._sent: dict[Key, str] = {}
        self._forgotten: set[str] = set()
        self._search: asyncio.Task[None] | None = None

    def add(self, key: Key, token: str) -> None:
        """A quantum task was submitted under this token."""
        self._waiting[key] = token

    def move(self, key: Key, finish: str) -> None:
        """Dask moved a task (any task) to the state `finish`."""
        if finish == "processing" and key in self._waiting:
            self._sent[key] = self._waiting.pop(key)
        elif finish in ("memory", "erred"):
            self._waiting.pop(key, None)
            self._sent.pop(key, None)
        elif finish == "forgotten":
            self._waiting.pop(key, None)
            token = self._sent.pop(key, None)
            if token is not None:
                self._forgotten.add(token)
                self._search_soon()

    async def close(self) -> None:
        """The scheduler ends, and with it everybody who waits for its tasks."""
        if self._search is not None:
            self._search.cancel()
            await asyncio.wait({self._search})
        self._forgotten.update(self._sent.values())
        self._waiting.clear()
        self._sent.clear()
        await self._cancel_forgotten()

    def _search_soon(self) -> None:
        if self._search is None or self._search.done():
            self._search = asyncio.create_task(self._gather_and_cancel())

    async def _gather_and_cancel(self) -> None:
        while self._forgotten:
            await asyncio.sleep(GATHER_S)
            await self._cancel_forgotten()

    async def _cancel_forgotten(self) -> None:
        tokens, self._forgotten = self._forgotten, set()
        if not tokens:
            return
        try:
            async with asyncio.timeout(GIVE_UP_S):
                await self._cancel(tokens)
        except asyncio.CancelledError:
            self._forgotten |= tokens
            raise
        except (QpuExecutorError, TimeoutError) as error:
            log.warning("%d forgotten tasks may go on at the manager: %s", len(tokens), error)

    async def _cancel(self, tokens: set[str]) -> None:
        client = await self._address.open(wait_s=GIVE_UP_S)
        try:
            live = await client.tasks(states=LIVE, session=self._address.session)
            ids = [task.id for task in live if token_in(task.info.key) in tokens]
            if ids:
                await client.cancel_tasks(ids)
        finally:
            await client.close()
