"""The counts of a task while it runs: as many as there are, each time there are more."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from qpu_executor.client import protocol
from qpu_executor.client.channel import Channel
from qpu_executor.client.events import follow
from qpu_executor.client.result import Result, end_error
from qpu_executor.model.states import TaskState
from qpu_executor.wire.site import HealthOut
from qpu_executor.wire.tasks import ResultOut


async def partial_counts(channel: Channel, task_id: int) -> AsyncGenerator[Result, None]:
    """Results with more and more shots; the last one is the task's.

    Follows the event stream: nothing is polled. Between two looks several chunks may have
    ended. Raises TaskFailed or TaskCancelled after the last shots of a task that ends so, and
    UnknownTask.
    """
    shots = 0
    start = (await channel.call(protocol.health(), HealthOut)).cursor
    async with aclosing(follow(channel, start)) as events:
        async for event in events:
            if event.type != "hello" and event.task != task_id:
                continue
            found = await channel.call(protocol.partial_result(task_id), ResultOut)
            # Fewer than before: a calibration made the task begin anew.
            if found.shots != shots:
                shots = found.shots
                yield Result.from_wire(found)
            state = found.task.state
            if state is TaskState.COMPLETED:
                return
            if state.final:
                raise end_error(found.task)
