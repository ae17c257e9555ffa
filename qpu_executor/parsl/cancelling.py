"""Cancelling at the manager: many at once, and never in the caller's thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import Protocol

from qpu_executor.errors import QpuExecutorError
from qpu_executor.parsl.attempt import TaskFutureLike

logger = logging.getLogger(__name__)

RECHECK_S = 0.02
"""How soon to look again for the id of a task whose submission is under way."""


class CancelsTasks(Protocol):
    """The part of a client that is needed here."""

    def cancel_tasks(self, ids: Sequence[int], /) -> object:
        """Cancel tasks at the manager."""


class Canceller:
    """One daemon thread that turns requests into few calls; started by the first request."""

    def __init__(self, client: CancelsTasks, name: str) -> None:
        self._client = client
        self._name = name
        self._requests: SimpleQueue[TaskFutureLike | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def request(self, tasks: Sequence[TaskFutureLike]) -> None:
        """Cancel these tasks soon. One that has no id yet is cancelled once it has."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
        for task in tasks:
            self._requests.put(task)

    def close(self, timeout_s: float) -> bool:
        """Work off what was asked for. False if that took longer than `timeout_s`."""
        with self._lock:
            thread = self._thread
        if thread is None:
            return True
        self._requests.put(None)
        thread.join(timeout_s)
        return not thread.is_alive()

    def _work(self) -> None:
        waiting: list[TaskFutureLike] = []
        closing = False
        while waiting or not closing:
            closing |= self._take(waiting)
            waiting = [task for task in waiting if not task.done()]
            ids = [task.task_id for task in waiting if task.task_id is not None]
            if ids:
                waiting = [task for task in waiting if task.task_id is None]
                self._cancel(ids)

    def _take(self, waiting: list[TaskFutureLike]) -> bool:
        """Add what was asked for to `waiting`; True if the end was asked for."""
        closing = False
        try:
            item = self._requests.get(timeout=RECHECK_S if waiting else None)
            while True:
                if item is None:
                    closing = True
                else:
                    waiting.append(item)
                item = self._requests.get_nowait()
        except Empty:
            return closing

    def _cancel(self, ids: list[int]) -> None:
        try:
            self._client.cancel_tasks(ids)
        except QpuExecutorError as error:
            logger.warning("%d tasks couldn't be cancelled: %s", len(ids), error)
        except Exception:  # the thread must live on: others will want to cancel
            logger.exception("%d tasks couldn't be cancelled", len(ids))
