"""HTTP over TCP or a unix socket, with kept connections: the only file that knows aiohttp.

Failures of the connection leave as `NoAnswer`, everything that was answered as
a `Reply`, whatever its status; a client that was closed is its user's mistake.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from qpu_executor.client.address import Address
from qpu_executor.client.credentials import Credentials
from qpu_executor.client.problems import Reply
from qpu_executor.client.protocol import ApiRequest
from qpu_executor.client.retry import NoAnswer
from qpu_executor.errors import CallerError

CONNECT_S = 10.0
ANSWER_S = 120.0
"""Longest silence before an answer: a manager may have to check 1000 new programs."""
SILENCE_S = 45.0
"""Longest silence on an event stream: three heartbeats."""
CONNECTIONS = 16


class Transport:
    """Sends requests to one address. Use: `start`, `send`/`stream`, `close`."""

    def __init__(self, address: Address, credentials: Credentials | None = None) -> None:
        self.address = address
        self._credentials = credentials or Credentials()
        self._http: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Make the connection pool (nothing is connected yet)."""
        connector: aiohttp.BaseConnector
        if self.address.socket_path is not None:
            connector = aiohttp.UnixConnector(self.address.socket_path, limit=CONNECTIONS)
        else:
            # Its own context: aiohttp's was made when it was imported, before SSL_CERT_FILE
            # may have been set.
            encrypted = self.address.url.startswith("https:")
            connector = aiohttp.TCPConnector(
                limit=CONNECTIONS, ssl=ssl.create_default_context() if encrypted else True
            )
        self._http = aiohttp.ClientSession(
            connector=connector, auto_decompress=True, cookie_jar=aiohttp.DummyCookieJar()
        )

    async def close(self) -> None:
        """Close all connections. May be called again."""
        http, self._http = self._http, None
        if http is not None:
            await http.close()

    async def send(self, request: ApiRequest) -> Reply:
        """One request, one reply. Raises NoAnswer, and CallerError once it is closed."""
        reply = await self._send_once(request)
        return await self._send_once(request) if self._asked_again(reply) else reply

    @asynccontextmanager
    async def stream(self, request: ApiRequest) -> AsyncIterator[tuple[Reply, Pieces]]:
        """A reply whose body comes in pieces (the Reply's own body is empty unless an error).

        Raises NoAnswer, also while the pieces are read, and CallerError once it is closed.
        """
        async with self._open(request, SILENCE_S) as response:
            body = b"" if response.status == 200 else await response.read()
            yield Reply(response.status, _headers(response), body), Pieces(response)

    async def _send_once(self, request: ApiRequest) -> Reply:
        async with self._open(request, ANSWER_S) as response:
            return Reply(response.status, _headers(response), await response.read())

    def _asked_again(self, reply: Reply) -> bool:
        """True if the manager wants to know who is asking, and there is an answer to that."""
        if reply.status != 401:
            return False
        return self._credentials.challenged(reply.headers.get("www-authenticate", ""))

    @asynccontextmanager
    async def _open(
        self, request: ApiRequest, silence_s: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {**request.headers, **await self._credentials.headers()}
        if self._http is None:
            # No NoAnswer: it would be tried again for minutes.
            raise CallerError("this client is closed or not started", next_step="connect() again")
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=silence_s)
        try:
            async with self._http.request(
                request.method,
                self.address.base + request.path,
                data=request.body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                yield response
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NoAnswer(_reason(error), sent=False) from None
        except (aiohttp.ClientError, OSError) as error:
            raise NoAnswer(_reason(error), sent=True) from None


class Pieces:
    """The body of a streamed reply, piece by piece as it arrives."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._response.content.iter_any()


def _headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        why = getattr(error.certificate_error, "verify_message", "") or error.certificate_error
        return f"its certificate can't be verified: {why}; SSL_CERT_FILE names who is trusted"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return f"no encrypted connection: {error.os_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        return os.strerror(number).lower() if number else str(error.os_error)
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the connection was closed"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
