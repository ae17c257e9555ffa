"""A pool of worker processes for what is slow, hostile, or holds the interpreter lock.

Rules: cancelling a call kills its worker; a worker that dies ends its call with
WorkerDiedError and is replaced; every worker ends when the owner does, even if that
one was killed. Workers are spawned, never forked, since the owner has threads.
"""

from __future__ import annotations

import asyncio
import copy
import multiprocessing
import os
import resource
import threading
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for
from typing import Any, ParamSpec, Protocol, TypeVar

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from qpu_executor.cancellation import CancelledElsewhereError, only_own_cancellation
from qpu_executor.errors import QpuExecutorError

P = ParamSpec("P")
R = TypeVar("R")

LOOK_EVERY_S = 5.0
"""Between two looks at whether there is still a pool that will answer a call."""

_CLOSED = "the worker processes are closed"


class WorkerDiedError(Exception):
    """The worker process ended in the middle of a call."""


class WorkersClosedError(WorkerDiedError):
    """The pool was closed before the call, or under it: no fault of what was called."""


class WorkerTimeoutError(Exception):
    """A call took longer than allowed; its worker was killed."""


class Workers(Protocol):
    """Whatever runs functions somewhere else: `WorkerPool`, or a farm's engine.

    `to_warm_up`: how many calls warm all workers up.
    """

    @property
    def to_warm_up(self) -> int:
        """See the class."""

    async def open(self) -> None:
        """Start, or connect."""

    async def close(self) -> None:
        """End. May be called twice."""

    async def run(
        self, function: Callable[P, R], timeout_s: float | None, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """See `WorkerPool.run`."""


class WorkerPool:
    """`workers`: processes. `memory_bytes`: address space of each (None: no limit)."""

    def __init__(self, workers: int, *, memory_bytes: int | None = None) -> None:
        self._workers = workers
        self._memory_bytes = memory_bytes
        self._pool: ProcessPool | None = None
        self._running: set[ProcessFuture[Any]] = set()

    @property
    def to_warm_up(self) -> int:
        """One call per process."""
        return self._workers

    async def open(self) -> None:
        """Make the pool; its processes start with the first call."""
        if self._pool is None:
            self._pool = self._new_pool()

    async def close(self) -> None:
        """Kill all workers; running calls are cancelled. May be called twice."""
        pool, self._pool = self._pool, None
        for future in list(self._running):
            future.cancel()  # type: ignore[no-untyped-call]
        if pool is not None:
            await asyncio.to_thread(_end, pool)

    async def run(
        self, function: Callable[P, R], timeout_s: float | None, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """`function(*args, **kwargs)` in a worker. Cancelling kills the worker.

        Raises WorkerDiedError, WorkersClosedError, WorkerTimeoutError, or what the
        function raised.
        """
        pool = self._pool
        try:
            return await self._attempt(pool, function, timeout_s, *args, **kwargs)
        except BrokenProcessPool:
            # An idle worker was killed from outside, which ends the whole pool.
            if self._pool is None:
                raise WorkersClosedError(_CLOSED) from None
        await self._replace(pool)
        try:
            return await self._attempt(self._pool, function, timeout_s, *args, **kwargs)
        except BrokenProcessPool:
            if self._pool is None:
                raise WorkersClosedError(_CLOSED) from None
            raise WorkerDiedError("the worker processes can't be kept alive") from None

    async def _attempt(
        self,
        pool: ProcessPool | None,
        function: Callable[P, R],
        timeout_s: float | None,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        if pool is None:
            raise WorkersClosedError(_CLOSED)
        try:
            future = pool.schedule(function, args=args, kwargs=kwargs, timeout=timeout_s)
        except RuntimeError as error:
            raise BrokenProcessPool(str(error)) from None
        self._running.add(future)
        try:
            with only_own_cancellation():
                return await _answer(pool, future)
        except CancelledElsewhereError:
            raise WorkersClosedError(_CLOSED) from None  # `close` has done that
        except QpuExecutorError as error:
            # Without the worker's trace, which is no news to whom the error is for.
            raise copy.copy(error) from None
        except ProcessExpired as error:
            raise WorkerDiedError(
                f"the worker process ended with exit code {error.exitcode}"
            ) from None
        except TimeoutError:
            raise WorkerTimeoutError(f"no answer within {timeout_s:g} s") from None
        finally:
            self._running.discard(future)

    async def _replace(self, broken: ProcessPool | None) -> None:
        """Another pool instead of this one, unless somebody else saw to that already."""
        if broken is not None and self._pool is broken:
            self._pool = self._new_pool()
            await asyncio.to_thread(_end, broken)

    def _new_pool(self) -> ProcessPool:
        return ProcessPool(
            max_workers=self._workers,
            initializer=_begin,
            initargs=(self._memory_bytes,),
            context=multiprocessing.get_context("spawn"),
        )


async def _answer(pool: ProcessPool, future: ProcessFuture[R]) -> R:
    """What a call gives. Raises BrokenProcessPool where the pool ended and left it unanswered:
    it answers the calls that it had handed to its workers, and forgets those in its queue.
    """
    waiting = asyncio.wrap_future(future)
    try:
        while not waiting.done():
            lost = not pool.active
            await asyncio.wait({waiting}, timeout=LOOK_EVERY_S)
            if lost and not waiting.done():
                raise BrokenProcessPool("the pool has ended")
        return waiting.result()
    finally:
        waiting.cancel()


def _end(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]
    pool.join()


def _begin(memory_bytes: int | None) -> None:
    """First thing in every worker."""
    # One thread each: there is a worker per core already.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    if memory_bytes is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    threading.Thread(target=_end_with_owner, name="owner-watch", daemon=True).start()


def _end_with_owner() -> None:
    owner = multiprocessing.parent_process()
    if owner is not None:
        wait_for([owner.sentinel])
        # Nobody is left to tell; a running simulation holds the main thread.
        os._exit(1)
