"""What the loop does with its store, done as often as it takes while that is in trouble."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from qpu_executor.errors import ManagerBusy, QpuExecutorError

log = logging.getLogger(__name__)

STORE_RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Pauses between attempts while the store is in trouble; the last one repeats."""

SILENT_S = 10.0
"""A store that says nothing for so long (real seconds) is in trouble before it says so: behind
a network that swallows everything its connection is given up much later."""

Answered = TypeVar("Answered")


class StorePatience:
    """What `insist` has found out about the store."""

    def __init__(self) -> None:
        self._refused: QpuExecutorError | None = None
        self._asked_s: float | None = None

    @property
    def trouble(self) -> QpuExecutorError | None:
        """Why the store can't be used at the moment; None while it can."""
        if self._refused is not None or self._asked_s is None:
            return self._refused
        silent_s = time.monotonic() - self._asked_s
        if silent_s < SILENT_S:
            return None
        return ManagerBusy(f"the store hasn't answered for {silent_s:.0f} s")

    async def insist(self, act: Callable[[], Awaitable[Answered]]) -> Answered:
        """What `act` answers once it doesn't raise ManagerBusy any more. Raises all else."""
        attempt = 0
        while True:
            self._asked_s = time.monotonic()
            try:
                answer = await act()
            except ManagerBusy as error:
                if self._refused is None:
                    log.warning("the store can't be used, trying again: %s", error)
                self._refused = error
            else:
                if self._refused is not None:
                    log.warning("the store can be used again")
                    self._refused = None
                return answer
            finally:
                self._asked_s = None
            await asyncio.sleep(STORE_RETRY_S[min(attempt, len(STORE_RETRY_S) - 1)])
            attempt += 1
