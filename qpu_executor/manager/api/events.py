"""The event stream: server-sent events, resumed by journal number.

A stream keeps a cursor, not a queue: after every commit it reads on from the
newest rows in memory, or from the store when it is far behind. So a slow or
broken client misses nothing and costs nobody memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse

from qpu_executor.manager.api.context import Asked, Context
from qpu_executor.manager.api.views import event_out
from qpu_executor.manager.store.records import JournalRow
from qpu_executor.wire.site import EventOut

router = APIRouter(prefix="/v1", tags=["events"])

HEARTBEAT_S = 15.0
PAGE = 1000


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "EventOut as JSON"}},
)
async def events(
    asked: Asked,
    after: Annotated[int | None, Query(ge=0, description="journal number to go on from")] = None,
    session: str | None = None,
    last_event_id: Annotated[int | None, Header(ge=0)] = None,
) -> StreamingResponse:
    """The caller's task events after a journal number (default: from now on)."""
    asked.manager.sessions.heard(session, asked.caller)
    start = after if after is not None else last_event_id
    cursor = asked.manager.broadcast.newest if start is None else start
    return StreamingResponse(
        _stream(asked, cursor, session),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _stream(asked: Context, cursor: int, session: str | None) -> AsyncIterator[str]:
    broadcast, owner = asked.manager.broadcast, asked.caller.name
    broadcast.listen(owner)
    hello = EventOut(type="hello", n=cursor, instance=asked.manager.instance)
    yield _frame(hello)
    told: dict[int, int] = {}
    while not broadcast.closed:
        serial, newest = broadcast.serial, broadcast.newest
        async for row in _rows(asked, cursor, owner, session):
            cursor = row.n
            yield _frame(event_out(row))
        cursor = max(cursor, newest)
        progress = [
            one
            for one in broadcast.progress_of(owner)
            if told.get(one.task_id) != one.shots_done and session in (None, one.session_id)
        ]
        for one in progress:
            told[one.task_id] = one.shots_done
            yield _frame(
                EventOut(
                    type="progress",
                    task=one.task_id,
                    session=one.session_id,
                    shots_done=one.shots_done,
                    shots=one.shots,
                )
            )
        if not await broadcast.wait_beyond(serial, HEARTBEAT_S):
            yield ": still here\n\n"


async def _rows(
    asked: Context, cursor: int, owner: str, session: str | None
) -> AsyncIterator[JournalRow]:
    """Rows of this owner (and session) above the cursor, from memory or from the store."""
    kept = asked.manager.broadcast.since(cursor)
    if kept is not None:
        for row in kept:
            if row.owner == owner and session in (None, row.session_id):
                yield row
        return
    while True:
        page = await asked.manager.store.journal(
            cursor, owner=owner, session_id=session, states_only=True, limit=PAGE
        )
        for row in page:
            yield row
        if len(page) < PAGE:
            return
        cursor = page[-1].n


def _frame(event: EventOut) -> str:
    number = f"id: {event.n}\n" if event.n is not None else ""
    return f"{number}data: {event.model_dump_json(exclude_none=True)}\n\n"
