"""One connection: who is at its other end, how long a request or an answer may take.

uvicorn's protocol bounds neither the time that a request takes to arrive, nor its head, nor
how long an answer isn't read. Here they are: a connection that dawdles is closed.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from qpu_executor.errors import ManagerBusy, NotAuthenticated, QpuExecutorError, RequestRefused
from qpu_executor.manager.api.gate import PEER, REFUSED
from qpu_executor.manager.api.load import Load
from qpu_executor.manager.api.openapi import PROBLEM
from qpu_executor.manager.api.problems import problem_of
from qpu_executor.manager.auth.caller import Caller
from qpu_executor.manager.auth.peer import caller_of_socket

MAX_HEAD_BYTES = 65_536
MAX_HEADERS = 200
SLOWEST_BYTES_PER_S = 10_000
"""Who reads a large answer at least so fast isn't cut."""
BEYOND = 256
"""Connections beyond the limit that still hear why they are refused; more are cut."""


class CallerProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which also puts the connection's peer into every request's scope.

    Made by `functools.partial` with the `load` that it counts in.
    """

    _caller: Caller | NotAuthenticated

    def __init__(self, *args: Any, load: Load, **options: Any) -> None:
        super().__init__(*args, **options)
        self._load = load
        self._peer = ""
        self._refused: ManagerBusy | None = None
        self._arriving: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._unread_bytes = 0
        self._reading = False
        self._in_head = True
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Ask the kernel once per connection who is at its other end, and count it."""
        try:
            self._caller = caller_of_socket(transport.get_extra_info("socket"))
        except NotAuthenticated as error:
            self._caller = error
        except OSError as error:
            self._caller = NotAuthenticated(f"the kernel doesn't say who is asking: {error}")
        super().connection_made(transport)
        host = self.client[0] if self.client else "this host"
        self._peer = self._caller.name if isinstance(self._caller, Caller) else host
        self._refused = self._load.connected(self._peer)
        if self._load.connections > self._load.limits.max_connections + BEYOND:
            transport.abort()
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over: nothing is waited for any more."""
        self._load.disconnected(self._peer)
        self._request_is_here()
        self._answer_is_read()
        super().connection_lost(exc)

    # -- what comes in --------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""
        if self._arriving is None:
            self._await_request()
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse_head()

    def on_message_begin(self) -> None:
        """A request begins: its scope is new."""
        super().on_message_begin()
        self._reading = self._in_head = True
        if self._arriving is None:
            self._await_request()
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]  # ASGI lets servers add to it
        scope[PEER] = self._caller
        scope[REFUSED] = self._refused

    def on_headers_complete(self) -> None:
        """The head of a request is here."""
        self._in_head = False
        self._head_bytes = 0
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            self._refuse_head()
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Bytes of a body; there is no request where its head was refused."""
        if self._has_cycle() and not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is all here."""
        self._reading, self._in_head = False, True
        self._request_is_here()
        if self._has_cycle() and not self.transport.is_closing():
            super().on_message_complete()

    def _has_cycle(self) -> bool:
        """False as long as no request has had a head that is taken."""
        cycle: Any = self.cycle
        return cycle is not None

    def _await_request(self) -> None:
        limit_s = self._load.limits.request_s
        self._arriving = self.loop.call_later(limit_s, self._too_slow)

    def _request_is_here(self) -> None:
        if self._arriving is not None:
            self._arriving.cancel()
            self._arriving = None

    def _too_slow(self) -> None:
        """The time for a request is over."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        answering = self._has_cycle() and not cycle.response_complete
        if self.flow.read_paused or (answering and self._in_head):
            self._await_request()  # it is the manager's turn: an earlier request isn't answered
        elif not self._reading or (answering and cycle.response_started):
            self.transport.close()
        else:
            slow = RequestRefused("the request took too long to arrive", where="request")
            self._say(slow, HTTPStatus.REQUEST_TIMEOUT)

    # -- what goes out --------------------------------------------------------

    def pause_writing(self) -> None:
        """The caller doesn't read as fast as it is answered."""
        super().pause_writing()
        if self._unread is None:
            self._await_reader()

    def resume_writing(self) -> None:
        """It has read."""
        super().resume_writing()
        self._answer_is_read()

    def _await_reader(self) -> None:
        self._unread_bytes = self.transport.get_write_buffer_size()
        self._unread = self.loop.call_later(self._load.limits.answer_s, self._look_at_reader)

    def _look_at_reader(self) -> None:
        """The time for an answer is over: whoever has read a good part of it has more."""
        read = self._unread_bytes - self.transport.get_write_buffer_size()
        if read >= SLOWEST_BYTES_PER_S * self._load.limits.answer_s:
            self._await_reader()
        else:
            self.transport.abort()

    def _answer_is_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP."""
        error = RequestRefused("this is no HTTP request", where="request")
        self._say(error, HTTPStatus.BAD_REQUEST)

    def _refuse_head(self) -> None:
        error = RequestRefused(
            "the request's head is too large",
            where="request",
            expected=f"at most {MAX_HEAD_BYTES} bytes and {MAX_HEADERS} headers",
        )
        self._say(error, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def _say(self, error: QpuExecutorError, status: HTTPStatus) -> None:
        """Answer without an application, and close."""
        if self.transport.is_closing():
            return
        problem = problem_of(error, status=status)
        body = json.dumps(problem.model_dump(mode="json", exclude_none=True)).encode()
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {PROBLEM}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
