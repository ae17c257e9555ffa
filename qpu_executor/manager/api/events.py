"""The event stream: server-sent events, resumed by journal number.

A stream keeps a cursor, not a queue: after every commit it reads on from the
newest rows in memory, or from the store when it is far behind. So a slow or
broken client misses nothing and costs nobody memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from qpu_executor.manager.api.context import Asked, Context
from qpu_executor.manager.api.openapi import EVENTS
from qpu_executor.manager.api.parameters import AfterEntry, LastEventId, OfSession
from qpu_executor.manager.api.views import event_out
from qpu_executor.manager.service.broadcast import Audience, Progress
from qpu_executor.manager.store.records import JournalRow
from qpu_executor.wire.site import EventOut

router = APIRouter(prefix="/v1", tags=["events"])

HEARTBEAT_S = 15.0
PAGE = 1000
STREAM = {
    "schema": {"type": "string"},
    "x-data-schema": {"$ref": "#/components/schemas/EventOut"},
}
"""Server-sent events: OpenAPI 3.1 has no words for what stands after `data:`."""


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={200: {"content": {EVENTS: STREAM}, "description": "the stream, without an end"}},
)
async def events(
    asked: Asked,
    after: AfterEntry = None,
    session: OfSession = None,
    last_event_id: LastEventId = None,
) -> StreamingResponse:
    """The caller's task events after a journal number (default: from now on)."""
    asked.manager.sessions.heard(session, asked.caller)
    start = after if after is not None else last_event_id
    cursor = asked.manager.broadcast.newest if start is None else start
    lasting = ExitStack()
    lasting.enter_context(asked.load.stream(asked.caller.name))
    audience = lasting.enter_context(asked.manager.broadcast.listen(asked.caller.name))
    return _Stream(
        lasting,
        _stream(asked, audience, cursor, session),
        media_type=EVENTS,
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


class _Stream(StreamingResponse):
    """An answer that is counted, and listens, for as long as it lasts."""

    def __init__(self, lasting: ExitStack, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._lasting = lasting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        with self._lasting:
            await super().__call__(scope, receive, send)


async def _stream(
    asked: Context, audience: Audience, cursor: int, session: str | None
) -> AsyncIterator[str]:
    broadcast, owner = asked.manager.broadcast, asked.caller.name
    hello = EventOut(type="hello", n=cursor, instance=asked.manager.instance)
    yield _frame(hello)
    told: dict[int, int] = {}
    while not broadcast.closed:
        serial, newest = audience.serial, broadcast.newest
        async for row in _rows(asked, cursor, owner):
            cursor = row.n
            if session in (None, row.session_id):
                yield _frame(event_out(row))
        cursor = max(cursor, newest)
        now = {one.task_id: one for one in audience.progress.values()}
        told = {task_id: shots for task_id, shots in told.items() if task_id in now}
        for one in now.values():
            if told.get(one.task_id) != one.shots_done and session in (None, one.session_id):
                told[one.task_id] = one.shots_done
                yield _frame(_progress_out(one))
        if not await audience.wait_beyond(serial, HEARTBEAT_S):
            if audience.serial == serial:  # nothing was missed, however much there was of others
                cursor = max(cursor, broadcast.newest)
            yield ": still here\n\n"


async def _rows(asked: Context, cursor: int, owner: str) -> AsyncIterator[JournalRow]:
    """This owner's rows above the cursor, from memory or from the store, a page at a time."""
    broadcast, store = asked.manager.broadcast, asked.manager.store
    while True:
        page = broadcast.since(cursor, owner, PAGE)
        if page is None:
            page = await store.journal(cursor, owner=owner, states_only=True, limit=PAGE)
        for row in page:
            yield row
        if len(page) < PAGE:
            return
        cursor = page[-1].n


def _progress_out(one: Progress) -> EventOut:
    return EventOut(
        type="progress",
        task=one.task_id,
        session=one.session_id,
        shots_done=one.shots_done,
        shots=one.shots,
    )


def _frame(event: EventOut) -> str:
    number = f"id: {event.n}\n" if event.n is not None else ""
    return f"{number}data: {event.model_dump_json(exclude_none=True)}\n\n"
