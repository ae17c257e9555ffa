"""Blocking SDK calls in a bounded number of threads, each with a deadline.

An SDK call can't be interrupted. One that outlives its deadline keeps its thread
until it comes back, and counts as one of the `limit` that may be under way; what it
brings then goes to `late`, so that an acknowledgement isn't lost only because it was
slow. The threads are daemons: a call that never comes back must not keep the process
from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

R = TypeVar("R")


class CallHungError(Exception):
    """A call didn't come back in time, or all threads are taken by calls that don't."""


class BlockingCalls:
    """`name`: of the threads; `limit`: calls under way at once."""

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = limit
        self._free = asyncio.Semaphore(limit)
        self._hung = 0

    @property
    def hung(self) -> int:
        """Calls past their deadline that haven't come back."""
        return self._hung

    async def run(
        self,
        call: Callable[..., R],
        *arguments: Any,
        deadline_s: float,
        late: Callable[[R], None] | None = None,
    ) -> R:
        """What `call(*arguments)` returns or raises; waiting for a thread counts as well.

        Raises CallHungError after `deadline_s` seconds. `late` is then called on the loop
        with the result, should there ever be one; an error that comes late is dropped.
        """
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + deadline_s
        try:
            # Not `wait_for`, here and below: until Python 3.12 it may swallow a cancellation.
            async with asyncio.timeout_at(ends_at):
                await self._free.acquire()
        except TimeoutError:
            raise CallHungError(
                f"all {self._limit} calls that may be under way at once hang"
            ) from None
        done: asyncio.Future[R] = loop.create_future()
        done.add_done_callback(lambda _: self._free.release())
        work = threading.Thread(
            target=_work, args=(loop, done, call, arguments), name=self._name, daemon=True
        )
        try:
            work.start()
        except RuntimeError as error:  # the system has no thread left
            done.cancel()
            raise CallHungError(f"no thread can be started: {error}") from None
        try:
            async with asyncio.timeout_at(ends_at):
                return await asyncio.shield(done)
        except TimeoutError:
            if done.done():  # it came just in time, or the call itself raised a TimeoutError
                return done.result()
            self._give_up(done, late)
            raise CallHungError(f"no answer within {deadline_s:g} s") from None
        except asyncio.CancelledError:
            self._give_up(done, late)
            raise

    def _give_up(self, done: asyncio.Future[R], late: Callable[[R], None] | None) -> None:
        if done.done():
            _take(done, late)
            return
        self._hung += 1

        def came_back(found: asyncio.Future[R]) -> None:
            self._hung -= 1
            _take(found, late)

        done.add_done_callback(came_back)


def _take(done: asyncio.Future[R], late: Callable[[R], None] | None) -> None:
    if not done.cancelled() and done.exception() is None and late is not None:
        late(done.result())


def _work(
    loop: asyncio.AbstractEventLoop,
    done: asyncio.Future[R],
    call: Callable[..., R],
    arguments: tuple[Any, ...],
) -> None:
    tell: Callable[[Any], None]
    try:
        found: Any = call(*arguments)
        tell = done.set_result
    except Exception as error:
        found, tell = error, done.set_exception
        if isinstance(error, StopIteration):  # no future takes one
            found = RuntimeError("the call raised StopIteration")
    except BaseException as error:  # SDKs derive errors of their own from it, too
        found = RuntimeError(f"{type(error).__name__}: {error}")
        tell = done.set_exception
    # The loop may be gone by now: then nobody wants to know.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(_tell, done, tell, found)


def _tell(done: asyncio.Future[Any], tell: Callable[[Any], None], found: Any) -> None:
    if not done.done():
        tell(found)
