"""The result of a task while it grows: asked for when the event stream says that it has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from qpu_executor.client.result import Result
from qpu_executor.errors import IllegalMove, TaskCancelled, TaskFailed

if TYPE_CHECKING:
    from qpu_executor.client.async_client import AsyncClient
    from qpu_executor.client.tasks import AsyncTask


async def growing_result(client: AsyncClient, task: AsyncTask) -> AsyncGenerator[Result, None]:
    """All shots until then, whenever more are counted; the last is the task's result.

    Raises what the result raises. Who stops asking stops nothing.
    """
    shots = 0
    with client.moves_of(task.id) as moved:
        end = client.end_of(task.id, task.state, task.cursor)
        while not end.done():
            moved.clear()
            try:
                partial = await client.partial_result(task.id)
            except (IllegalMove, TaskCancelled, TaskFailed):
                break  # it has ended just now: its end says how
            if shots < partial.shots < task.info.shots:
                shots = partial.shots
                yield partial
            waiting = asyncio.create_task(moved.wait())
            try:
                both: set[asyncio.Future[Any]] = {end, waiting}
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
    if end.done() and not end.cancelled() and (lost := end.exception()) is not None:
        raise lost
    yield await task.result()
