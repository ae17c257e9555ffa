"""One run per key, however many ask for it; results are kept, up to a weight.

The run belongs to all who wait for it: it is cancelled when the last of them
leaves, and one who leaves disturbs no other.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

V = TypeVar("V")


@dataclass(slots=True)
class _Run(Generic[V]):
    task: asyncio.Task[V]
    waiters: int = 0


class SharedRuns(Generic[V]):
    """`max_weight`: of all kept results in sum; `weigh`: the weight of one.

    The least recently used results go first, and the newest stays whatever it weighs, since
    it is needed next; failures are not kept.
    """

    def __init__(self, *, max_weight: int, weigh: Callable[[V], int]) -> None:
        self._max_weight = max_weight
        self._weigh = weigh
        self._weight = 0
        self._kept: OrderedDict[str, V] = OrderedDict()
        self._running: dict[str, _Run[V]] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._kept

    async def get(self, key: str, run: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """The kept result, or that of the one run. Raises what the run raised."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        shared = self._running.get(key)
        if shared is None:
            shared = self._running[key] = _Run(asyncio.create_task(run()))
            shared.task.add_done_callback(partial(self._ended, key, shared))
        shared.waiters += 1
        try:
            return await asyncio.shield(shared.task)
        finally:
            shared.waiters -= 1
            if not shared.waiters and not shared.task.done():
                self._forget_run(key, shared)
                shared.task.cancel()

    def _ended(self, key: str, shared: _Run[V], task: asyncio.Task[V]) -> None:
        self._forget_run(key, shared)
        if not task.cancelled() and task.exception() is None:
            self._keep(key, task.result())

    def _forget_run(self, key: str, shared: _Run[V]) -> None:
        if self._running.get(key) is shared:
            del self._running[key]

    def _keep(self, key: str, value: V) -> None:
        if key in self._kept:
            return
        self._kept[key] = value
        self._weight += self._weigh(value)
        while self._weight > self._max_weight and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._weight -= self._weigh(dropped)
