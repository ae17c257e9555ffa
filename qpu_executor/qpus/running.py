"""Chunks at an adapter that runs them in this process: outcomes that are waited for.

An outcome is set once, whatever sets it first; the last ones are remembered, so
that `wait` and `ask` answer after the end too.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from qpu_executor.model.values import ChunkId
from qpu_executor.qpus.base import ChunkOutcome, OutcomeKind

_REMEMBERED = 1024


class RunningChunks:
    """Outcome futures by chunk."""

    def __init__(self) -> None:
        self._running: dict[ChunkId, asyncio.Future[ChunkOutcome]] = {}
        self._ended: OrderedDict[ChunkId, ChunkOutcome] = OrderedDict()

    def __contains__(self, chunk: ChunkId) -> bool:
        return chunk in self._running or chunk in self._ended

    @property
    def running(self) -> tuple[ChunkId, ...]:
        """Chunks without an outcome, oldest first."""
        return tuple(self._running)

    def begin(self, chunk: ChunkId) -> None:
        """The chunk runs from now on. Whoever waits for it already waits on."""
        loop, waited_for = asyncio.get_running_loop(), self._running.get(chunk)
        if waited_for is None or waited_for.done() or waited_for.get_loop() is not loop:
            self._running[chunk] = loop.create_future()

    def end(self, chunk: ChunkId, outcome: ChunkOutcome) -> bool:
        """Set the outcome. False where the chunk doesn't run (any more)."""
        future = self._running.pop(chunk, None)
        if future is None:
            return False
        self._ended[chunk] = outcome
        if len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)
        if not future.done():
            future.set_result(outcome)
        return True

    def interrupt(self, chunk: ChunkId, answer: ChunkOutcome) -> None:
        """Give all who wait now this answer; the chunk runs on."""
        future = self._running.get(chunk)
        if future is not None and not future.done():
            future.set_result(answer)
            self._running[chunk] = future.get_loop().create_future()

    def let_go(self, answer: ChunkOutcome) -> None:
        """Give all who wait now this answer, and know nothing any more of what runs on."""
        running, self._running = self._running, {}
        for future in running.values():
            if not future.done():
                future.set_result(answer)

    def forget(self, chunk: ChunkId) -> None:
        """Know nothing of the chunk any more; who waits for it is told NOT_KNOWN."""
        self._ended.pop(chunk, None)
        future = self._running.pop(chunk, None)
        if future is not None and not future.done():
            future.set_result(not_known(chunk))

    async def wait(self, chunk: ChunkId) -> ChunkOutcome:
        """The outcome, when it comes; NOT_KNOWN at once for a chunk never begun here."""
        future = self._running.get(chunk)
        if future is not None:
            return await asyncio.shield(future)
        return self._ended.get(chunk) or not_known(chunk)

    def ask(self, chunk: ChunkId) -> ChunkOutcome | None:
        """The outcome; None while it runs; NOT_KNOWN for a chunk never begun here."""
        if chunk in self._running:
            return None
        return self._ended.get(chunk) or not_known(chunk)


def not_known(chunk: ChunkId) -> ChunkOutcome:
    """The answer about a chunk that never ran here."""
    return ChunkOutcome(OutcomeKind.NOT_KNOWN, message=f"chunk {chunk} isn't known here")
