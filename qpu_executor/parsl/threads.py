"""Daemon threads that work off a queue.

Not the standard library's pool: its threads keep a process alive until their
jobs end, and a user's function may never end.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

logger = logging.getLogger(__name__)

_Job = tuple[Callable[..., object], tuple[Any, ...]]


class DaemonPool:
    """`threads` daemon threads; jobs start in the order in which they were submitted."""

    def __init__(self, name: str, threads: int = 1) -> None:
        self._name = name
        self._size = threads
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._lock = threading.Lock()

    def submit(self, job: Callable[..., object], *args: Any) -> None:
        """Run `job(*args)` in one of the threads; the first submission starts them.

        After `close()` it runs in the caller's thread, so that nothing is lost.
        """
        with self._lock:
            if not self._closed:
                self._start()
                self._jobs.put((job, args))
                return
        self._run(job, args)

    def close(self, timeout_s: float) -> bool:
        """Finish the jobs, end the threads. False if one was still busy after `timeout_s`."""
        with self._lock:
            self._closed = True
            threads, self._threads = self._threads, []
            for _ in threads:
                self._jobs.put(None)
        others = [thread for thread in threads if thread is not threading.current_thread()]
        for thread in others:
            thread.join(timeout_s)
        return not any(thread.is_alive() for thread in others)

    def _start(self) -> None:
        while len(self._threads) < self._size:
            name = f"{self._name}-{len(self._threads)}"
            thread = threading.Thread(target=self._work, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            try:
                self._run(*item)
            except BaseException:  # sys.exit() in a user's callback: the next jobs must run
                logger.exception("a job of %s tried to end its thread, which goes on", self._name)
            del item  # an idle thread keeps no result alive

    def _run(self, job: Callable[..., object], args: tuple[Any, ...]) -> None:
        try:
            job(*args)
        except Exception:
            logger.exception("a job of %s failed", self._name)
