"""Handles of submitted tasks: AsyncTask, and Task, its twin for plain Python."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from qpu_executor.client.result import Result, end_error, result_or_raise
from qpu_executor.client.streaming import growing_result
from qpu_executor.model.states import TaskState
from qpu_executor.wire.tasks import TaskOut

if TYPE_CHECKING:
    from qpu_executor.client.async_client import AsyncClient
    from qpu_executor.client.client import Client

_NOT_YET: Any = None
"""The client of a handle that has travelled, until it is asked something."""


class AsyncTask:
    """A task at the manager. `await task` waits for its Result.

    `info`: as last seen, as of journal number `cursor` (None: unknown).
    """

    def __init__(self, client: AsyncClient, info: TaskOut, cursor: int | None = None) -> None:
        self._client = client
        self.info = info
        self.cursor = cursor
        self._result: Result | None = None

    @property
    def id(self) -> int:
        """The task's number at its manager."""
        return self.info.id

    @property
    def state(self) -> TaskState:
        """The state as last seen; `refresh()` asks the manager."""
        return self.info.state

    async def refresh(self) -> TaskOut:
        """Ask the manager how the task is now."""
        fresh = await self._client.task(self.id)
        return self._saw(fresh.info, fresh.cursor)

    async def done(self) -> bool:
        """True once the task has ended (asks the manager while that isn't known)."""
        return self.state.final or (await self.refresh()).state.final

    async def result(self, timeout: float | None = None) -> Result:
        """Wait for the result, `timeout` seconds at most.

        Raises TaskFailed, TaskCancelled, WaitTimeout (the task goes on), or
        ManagerUnreachable.
        """
        if self._result is None:
            if self.state.final and self.state is not TaskState.COMPLETED:
                raise end_error(self.info)
            end = await self._client.wait_for_end(self, timeout)
            self._saw(end if isinstance(end, TaskOut) else end.task)
            self._result = result_or_raise(end)
        return self._result

    async def stream(self) -> AsyncGenerator[Result, None]:
        """The result so far, whenever more shots are counted; the last is `result()`.

        Each has all shots until then (`shots` of `shots_asked`). Raises as `result()` does.
        """
        async with aclosing(growing_result(self._client, self)) as results:
            async for result in results:
                yield result

    async def cancel(self) -> TaskOut:
        """Ask for the task's end. No error where it has ended already."""
        (task,) = await self._client.cancel_tasks([self.id])
        return self._saw(task.info)

    async def hold(self) -> TaskOut:
        """Keep the task back (a running chunk is finished first)."""
        (task,) = await self._client.hold_tasks([self.id])
        return self._saw(task.info)

    async def release(self) -> TaskOut:
        """Let the held task go on."""
        (task,) = await self._client.release_tasks([self.id])
        return self._saw(task.info)

    def _saw(self, info: TaskOut, cursor: int | None = None) -> TaskOut:
        self.info, self.cursor = info, cursor
        return info

    def __reduce__(self) -> str:
        raise TypeError(f"an AsyncTask doesn't pickle: send its id, {self.id}, and ask task(id)")

    def __await__(self) -> Generator[Any, None, Result]:
        return self.result().__await__()

    def __repr__(self) -> str:
        return _text(type(self).__name__, self.info)


class Task:
    """A task at the manager, for plain Python; may be used from any thread.

    It pickles: elsewhere it connects to the same manager when it is first asked something.
    """

    def __init__(self, client: Client, task: AsyncTask) -> None:
        self._client: Client | None = client
        self._task = task
        self._url = ""

    @property
    def id(self) -> int:
        """The task's number at its manager."""
        return self._task.id

    @property
    def state(self) -> TaskState:
        """The state as last seen; `refresh()` asks the manager."""
        return self._task.state

    @property
    def info(self) -> TaskOut:
        """All that the manager says about the task, as last seen."""
        return self._task.info

    def refresh(self) -> TaskOut:
        """Ask the manager how the task is now."""
        return self._connected().call(self._task.refresh())

    def done(self) -> bool:
        """True once the task has ended (asks the manager while that isn't known)."""
        return self._connected().call(self._task.done())

    def result(self, timeout: float | None = None) -> Result:
        """Wait for the result, `timeout` seconds at most.

        Raises TaskFailed, TaskCancelled, WaitTimeout (the task goes on), or
        ManagerUnreachable.
        """
        return self._connected().call(self._task.result(timeout))

    def stream(self) -> Iterator[Result]:
        """The result so far, whenever more shots are counted; the last is `result()`.

        Each has all shots until then (`shots` of `shots_asked`). Raises as `result()` does.
        """
        yield from self._connected().iterate(self._task.stream())

    def cancel(self) -> TaskOut:
        """Ask for the task's end. No error where it has ended already."""
        return self._connected().call(self._task.cancel())

    def hold(self) -> TaskOut:
        """Keep the task back (a running chunk is finished first)."""
        return self._connected().call(self._task.hold())

    def release(self) -> TaskOut:
        """Let the held task go on."""
        return self._connected().call(self._task.release())

    def __getstate__(self) -> tuple[str, TaskOut]:
        return (self._url if self._client is None else self._client.url), self.info

    def __setstate__(self, state: tuple[str, TaskOut]) -> None:
        self._url, info = state
        self._client = None
        self._task = AsyncTask(_NOT_YET, info)

    def _connected(self) -> Client:
        """The client; one that has travelled finds one of this process for its manager."""
        if self._client is None:
            from qpu_executor.client.connect import shared_client

            self._client = shared_client(self._url)
            self._task = self._client.handle(self._task.info)
        return self._client

    def __repr__(self) -> str:
        return _text(type(self).__name__, self.info)


def _text(kind: str, info: TaskOut) -> str:
    name = f" {info.name!r}" if info.name else ""
    reason = f" ({info.reason})" if info.reason else ""
    return f"<{kind} {info.id}{name}: {info.state}{reason}, {info.shots_done}/{info.shots} shots>"
