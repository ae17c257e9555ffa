"""The HTTP API of a virtual manager, asked in the same process as anybody: no sockets.

api = LocalApi(served.manager, operators={"boss"})
status, headers, text = await api.ask("ada", "GET", "/v1/tasks")
tasks = await api.asked("ada", "GET", "/v1/tasks")  # has to be a good answer
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from qpu_executor.errors import NotAuthenticated
from qpu_executor.manager.api.app import create_app
from qpu_executor.manager.auth.authentication import Authentication
from qpu_executor.manager.auth.base import Presented
from qpu_executor.manager.auth.caller import Caller
from qpu_executor.manager.auth.roles import Members, Roles
from qpu_executor.manager.service.manager import Manager

Reply = tuple[int, dict[str, str], str]
"""Status, headers and text."""

HOST = "10.1.2.3"
"""Where every request seems to come from."""


class SaysSo:
    """An authenticator that takes everybody for whom they say they are, but for a liar."""

    scheme = "Says"
    expects = "authorization: Says NAME"
    across_hosts = False

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def caller_of(self, presented: Presented) -> Caller | None:
        """See `Authenticator`."""
        scheme, _, name = presented.headers.get("authorization", "").partition(" ")
        if scheme != "Says":
            return None
        if name.startswith("liar"):
            raise NotAuthenticated(f"nobody believes {name}")
        return Caller(name, None, "test")


class LocalApi:
    """`operators`, `services`: who has these roles, by name."""

    def __init__(
        self, manager: Manager, operators: Iterable[str] = (), services: Iterable[str] = ()
    ) -> None:
        roles = Roles(Members(frozenset(operators)), Members(frozenset(services)))
        self.app = create_app(manager, Authentication([SaysSo()], roles), embedded=False)

    async def ask(self, user: str, method: str, path: str, body: Any = None) -> Reply:
        """What the API answers to a user (empty: to somebody who presents nothing)."""
        path, _, query = path.partition("?")
        sent = b"" if body is None else json.dumps(body).encode()
        headers = [(b"content-type", b"application/json")]
        headers.append((b"content-length", str(len(sent)).encode()))
        if user:
            headers.append((b"authorization", f"Says {user}".encode()))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": headers,
            "client": (HOST, 1),
            "server": ("manager", 80),
        }
        arrived: list[Any] = [{"type": "http.request", "body": sent, "more_body": False}]
        answered: list[Any] = []

        async def receive() -> Any:
            return arrived.pop() if arrived else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            answered.append(message)

        await self.app(scope, receive, send)
        start = next(one for one in answered if one["type"] == "http.response.start")
        text = b"".join(one.get("body", b"") for one in answered).decode()
        return start["status"], {n.decode(): v.decode() for n, v in start["headers"]}, text

    async def asked(self, user: str, method: str, path: str, body: Any = None) -> Any:
        """The JSON of an answer. Raises AssertionError if it isn't a good one."""
        status, _, text = await self.ask(user, method, path, body)
        assert status == 200, (method, path, text)
        return json.loads(text)
