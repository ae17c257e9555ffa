"""The manager's event stream: reading it, and following it through broken connections.

`EventParser` does no I/O. `follow` resumes with the number of the last durable
entry, so that none is lost; after each (re)connection it yields the stream's
`hello`, which tells the reader to check what it waits for.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from pydantic import ValidationError

from qpu_executor.client import protocol
from qpu_executor.client.channel import Channel
from qpu_executor.client.problems import error_in, foreign
from qpu_executor.client.protocol import ApiRequest
from qpu_executor.client.retry import NoAnswer
from qpu_executor.errors import ManagerBusy
from qpu_executor.wire.site import EventOut, HealthOut


class EventParser:
    """Server-sent events from bytes, however they are cut. Comments are heartbeats."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._id: bytes | None = None

    def feed(self, piece: bytes) -> list[EventOut]:
        """The events that `piece` completes. Types that this version doesn't know are skipped."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        events = []
        for line in lines:
            line = line.removesuffix(b"\r")
            if line:
                self._take(line)
            elif self._data and (event := self._end()) is not None:
                events.append(event)
        return events

    def _take(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
        elif field == b"id":
            self._id = value

    def _end(self) -> EventOut | None:
        data, number = b"\n".join(self._data), self._id
        self._data, self._id = [], None
        try:
            event = EventOut.model_validate_json(data)
        except ValidationError:
            return None
        if event.n is None and number is not None and number.isdigit() and event.type == "task":
            event.n = int(number)
        return event


async def follow(
    channel: Channel, after: int, session: str | None = None
) -> AsyncGenerator[EventOut, None]:
    """Events after entry `after`, for ever; each `hello` is a new connection.

    A `hello` with a number below those seen: the manager's store was replaced.
    Raises what the manager answers, or ManagerUnreachable once an outage has
    lasted for the channel's `wait_s`.
    """
    patience = channel.patience()
    instance: str | None = None
    while True:
        request = protocol.events(after, session)
        failure: NoAnswer | ManagerBusy = NoAnswer("the event stream ended", sent=False)
        try:
            async with aclosing(_connection(channel, request)) as events:
                async for event in events:
                    if event.type == "hello":
                        patience = channel.patience()
                        if event.instance != instance:
                            instance = event.instance
                            newest = (await channel.call(protocol.health(), HealthOut)).cursor
                            if newest < after:
                                after = newest
                                yield event.model_copy(update={"n": newest})
                                break
                    elif event.n is not None:
                        after = max(after, event.n)
                    yield event
        except (NoAnswer, ManagerBusy) as lost:
            failure = lost
        await patience.pause(failure, request)


async def _connection(channel: Channel, request: ApiRequest) -> AsyncGenerator[EventOut, None]:
    """The events of one connection, until it ends."""
    async with channel.transport.stream(request) as (reply, pieces):
        error = error_in(reply, channel.url)
        if error is not None:
            raise error
        if not reply.headers.get("content-type", "").startswith("text/event-stream"):
            raise foreign(reply, channel.url)
        parser = EventParser()
        async for piece in pieces:
            for event in parser.feed(piece):
                yield event
