"""What every request passes before a route sees it: who is asking, how much, whose turn.

In this order: a connection that is one too many, the caller, the caller's requests under
way, the body (read here, within its bounds, so that a slow one holds nobody up), and a
turn. Nobody knows yet whether the route needs to know the caller: if nobody can say who
that is, only requests without a body go on, and the route refuses what it has to.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import ExitStack
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from qpu_executor.errors import ManagerBusy, NotAuthenticated, QpuExecutorError, RequestRefused
from qpu_executor.manager.api import problems
from qpu_executor.manager.api.half_characters import refuse_half_characters
from qpu_executor.manager.api.load import Load
from qpu_executor.manager.api.openapi import EVENTS
from qpu_executor.manager.auth.authentication import Authentication
from qpu_executor.manager.auth.base import Presented
from qpu_executor.manager.auth.caller import Caller, Role

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CALLER = "qpu_executor.caller"
"""In a request's scope: the Caller, or the error that says why there is none."""
PEER = "qpu_executor.peer"
"""In a request's scope: the same, by the kernel's word about the connection alone."""
REFUSED = "qpu_executor.refused"
"""In a request's scope: why nothing is answered on this connection, or None."""

NOBODY = "(nobody)"
"""Whose requests those are that don't say who is asking."""
SWALLOWED = 4
"""A body that is too large is read on (and forgotten) up to so many times the bound: a caller
that is cut off in the middle of it may never see the answer.
"""


class _GoneError(Exception):
    """The caller went before the whole request was here."""


class Gate:
    """ASGI middleware. One per application, like the load that it keeps.

    `note`: puts those refusals on record that the audit log tells.
    """

    def __init__(
        self, app: App, authentication: Authentication, load: Load, note: problems.Note
    ) -> None:
        self._app = app
        self._authentication = authentication
        self._load = load
        self._note = note

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        try:
            await self._pass(scope, headers, receive, send)
        except _GoneError:
            return
        except QpuExecutorError as error:
            self._note(Request(scope), error)
            response = problems.answer(error, headers.get("idempotency-key"))
            await _refuse(response, self._authentication, error, scope, receive, send)

    async def _pass(
        self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send
    ) -> None:
        caller = await self._caller(scope, headers)
        scope[CALLER] = caller
        has_body = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
        if isinstance(caller, QpuExecutorError) and has_body:
            raise caller
        urgent = _urgent(scope, caller)
        if scope.get(REFUSED) is not None and not urgent:
            raise scope[REFUSED]
        name = caller.name if isinstance(caller, Caller) else NOBODY
        with ExitStack() as under_way:
            under_way.enter_context(self._load.request(name, urgent=urgent))
            body = await self._body(headers, receive) if has_body else b""
            if body is None:
                await self._too_large(headers, scope, receive, send)
                return
            under_way.callback(self._load.forget_body, len(body))
            refuse_half_characters(body)
            if not urgent:
                await self._load.turns.take(name)
                under_way.callback(self._load.turns.give_back, name)
            await self._app(scope, _once(body, receive), _ending(under_way, send))

    async def _caller(self, scope: Scope, headers: dict[str, str]) -> Caller | QpuExecutorError:
        try:
            found = await self._authentication.caller_of(Presented(headers, scope.get(PEER)))
            return replace(found, origin=origin_of(scope))
        except (NotAuthenticated, ManagerBusy) as error:
            return error

    async def _body(self, headers: dict[str, str], receive: Receive) -> bytes | None:
        """The whole body, on the account of all bodies; None if it is too large.

        Raises ManagerBusy if there is no room for it now, _GoneError if it never came.
        """
        load, most = self._load, self._load.limits.max_body_bytes
        said = headers.get("content-length", "0")
        if said.isascii() and said.isdigit() and int(said[:20]) > most:
            return None
        pieces: list[bytes] = []
        size = 0
        try:
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise _GoneError
                piece = message.get("body", b"")
                size += len(piece)
                load.bodies_bytes += len(piece)
                if size > most:
                    load.bodies_bytes -= size
                    return None
                if load.bodies_bytes > load.limits.max_bodies_bytes:
                    raise ManagerBusy("the manager holds too many large requests at the moment")
                pieces.append(piece)
                if not message.get("more_body", False):
                    break
        except BaseException:
            load.bodies_bytes -= size
            raise
        return b"".join(pieces)

    async def _too_large(
        self, headers: dict[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        most = self._load.limits.max_body_bytes
        refusal = RequestRefused(
            f"the body is larger than {most} bytes",
            where="request",
            expected=f"at most {most} bytes (limits.max_body_bytes)",
            next_step="submit fewer tasks at once, and each program once (by its hash)",
        )
        status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        response = problems.answer(refusal, headers.get("idempotency-key"), status)
        response.headers["Connection"] = "close"
        if "expect" not in headers:
            left = SWALLOWED * most
            while left > 0:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body", False):
                    break
                left -= len(message.get("body", b""))
        await response(scope, receive, send)


def origin_of(scope: Scope) -> str:
    """The host that a request comes from; this host for a unix socket."""
    client = scope.get("client")
    return client[0] if client and client[0] else "this host"


async def _refuse(
    response: Response,
    authentication: Authentication,
    error: QpuExecutorError,
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """Answer without having read the body: the connection ends with it."""
    if isinstance(error, NotAuthenticated) and authentication.challenge:
        response.headers["WWW-Authenticate"] = authentication.challenge
    if scope.get(REFUSED) is not None:
        response.headers["Connection"] = "close"
    await response(scope, receive, send)


def _urgent(scope: Scope, caller: Caller | QpuExecutorError) -> bool:
    """Answered however much there is to do: who are you, and what operators ask."""
    if scope["path"] == "/v1/health":
        return True
    operator = isinstance(caller, Caller) and caller.has(Role.OPERATOR)
    return operator and scope["method"] != "GET" and scope["path"] not in _WORK


_WORK = frozenset({"/v1/tasks", "/v1/estimate", "/v1/sessions"})
"""What operators do as users."""


def _ending(under_way: ExitStack, send: Send) -> Send:
    """The same, with the request no longer under way once an event stream begins."""

    async def watched(message: Message) -> None:
        if message["type"] == "http.response.start" and _endless(message):
            under_way.close()
        await send(message)

    return watched


def _endless(start: Message) -> bool:
    return any(
        name == b"content-type" and value.startswith(EVENTS.encode())
        for name, value in start["headers"]
    )


def _once(body: bytes, receive: Receive) -> Receive:
    """The body that was read, in one piece; then whatever comes."""
    sent = False

    async def read() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return read
