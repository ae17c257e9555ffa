"""Requests to the controller, and what each kind of failure proves.

A request that never left was never done. One whose answer is missing, broken or from a
gateway may have been done. An error of the controller itself ends the request, done or
not. Whoever sends a job has to tell these apart, or shots are taken twice.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import deque
from dataclasses import dataclass
from typing import Any

import aiohttp

from qpu_executor.cancellation import CancelledElsewhereError, only_own_cancellation
from qpu_executor.errors import ConfigError, OperatorError
from qpu_executor.qpus.pasqal_controller.messages import said, shortened
from qpu_executor.qpus.pasqal_controller.settings import ControllerSettings
from qpu_executor.qpus.secret_files import read_secret

_LARGEST_ANSWER = 64 << 20
_KEPT_OPEN_S = 2.0
"""Idle connections are closed before a server does so (uvicorn: 5 s), since a request on a
connection that closes at that moment is one whose fate nobody knows."""
_TIMED = 15
_GATEWAY = (502, 504)
_DENIALS = (400, 404, 410)


class NotSentError(Exception):
    """The request never left: nobody listens there."""


class NoAnswerError(Exception):
    """No answer, or none that the controller gave: it may have done what was asked."""


class NotAllowedError(Exception):
    """The controller doesn't let us in."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`body`: JSON, parsed. An answer is the controller's own word."""

    status: int
    body: Any

    @property
    def ok(self) -> bool:
        """It did what was asked."""
        return 200 <= self.status < 300

    @property
    def denies(self) -> bool:
        """There is no such thing. A page of some server on the way is no denial."""
        return self.status in _DENIALS and isinstance(self.body, dict)

    @property
    def failed(self) -> bool:
        """An error of its own, or too much to do: trying again may help."""
        return self.status >= 500 or self.status == 429

    def __str__(self) -> str:
        words = said(self.body)
        return f"HTTP {self.status}{f': {words}' if words else ''}"


class Connection:
    """One session with a controller, opened in `open`. `requests`: sent since then."""

    def __init__(self, settings: ControllerSettings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None
        self._token: str | None = None
        self.requests = 0
        self._round_trips_s: deque[float] = deque(maxlen=_TIMED)

    @property
    def round_trip_s(self) -> float:
        """The shortest of the last round trips (seconds); 0 before the first."""
        return min(self._round_trips_s, default=0.0)

    async def open(self) -> None:
        """Make the session; nothing is sent. Raises OperatorError (a file can't be read)."""
        trusted = await asyncio.to_thread(self._trusted)
        self._token = await asyncio.to_thread(self._read_token)
        connector = aiohttp.TCPConnector(ssl=trusted, keepalive_timeout=_KEPT_OPEN_S)
        self._session = aiohttp.ClientSession(
            connector=connector, headers=self._settings.headers, auto_decompress=True
        )

    async def close(self) -> None:
        """End the session. May be called twice."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def get(self, path: str) -> Answer:
        """Raises NotSentError, NoAnswerError or NotAllowedError."""
        began_s = asyncio.get_running_loop().time()
        answer = await self._asked("GET", path, None, self._settings.answer_s)
        self._round_trips_s.append(asyncio.get_running_loop().time() - began_s)
        return answer

    async def put(self, path: str) -> Answer:
        """Raises as `get` does."""
        return await self._asked("PUT", path, None, self._settings.answer_s)

    async def post(self, path: str, body: dict[str, Any]) -> Answer:
        """Raises as `get` does. Sent once, unless the controller didn't let it in."""
        return await self._asked("POST", path, body, self._settings.accept_s)

    async def _asked(
        self, method: str, path: str, body: dict[str, Any] | None, timeout_s: float
    ) -> Answer:
        answer = await self._once(method, path, body, timeout_s)
        if answer.status == 401 and self._settings.token_file is not None:
            # A token that ran out; whoever renews it writes the file.
            self._token = await asyncio.to_thread(self._read_token)
            answer = await self._once(method, path, body, timeout_s)
        if answer.status in (401, 403):
            raise NotAllowedError(f"the controller refuses us ({answer})")
        return answer

    async def _once(
        self, method: str, path: str, body: dict[str, Any] | None, timeout_s: float
    ) -> Answer:
        if self._session is None or self._session.closed:
            raise NotSentError("the connection is closed")
        self.requests += 1
        headers = {} if self._token is None else {"Authorization": f"Bearer {self._token}"}
        try:
            with only_own_cancellation():
                async with self._session.request(
                    method,
                    self._settings.base_url + path,
                    json=body,
                    headers=headers,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=timeout_s),
                ) as response:
                    return await _read(response)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NotSentError(f"{self._settings.url} can't be reached: {_reason(error)}") from None
        except aiohttp.InvalidURL as error:
            raise NotSentError(f"{error} is no address") from None
        except TimeoutError:
            raise NoAnswerError(
                f"{self._settings.url} didn't answer within {timeout_s:g} s"
            ) from None
        except (aiohttp.ClientError, CancelledElsewhereError, OSError, ValueError) as error:
            # A session that is closed under a request cancels what that waits for.
            raise NoAnswerError(
                f"the connection to {self._settings.url} broke: {_reason(error)}"
            ) from None

    def _trusted(self) -> ssl.SSLContext | bool:
        if self._settings.ca_file is None:
            return True
        try:
            return ssl.create_default_context(cafile=self._settings.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise self._unreadable("ca_file", self._settings.ca_file, error) from None

    def _read_token(self) -> str | None:
        path = self._settings.token_file
        if path is None:
            return None
        try:
            token = read_secret(str(path), f"token_file {path}")
        except ConfigError as error:
            raise OperatorError(
                error.message, where=error.where, expected=error.expected, next_step=error.next_step
            ) from None
        if not token.isprintable() or not token.isascii() or " " in token:
            raise self._unreadable("token_file", path, ValueError("it holds no token"))
        return token

    @staticmethod
    def _unreadable(key: str, path: object, error: Exception) -> OperatorError:
        reason = getattr(error, "strerror", None) or str(error)
        return OperatorError(f"{key}: {reason}", where=str(path))


async def _read(response: aiohttp.ClientResponse) -> Answer:
    """The whole answer. Raises NoAnswerError for what the controller can't have meant."""
    if response.status in _GATEWAY:
        raise NoAnswerError(f"a gateway answered for it (HTTP {response.status})")
    raw = bytearray()
    async for part in response.content.iter_chunked(1 << 16):
        raw += part
        if len(raw) > _LARGEST_ANSWER:
            raise NoAnswerError(f"its answer is longer than {_LARGEST_ANSWER >> 20} MB")
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        if response.status >= 400:
            return Answer(response.status, None)
        text = shortened(bytes(raw[:400]).decode("utf-8", "replace"), 80)
        raise NoAnswerError(f"it answered with no JSON: {text!r}") from None
    return Answer(response.status, body)


def _reason(error: Exception) -> str:
    return str(getattr(error, "os_error", None) or error) or type(error).__name__
