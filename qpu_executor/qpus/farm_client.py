"""Requests to an emulator farm: HTTP and JSON, bounded in time and size.

Whatever goes wrong leaves as one of: `NotConnected` (the farm can't have got it),
`NoAnswer` (nobody knows), `Refused` (it said no), `BadAnswer` (it said something else).
"""

from __future__ import annotations

import asyncio
import io
import json
import os
from typing import TypeVar
from urllib.parse import urlsplit

import aiohttp
from pydantic import BaseModel, ValidationError

from qpu_executor.cancellation import CancelledElsewhereError, only_own_cancellation
from qpu_executor.errors import ConfigError
from qpu_executor.qpus.farm_protocol import MAX_ANSWER_BYTES, PROTOCOL, Problem
from qpu_executor.qpus.farm_settings import FarmSettings, refuse_bad_url
from qpu_executor.qpus.farm_token import read_token

Shape = TypeVar("Shape", bound=BaseModel)


class FarmTrouble(Exception):
    """Base of what can go wrong between a manager and a farm."""


class NotConnected(FarmTrouble):
    """Nobody is there: the request can't have arrived."""


class NoAnswer(FarmTrouble):
    """The connection ended, or the time was over: it may have arrived."""


class Refused(FarmTrouble):
    """The farm said no. `status`: of HTTP; `problem`: in its words."""

    def __init__(self, status: int, problem: Problem) -> None:
        super().__init__(problem.message)
        self.status = status
        self.problem = problem


class BadAnswer(FarmTrouble):
    """What answers isn't a farm of this version, or is a broken one."""


class FarmClient:
    """Speaks to the farm that the settings name. Use: `start`, `get`/`post`, `close`."""

    def __init__(self, name: str, settings: FarmSettings) -> None:
        self._name = name
        self._settings = settings
        self._http: aiohttp.ClientSession | None = None
        self._connected_to = ""
        self._connecting = asyncio.Lock()
        self._started = False

    def start(self) -> None:
        """From now on it may be asked; it connects when it is."""
        self._started = True

    async def close(self) -> None:
        """Close all connections, and make none. May be called again."""
        self._started = False
        await self._disconnect()

    async def _disconnect(self) -> None:
        http, self._http, self._connected_to = self._http, None, ""
        if http is not None:
            await http.close()

    async def get(self, path: str, shape: type[Shape], *, hold_s: float = 0.0) -> Shape:
        """Ask; `hold_s`: how long the farm may hold the question. Raises FarmTrouble."""
        return await self._exchange("GET", path, shape, None, hold_s)

    async def post(self, path: str, shape: type[Shape], body: BaseModel | None = None) -> Shape:
        """Tell. Raises FarmTrouble."""
        return await self._exchange("POST", path, shape, body, 0.0)

    async def _exchange(
        self, method: str, path: str, shape: type[Shape], body: BaseModel | None, hold_s: float
    ) -> Shape:
        async with self._connecting:
            http = await self._connection()
        data = None if body is None else io.BytesIO(body.model_dump_json().encode())
        headers = {} if data is None else {"Content-Type": "application/json"}
        timeout = aiohttp.ClientTimeout(total=self._settings.answer_s + hold_s)
        try:
            with only_own_cancellation():
                async with http.request(
                    method, path, data=data, headers=headers, timeout=timeout, allow_redirects=False
                ) as response:
                    content = await _bounded(response)
        except aiohttp.ClientConnectorError as error:
            raise NotConnected(f"nobody answers at {self._connected_to}: {error}") from None
        except (aiohttp.ClientError, CancelledElsewhereError, OSError, RuntimeError) as error:
            # Connections that are closed under a request cancel what that waits for.
            said = str(error) or type(error).__name__
            raise NoAnswer(f"no answer from {self._connected_to}: {said}") from None
        return self._read(response.status, content, shape)

    def _read(self, status: int, content: bytes, shape: type[Shape]) -> Shape:
        """The answer in its shape, after what it says of itself was believed in nothing."""
        try:
            document = json.loads(content)
            spoken = document.get("protocol", PROTOCOL) if isinstance(document, dict) else PROTOCOL
            if spoken != PROTOCOL:
                raise BadAnswer(
                    f"the farm at {self._connected_to} speaks protocol {spoken}, this manager "
                    f"{PROTOCOL}: use the same version of qpu-executor on both sides"
                )
            if status >= 400:
                raise Refused(status, Problem.model_validate(document))
            return shape.model_validate(document)
        except (ValueError, ValidationError, RecursionError):
            shown = content[:60].decode("utf-8", "replace")
            raise BadAnswer(
                f"{self._connected_to} gives no answer of a farm (HTTP {status}): {shown!r}"
            ) from None

    async def _connection(self) -> aiohttp.ClientSession:
        """Connections to where the farm is now: one that was started again may have moved."""
        url = await asyncio.to_thread(self._where)
        parts = urlsplit(url)
        if parts.scheme == "unix":
            await asyncio.to_thread(_refuse_foreign_socket, parts.path)
        if self._http is not None and url == self._connected_to:
            return self._http
        await self._disconnect()
        headers = {}
        if self._settings.token_file is not None:
            where = f"qpus.{self._name}.token_file"
            try:
                token = await asyncio.to_thread(read_token, self._settings.token_file, where)
            except ConfigError as error:
                raise NotConnected(str(error)) from None
            headers["Authorization"] = f"Bearer {token}"
        if not self._started:
            raise NotConnected("the farm's adapter isn't open")
        unix = parts.scheme == "unix"
        self._http = aiohttp.ClientSession(
            "http://farm" if unix else url,
            connector=aiohttp.UnixConnector(parts.path) if unix else aiohttp.TCPConnector(),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
        )
        self._connected_to = url
        return self._http

    def _where(self) -> str:
        settings = self._settings
        if settings.url is not None:
            return settings.url
        assert settings.address_file is not None
        where = f"qpus.{self._name}.address_file"
        try:
            url = settings.address_file.read_text("utf-8").strip()
        except OSError as error:
            raise NotConnected(
                f"no farm has written its address to {settings.address_file}: {error.strerror}"
            ) from None
        try:
            refuse_bad_url(url, settings.token_file is not None, where)
        except ConfigError as error:
            raise NotConnected(str(error)) from None
        return url


def _refuse_foreign_socket(path: str) -> None:
    """A farm's socket is open to its owner alone; another user's there is no farm of ours."""
    try:
        owner = os.stat(path).st_uid
    except OSError as error:
        raise NotConnected(f"nobody answers at unix://{path}: {error.strerror}") from None
    if os.geteuid() not in (0, owner):
        raise NotConnected(f"the socket {path} belongs to another user (uid {owner})")


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for piece in response.content.iter_chunked(1 << 16):
        content += piece
        if len(content) > MAX_ANSWER_BYTES:
            raise BadAnswer(f"the answer is longer than {MAX_ANSWER_BYTES >> 20} MB")
    return bytes(content)
