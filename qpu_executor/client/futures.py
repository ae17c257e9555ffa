"""Results to come for plain Python: many in flight, no thread and no coroutine each."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from qpu_executor.client.async_client import AsyncClient
from qpu_executor.client.loop_thread import LoopThread
from qpu_executor.client.order import TaskOrder
from qpu_executor.client.result import Result, TaskEnd, result_or_raise
from qpu_executor.client.submitting import Accepted
from qpu_executor.errors import CallerError, InternalError, QpuExecutorError

log = logging.getLogger(__name__)


class TaskFuture(Future[Result]):
    """The result to come of a submitted order. `task_id`: once the manager has taken it.

    Its callbacks run on the client's thread: hand longer work to another one.
    It can't be cancelled itself: use `client.cancel_tasks([future.task_id])`.
    """

    def __init__(self, client: object) -> None:
        super().__init__()
        # Whoever holds the future keeps the client that will fulfil it.
        self.client = client
        self.task_id: int | None = None
        self._pid = os.getpid()

    def result(self, timeout: float | None = None) -> Result:
        """The result. Raises the task's error, TimeoutError, and CallerError after a fork."""
        if os.getpid() == self._pid:
            return super().result(timeout)
        try:
            return super().result(0)
        except TimeoutError:
            raise self._forked() from None

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The task's error, None if it has a result. Raises as `result` does."""
        if os.getpid() == self._pid:
            return super().exception(timeout)
        try:
            return super().exception(0)
        except TimeoutError:
            raise self._forked() from None

    def _forked(self) -> CallerError:
        return CallerError(
            f"this future belongs to process {self._pid}, and never ends after a fork",
            next_step="connect(client.url) in the new process, and wait for the task by its id",
        )


class Orders:
    """Orders on their way to the loop, and the futures of those whose end is awaited.

    Many threads may add; one wake-up of the loop takes all that has gathered.
    """

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._new: deque[tuple[TaskOrder, TaskFuture]] = deque()
        self._open: set[TaskFuture] = set()
        self._closed = False

    def add(self, order: TaskOrder, future: TaskFuture, thread: LoopThread) -> None:
        """Hand an order to the loop. Raises CallerError: closed, or in a forked process."""
        # Before the lock, and before a wake-up of the other process is relied on.
        thread.refuse_after_fork()
        with self._lock:
            if self._closed:
                raise CallerError("this client is closed", next_step="connect() again")
            if not self._new:
                thread.soon(self._take)
            self._new.append((order, future))

    def close(self) -> None:
        """Fail what is left (on the loop, after the AsyncClient has closed)."""
        with self._lock:
            self._closed = True
            left = {future for _, future in self._new} | self._open
            self._new.clear()
        for future in left:
            self._fail(future, _closed())

    def _take(self) -> None:
        with self._lock:
            new, self._new = self._new, deque()
        for order, future in new:
            self._open.add(future)
            try:
                answer = self._client.post(order)
            except QpuExecutorError as error:
                self._fail(future, error)
            except Exception as error:  # it is this one's; the others' are still to be sent
                self._fail(future, InternalError(f"it couldn't be submitted: {error!r}"))
            else:
                answer.add_done_callback(partial(self._accepted, future))

    def _accepted(self, future: TaskFuture, answer: asyncio.Future[Accepted]) -> None:
        if answer.cancelled():
            self._fail(future, _closed())
            return
        if (error := answer.exception()) is not None:
            self._fail(future, error)
            return
        accepted = answer.result()
        task = accepted.task
        future.task_id = task.id
        try:
            wait = self._client.end_of(task.id, task.state, accepted.cursor)
        except QpuExecutorError as closed:
            self._fail(future, closed)
        else:
            wait.add_done_callback(partial(self._ended, future))

    def _ended(self, future: TaskFuture, wait: asyncio.Future[TaskEnd]) -> None:
        if wait.cancelled():
            self._fail(future, _closed())
            return
        try:
            result = result_or_raise(wait.result())
        except QpuExecutorError as error:
            self._fail(future, error)
        except Exception as error:
            self._fail(future, InternalError(f"the result couldn't be read: {error!r}"))
        else:
            self._end(future, partial(future.set_result, result))

    def _fail(self, future: TaskFuture, error: BaseException) -> None:
        self._end(future, partial(future.set_exception, error))

    def _end(self, future: TaskFuture, end: Callable[[], None]) -> None:
        self._open.discard(future)
        if future.done():
            return
        try:
            end()
        except BaseException:  # sys.exit() in a user's callback: the other futures must end, too
            log.exception("a callback of a future tried to end the client's thread")


def _closed() -> CallerError:
    return CallerError("the client was closed while it waited")
