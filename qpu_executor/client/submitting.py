"""Submissions of the same loop tick travel together.

While requests are under way, what comes in gathers for the next one: under
load the batches grow by themselves, and a single submission waits for nobody.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from dataclasses import dataclass

from qpu_executor.cancellation import only_own_cancellation
from qpu_executor.client import protocol
from qpu_executor.client.channel import Channel
from qpu_executor.client.order import TaskOrder, to_request
from qpu_executor.client.problems import error_from
from qpu_executor.errors import CallerError, InternalError, QpuExecutorError
from qpu_executor.programs.program import Program
from qpu_executor.wire.tasks import SubmitAnswer, SubmitItem, TaskOut, TaskRequest

REQUESTS_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Accepted:
    """A task that the manager has taken; its state is as of journal entry `cursor`."""

    task: TaskOut
    cursor: int


@dataclass(frozen=True, slots=True, eq=False)
class _Pending:
    request: TaskRequest
    program: Program
    answer: asyncio.Future[Accepted]


class Submissions:
    """Gathers orders and sends them. `session`: for orders that name none."""

    def __init__(self, channel: Channel, session: str | None) -> None:
        self.session = session
        self._channel = channel
        self._pending: deque[_Pending] = deque()
        self._senders: set[asyncio.Task[None]] = set()
        self._flush_due = False
        self._closed = False

    def add(self, order: TaskOrder) -> asyncio.Future[Accepted]:
        """Send an order with the next request; the future fails with its refusal."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Accepted] = loop.create_future()
        try:
            request = to_request(order, self.session)
            if self._closed:
                raise CallerError("this client is closed", next_step="connect() again")
        except QpuExecutorError as refused:
            answer.set_exception(refused)
            return answer
        self._pending.append(_Pending(request, order.program, answer))
        if not self._flush_due:
            self._flush_due = True
            loop.call_soon(self._flush)
        return answer

    async def close(self) -> None:
        """Stop sending; what wasn't answered is cancelled."""
        self._closed = True
        senders = list(self._senders)
        for sender in senders:
            sender.cancel()
        try:
            await asyncio.gather(*senders, return_exceptions=True)
        finally:
            while self._pending:
                self._pending.popleft().answer.cancel()

    def _flush(self) -> None:
        self._flush_due = False
        while self._pending and len(self._senders) < REQUESTS_AT_ONCE:
            sender = asyncio.create_task(self._send_all(self._next_batch()))
            self._senders.add(sender)
            sender.add_done_callback(self._sent)

    def _sent(self, sender: asyncio.Task[None]) -> None:
        self._senders.discard(sender)
        if not self._closed:
            self._flush()

    def _next_batch(self) -> list[_Pending]:
        batch: list[_Pending] = []
        known: set[str] = set()
        size = 0
        while self._pending and len(batch) < protocol.MAX_TASKS:
            item = self._pending[0]
            size += _bytes(item, known)
            if batch and size > protocol.MAX_BYTES:
                break
            known.add(item.program.hash)
            batch.append(self._pending.popleft())
        return batch

    async def _send_all(self, batch: list[_Pending]) -> None:
        """Send a batch and hand out its answers; nobody is left without one."""
        try:
            with only_own_cancellation():
                await self._send(batch)
        except QpuExecutorError as error:
            _fail(batch, error)
        except asyncio.CancelledError:
            for item in batch:
                item.answer.cancel()
            raise
        except Exception as error:
            _fail(batch, InternalError(f"the submission failed: {error!r}"))

    async def _send(self, batch: list[_Pending]) -> None:
        programs = {item.program.hash: item.program for item in batch}
        request = protocol.submission([item.request for item in batch], programs)
        try:
            answer = await self._channel.call(request, SubmitAnswer)
        except CallerError:
            if len(batch) == 1:
                raise
            # Refused as a whole: halves find whom it is about. Keys make that safe.
            middle = len(batch) // 2
            await self._send_all(batch[:middle])
            await self._send_all(batch[middle:])
            return
        if len(answer.items) != len(batch):
            raise InternalError(
                f"{len(batch)} tasks were sent and {len(answer.items)} answers came",
                where=self._channel.url,
            )
        for item, answered in zip(batch, answer.items, strict=True):
            _settle(item.answer, answered, answer.cursor)


def _settle(answer: asyncio.Future[Accepted], item: SubmitItem, cursor: int) -> None:
    if answer.done():
        return
    if item.task is not None:
        answer.set_result(Accepted(item.task, cursor))
    elif item.problem is not None:
        fields = item.problem.model_dump()
        answer.set_exception(error_from(fields, status=item.problem.status))
    else:
        answer.set_exception(InternalError("the manager's answer names no task and no problem"))


def _fail(batch: list[_Pending], error: QpuExecutorError) -> None:
    for item in batch:
        if not item.answer.done():
            item.answer.set_exception(copy.copy(error))


def _bytes(item: _Pending, known: set[str]) -> int:
    """About the size on the wire: quotes in a program are escaped."""
    if item.program.hash in known:
        return 400
    content = item.program.content
    return 400 + len(content) + content.count('"')
