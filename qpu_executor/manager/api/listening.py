"""Sockets, and the server that takes connections on them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI

from qpu_executor.errors import ConfigError, QpuExecutorError
from qpu_executor.manager.api.connections import CallerProtocol
from qpu_executor.unix_sockets import listen_on

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
BACKLOG = 4096
"""Connections that wait to be taken; the system may allow fewer."""


class Server(uvicorn.Server):
    """uvicorn without its signal handlers (stopping is decided in one place).

    `listening` is set once connections are taken.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to take connections."""
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signal handlers alone."""
        yield


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files: certificate with its chain, and its key."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Exposure:
    """What the manager may listen on. `across_hosts`: callers on other hosts can prove who
    they are. `tls`: for `https://`. `plain_tcp`: other hosts without encryption.
    `socket_mode`: of the files of unix sockets.
    """

    across_hosts: bool = False
    tls: Tls | None = None
    plain_tcp: bool = False
    socket_mode: int = 0o600


def make_server(app: FastAPI, tls: Tls | None = None) -> Server:
    """A server for an application; `serve(sockets=...)` runs it, `should_exit` ends it.

    With `tls` all of its connections are encrypted.
    """
    config = uvicorn.Config(
        app,
        http=partial(CallerProtocol, load=app.state.load),  # type: ignore[arg-type]
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=120,
        backlog=BACKLOG,
        timeout_graceful_shutdown=3,
        ssl_certfile=None if tls is None else str(tls.certificate),
        ssl_keyfile=None if tls is None else str(tls.key),
    )
    return Server(config)


def make_servers(
    app: FastAPI, listening: Iterable[tuple[socket.socket, str]], tls: Tls | None
) -> list[tuple[Server, list[socket.socket]]]:
    """Servers and the sockets of each: one for those in the clear, one for `https://`."""
    clear: list[socket.socket] = []
    encrypted: list[socket.socket] = []
    for one, url in listening:
        (encrypted if url.startswith("https:") else clear).append(one)
    servers = [(make_server(app), clear)] if clear else []
    return [*servers, (make_server(app, tls), encrypted)] if encrypted else servers


def remover_of(one: socket.socket, *, private: bool) -> Callable[[], None]:
    """A function that closes a listening socket and removes its file.

    With `private` also the file's directory, if it is empty: it was made for this
    socket. To be asked for while the socket is open: a closed one has no name.
    """
    path = one.getsockname() if one.family == socket.AF_UNIX else ""

    def remove() -> None:
        one.close()
        if not path:
            return
        with contextlib.suppress(OSError):
            os.unlink(path)
            if private:
                os.rmdir(os.path.dirname(path))

    return remove


def open_sockets(
    addresses: Sequence[str], exposure: Exposure
) -> tuple[list[socket.socket], list[str]]:
    """Listening sockets for addresses of a site file, and the URLs that reach them.

    Raises ConfigError for an address that can't be used; opens all or none.
    """
    opened: list[socket.socket] = []
    urls: list[str] = []
    try:
        for address in addresses:
            found, url = _open(address, exposure)
            opened.append(found)
            urls.append(url)
    except QpuExecutorError:
        for one in opened:
            one.close()
        raise
    return opened, urls


def _open(address: str, exposure: Exposure) -> tuple[socket.socket, str]:
    try:
        parts = urlsplit(address)
        port = 8080 if parts.port is None else parts.port
    except ValueError as error:
        raise ConfigError(f"{address!r}: {error}", where="manager.listen") from None
    if parts.scheme == "unix" and parts.path.startswith("/") and not parts.netloc:
        path, mode = Path(parts.path), exposure.socket_mode
        return listen_on(path, where="manager.listen", backlog=BACKLOG, mode=mode), address
    if parts.scheme in ("http", "https") and parts.hostname:
        _refuse_exposed(address, parts.scheme, parts.hostname, exposure)
        return _open_tcp(address, parts.scheme, parts.hostname, port)
    raise ConfigError(
        f"{address!r} is no address to listen on",
        where="manager.listen",
        expected="unix:///run/qpu-executor/manager.sock or http://127.0.0.1:8080",
    )


def _refuse_exposed(address: str, scheme: str, host: str, exposure: Exposure) -> None:
    """Raises ConfigError for an address that would let in who doesn't belong."""
    if scheme == "https" and exposure.tls is None:
        raise ConfigError(
            f"{address}: there is no certificate",
            where="manager.tls",
            expected="tls: {certificate: server.pem, key: server.key}",
        )
    if host in LOOPBACK:
        return
    if not exposure.across_hosts:
        raise ConfigError(
            f"{address}: callers on other hosts can't prove who they are",
            where="manager.listen",
            expected="127.0.0.1, ::1 or localhost; or `authentication: [peer, munge]`, "
            "`[peer, token]`",
        )
    if scheme == "http" and not exposure.plain_tcp:
        raise ConfigError(
            f"{address}: programs, results and tokens would cross the network in the clear",
            where="manager.listen",
            expected="an https:// address with `tls`, or, on a network that you trust, "
            "`plain_tcp: true`",
        )


def _open_tcp(address: str, scheme: str, host: str, port: int) -> tuple[socket.socket, str]:
    host = "127.0.0.1" if host == "localhost" else host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sets TCP_NODELAY on what is accepted here. Without it a
    # body waits for the acknowledgement of its head: 40 ms for clients that delay those.
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(BACKLOG)
    except OSError as error:
        found.close()
        raise ConfigError(
            f"can't listen on {address}: {error.strerror or error}",
            where="manager.listen",
            next_step="choose another port, or stop what listens there",
        ) from error
    found.setblocking(False)
    shown = f"[{host}]" if ":" in host else host
    return found, f"{scheme}://{shown}:{found.getsockname()[1]}"
