"""Waiting for the ends of tasks: one event stream, no poll and no thread per task.

Nothing is missed, because a task whose end could have come unseen is looked up:
- every task that is waited for, after each (re)connection of the stream;
- a task whose state is older than what the stream still remembers.
A wait ends with how the task ended, or with the error that ended the waiting.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from datetime import datetime

from qpu_executor.cancellation import only_own_cancellation
from qpu_executor.client import protocol
from qpu_executor.client.channel import Channel
from qpu_executor.client.events import follow
from qpu_executor.client.result import TaskEnd
from qpu_executor.errors import (
    CallerError,
    InternalError,
    QpuExecutorError,
    TaskExpired,
    UnknownTask,
)
from qpu_executor.model.states import TaskState
from qpu_executor.wire.site import EventOut
from qpu_executor.wire.tasks import ResultList, TaskList

REMEMBERED_ENDS = 20_000

Wait = asyncio.Future[TaskEnd]


class RecentEnds:
    """Ends that the stream reported lately, for waits that begin after them.

    `reaches_back_to`: every end after this journal number is here.
    """

    def __init__(self, cursor: int, size: int = REMEMBERED_ENDS) -> None:
        self.reaches_back_to = cursor
        self._size = size
        self._ends: dict[int, tuple[TaskState, int]] = {}

    def add(self, task_id: int, state: TaskState, n: int) -> None:
        """A task ended with journal entry `n`."""
        self._ends[task_id] = (state, n)
        if len(self._ends) > self._size:
            oldest = next(iter(self._ends))
            self.reaches_back_to = max(self.reaches_back_to, self._ends.pop(oldest)[1])

    def state(self, task_id: int) -> TaskState | None:
        """How a task ended, if that is remembered."""
        end = self._ends.get(task_id)
        return None if end is None else end[0]

    def forget(self, cursor: int) -> None:
        """Start again from journal number `cursor`."""
        self._ends.clear()
        self.reaches_back_to = cursor


class Waits:
    """All waits of one client. `cursor`: journal number from which the stream is followed."""

    def __init__(self, channel: Channel, cursor: int) -> None:
        self._channel = channel
        self._cursor = cursor
        self._recent = RecentEnds(cursor)
        self._waits: dict[int, Wait] = {}
        self._to_look_up: set[int] = set()
        self._to_fetch: set[int] = set()
        self._watched: dict[int, set[asyncio.Event]] = {}
        self._listener: asyncio.Task[None] | None = None
        self._settler: asyncio.Task[None] | None = None
        self._connected = False
        self._closed = False

    def end_of(self, task_id: int, state: TaskState | None, as_of: int | None) -> Wait:
        """The end of a task that was in `state` as of journal number `as_of` (None: unknown).

        Shared by all who wait for the task: never cancel it, shield it.
        """
        wait = self._waits.get(task_id)
        if wait is not None:
            return wait
        wait = asyncio.get_running_loop().create_future()
        wait.add_done_callback(_mark_seen)
        if self._closed:
            wait.set_exception(CallerError("this client is closed", next_step="connect() again"))
            return wait
        self._waits[task_id] = wait
        if state is None or not state.final:
            state = self._recent.state(task_id)
        if state is not None:
            self._ended(task_id, state)
        elif self._connected and (as_of is None or as_of < self._recent.reaches_back_to):
            self._look_up({task_id})
        self._listen()
        return wait

    @contextmanager
    def moves_of(self, task_id: int) -> Iterator[asyncio.Event]:
        """An event that is set whenever something is told of the task, or may have been missed.

        Somebody has to wait for the task's end meanwhile: that keeps the stream open.
        """
        moved = asyncio.Event()
        self._watched.setdefault(task_id, set()).add(moved)
        try:
            yield moved
        finally:
            self._watched[task_id].discard(moved)
            if not self._watched[task_id]:
                del self._watched[task_id]

    async def close(self) -> None:
        """End the stream; waits that are left are cancelled."""
        self._closed = True
        tasks = [task for task in (self._listener, self._settler) if task is not None]
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            for wait in self._waits.values():
                wait.cancel()
            self._waits.clear()

    def _listen(self) -> None:
        if self._listener is None or self._listener.done():
            self._listener = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        try:
            with only_own_cancellation():
                async with aclosing(follow(self._channel, self._cursor)) as events:
                    async for event in events:
                        self._on_event(event)
        except QpuExecutorError as error:
            self._fail(set(self._waits), error)
        except Exception as error:
            self._fail(set(self._waits), InternalError(f"the event stream failed: {error!r}"))
        finally:
            self._connected = False

    def _on_event(self, event: EventOut) -> None:
        if event.type == "hello":
            if event.n is not None and event.n < self._cursor:
                self._cursor = event.n
                self._recent.forget(event.n)
            self._connected = True
            self._look_up(set(self._waits))
        for task_id in self._watched if event.type == "hello" else (event.task,):
            for moved in self._watched.get(task_id or 0, ()):
                moved.set()
        if event.type != "task" or event.n is None:
            return
        self._cursor = max(self._cursor, event.n)
        if event.task is not None and event.state is not None and event.state.final:
            self._recent.add(event.task, event.state, event.n)
            if event.task in self._waits:
                self._ended(event.task, event.state)

    def _ended(self, task_id: int, state: TaskState) -> None:
        """A task that is waited for has ended: ask for its result, or for its error."""
        (self._to_fetch if state is TaskState.COMPLETED else self._to_look_up).add(task_id)
        self._settle_soon()

    def _look_up(self, task_ids: set[int]) -> None:
        self._to_look_up |= task_ids - self._to_fetch
        self._settle_soon()

    def _settle_soon(self) -> None:
        work = self._to_look_up or self._to_fetch
        if work and (self._settler is None or self._settler.done()):
            self._settler = asyncio.create_task(self._settle())

    async def _settle(self) -> None:
        """Look up and fetch until nothing is left. What gathers meanwhile shares a request."""
        while self._to_look_up or self._to_fetch:
            batch = _take(self._to_look_up, protocol.MAX_IDS)
            lookup = bool(batch)
            if not lookup:
                batch = _take(self._to_fetch, protocol.MAX_RESULTS)
            try:
                with only_own_cancellation():
                    await (self._look_up_now(batch) if lookup else self._fetch_now(batch))
            except QpuExecutorError as error:
                self._fail(set(batch), error)
            except Exception as error:
                self._fail(set(batch), InternalError(f"the answer couldn't be used: {error!r}"))

    async def _look_up_now(self, ids: list[int]) -> None:
        request = protocol.task_page(ids=ids, limit=len(ids))
        page = await self._channel.call(request, TaskList)
        tasks = {task.id: task for task in page.tasks}
        for task_id in ids:
            task = tasks.get(task_id)
            if task is None:
                self._fail({task_id}, unknown_task(task_id, self._channel.url))
            elif task.expired_at is not None:
                self._fail({task_id}, expired_task(task_id, task.expired_at))
            elif task.state is TaskState.COMPLETED:
                self._to_fetch.add(task_id)
            elif task.state.final:
                self._finish(task_id, task)

    async def _fetch_now(self, ids: list[int]) -> None:
        answer = await self._channel.call(protocol.results(ids), ResultList)
        found = {result.task.id: result for result in answer.results}
        gone: dict[int, datetime | None] = {}
        if missing := [task_id for task_id in ids if task_id not in found]:
            request = protocol.task_page(ids=missing, limit=len(missing))
            page = await self._channel.call(request, TaskList)
            gone = {task.id: task.expired_at for task in page.tasks}
        for task_id in ids:
            if task_id in found:
                self._finish(task_id, found[task_id])
            elif (at := gone.get(task_id)) is not None:
                self._fail({task_id}, expired_task(task_id, at))
            else:
                message = f"task {task_id} is COMPLETED and the manager gives no result"
                self._fail({task_id}, InternalError(message, where=self._channel.url))

    def _finish(self, task_id: int, end: TaskEnd) -> None:
        wait = self._waits.pop(task_id, None)
        if wait is not None and not wait.done():
            wait.set_result(end)

    def _fail(self, task_ids: set[int], error: QpuExecutorError) -> None:
        for task_id in task_ids:
            wait = self._waits.pop(task_id, None)
            if wait is not None and not wait.done():
                # A copy for each: a raised exception collects the traceback of its raiser.
                wait.set_exception(copy.copy(error))


def unknown_task(task_id: int, url: str) -> UnknownTask:
    """The manager doesn't know this task, or doesn't show it to the caller."""
    return UnknownTask(
        f"there is no task {task_id}, or it isn't yours", where=url, next_step="see: qpu queue"
    )


def expired_task(task_id: int, at: datetime) -> TaskExpired:
    """What the task left behind is kept no longer."""
    return TaskExpired(
        f"task {task_id} expired at {at:%Y-%m-%dT%H:%M:%S}Z: its result is kept no longer",
        next_step="submit it again under a new key",
    )


def _take(ids: set[int], count: int) -> list[int]:
    taken = sorted(ids)[:count]
    ids.difference_update(taken)
    return taken


def _mark_seen(wait: Wait) -> None:
    """A wait that nobody awaits any more isn't worth asyncio's warning."""
    if not wait.cancelled():
        wait.exception()
