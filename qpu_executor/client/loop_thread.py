"""One daemon thread with an event loop: where a synchronous client does its I/O."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from qpu_executor.errors import CallerError

T = TypeVar("T")

log = logging.getLogger(__name__)

STOP_S = 5.0
"""Longest time that closing waits for the loop."""


class LoopThread:
    """An event loop in a thread of its own. Use: `start`, `run`, `stop`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid: int | None = None
        # Whatever is handed to the loop under this lock is handed over before its end is.
        # Re-entrant: a collected client is closed by whichever thread collects it.
        self._lock = threading.RLock()

    def start(self) -> None:
        """Start the thread and wait until its loop runs."""
        ready = threading.Event()
        loop = asyncio.new_event_loop()
        self._loop, self._pid = loop, os.getpid()
        self._thread = threading.Thread(
            target=_serve, args=(loop, ready), name=self._name, daemon=True
        )
        self._thread.start()
        ready.wait()

    def check(self) -> asyncio.AbstractEventLoop:
        """The loop, if it can be used from here.

        Raises CallerError: not running, in a forked process, or on the loop's own thread.
        """
        self.refuse_after_fork()
        if self._loop is None:
            raise CallerError("this client is closed or not started", next_step="connect() again")
        if threading.current_thread() is self._thread:
            raise CallerError(
                "a callback of the client may not wait for the client",
                next_step="hand the work to another thread",
            )
        return self._loop

    def refuse_after_fork(self) -> None:
        """Raises CallerError in a forked process, where nobody runs the loop."""
        if self._pid is not None and self._pid != os.getpid():
            raise CallerError(
                f"this client belongs to process {self._pid}, and can't be used after a fork",
                next_step="connect(client.url) in the new process",
            )

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for it. Ctrl-C cancels it."""
        try:
            # Before the lock: a thread that the fork left behind may have had it.
            self.refuse_after_fork()
            with self._lock:
                future = asyncio.run_coroutine_threadsafe(work, self.check())
        except CallerError:
            work.close()
            raise
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise CallerError("the client was closed while it waited") from None
        except BaseException:
            future.cancel()
            raise

    def soon(self, callback: Callable[[], None]) -> None:
        """Call on the loop soon; may be used from the loop's thread as well."""
        self.refuse_after_fork()
        with self._lock:
            if self._loop is None:
                self.check()
            assert self._loop is not None
            self._loop.call_soon_threadsafe(callback)

    def stop(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `last()` on the loop, end the loop and its thread. Idempotent, never raises."""
        if self._pid != os.getpid():
            return
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = None
            if loop is None or thread is None or not thread.is_alive():
                return
            loop.call_soon_threadsafe(_end, loop, last)
        # A client may be collected on its own thread, which can't wait for itself.
        if threading.current_thread() is not thread:
            thread.join(STOP_S)


def _serve(loop: asyncio.AbstractEventLoop, ready: threading.Event) -> None:
    asyncio.set_event_loop(loop)
    loop.call_soon(ready.set)
    try:
        _run(loop)
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Until it is stopped. A callback that wants to end the process ends only itself."""
    while True:
        try:
            loop.run_forever()
        except BaseException:  # sys.exit() in a user's callback ends asyncio's loops
            log.exception("a callback tried to end the client's thread, which goes on")
        else:
            return


def _end(loop: asyncio.AbstractEventLoop, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
    ending = loop.create_task(last())
    ending.add_done_callback(lambda done: _ended(loop, done))


def _ended(loop: asyncio.AbstractEventLoop, done: asyncio.Task[None]) -> None:
    if not done.cancelled():
        done.exception()
    loop.stop()
