"""The one thread that writes, with group commit.

Batches that wait while a transaction runs go into the next one together. Where
that fails, each is tried by itself, so that a bad batch fails alone. Batches
are tried in the order in which they came.
"""

from __future__ import annotations

import asyncio
import copy
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qpu_executor.errors import InternalError, ManagerBusy, QpuExecutorError
from qpu_executor.manager.store.change_records import Change

GROUP_CHANGES = 5000
"""A group stops growing at this many changes, so that nobody waits long for its end."""

_Outcome = QpuExecutorError | None


@dataclass(frozen=True, slots=True)
class _Batch:
    """Changes that somebody waits for, and where to tell them."""

    changes: Sequence[Change]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[None]


class Writer:
    """Runs `commit(batches)`, which is one transaction, on a thread of its own."""

    def __init__(self, commit: Callable[[Sequence[Sequence[Change]]], None]) -> None:
        self._commit = commit
        self._queue: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Wait until everything that was handed in is written. Blocks."""
        self._queue.put(None)
        self._thread.join()

    async def write(self, changes: Sequence[Change]) -> None:
        """Wait until the changes are durable, or raise what `commit` raised.

        Cancelling the wait doesn't take the changes back.
        """
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        self._queue.put(_Batch(changes, loop, done))
        await done

    def _run(self) -> None:
        going_on = True
        while going_on:
            group, going_on = self._next_group()
            if group:
                _tell(group, self._write(group))

    def _next_group(self) -> tuple[list[_Batch], bool]:
        """Wait for a batch and take those that wait behind it; False after the last one."""
        batch = self._queue.get()
        if batch is None:
            return [], False
        group = [batch]
        size = len(batch.changes)
        while size < GROUP_CHANGES:
            try:
                batch = self._queue.get_nowait()
            except queue.Empty:
                break
            if batch is None:
                return group, False
            group.append(batch)
            size += len(batch.changes)
        return group, True

    def _write(self, group: Sequence[_Batch]) -> list[_Outcome]:
        together = self._attempt([batch.changes for batch in group])
        if together is None or len(group) == 1 or isinstance(together, ManagerBusy):
            return [together] * len(group)
        outcomes: list[_Outcome] = []
        busy: ManagerBusy | None = None
        for batch in group:
            # Once the store is busy, those behind are busy too: order is kept, nobody waits twice.
            outcome = self._attempt([batch.changes]) if busy is None else busy
            busy = outcome if isinstance(outcome, ManagerBusy) else None
            outcomes.append(outcome)
        return outcomes

    def _attempt(self, batches: Sequence[Sequence[Change]]) -> _Outcome:
        try:
            self._commit(batches)
        except QpuExecutorError as error:
            return error
        except BaseException as error:  # whatever it is: a dead thread would answer nobody
            return InternalError(f"the store's writer failed: {error!r}")
        return None


def _tell(group: Sequence[_Batch], outcomes: Sequence[_Outcome]) -> None:
    """Hand each outcome to its loop, all of one loop in one call."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[None], _Outcome]]] = {}
    for batch, outcome in zip(group, outcomes, strict=True):
        by_loop.setdefault(batch.loop, []).append((batch.done, outcome))
    for loop, settled in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, settled)
        except RuntimeError:  # that loop is closed: nobody waits any more
            continue


def _settle(settled: Sequence[tuple[asyncio.Future[None], _Outcome]]) -> None:
    for done, outcome in settled:
        if done.done():  # the wait was cancelled
            continue
        if outcome is None:
            done.set_result(None)
        else:  # a copy each: an exception collects the traceback of whoever raises it
            done.set_exception(copy.copy(outcome))
