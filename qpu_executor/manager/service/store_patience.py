"""What the loop does with its store, done as often as it takes while that is in trouble."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from qpu_executor.errors import ManagerBusy, QpuExecutorError

log = logging.getLogger(__name__)

STORE_RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Pauses between attempts while the store is in trouble; the last one repeats."""

Answered = TypeVar("Answered")


class StorePatience:
    """`trouble`: why the store can't be used at the moment; None while it can."""

    def __init__(self) -> None:
        self.trouble: QpuExecutorError | None = None

    async def insist(self, act: Callable[[], Awaitable[Answered]]) -> Answered:
        """What `act` answers once it doesn't raise ManagerBusy any more. Raises all else."""
        attempt = 0
        while True:
            try:
                answer = await act()
            except ManagerBusy as error:
                if self.trouble is None:
                    log.warning("the store can't be used, trying again: %s", error)
                self.trouble = error
            else:
                if self.trouble is not None:
                    log.warning("the store can be used again")
                    self.trouble = None
                return answer
            await asyncio.sleep(STORE_RETRY_S[min(attempt, len(STORE_RETRY_S) - 1)])
            attempt += 1
