"""A farm from start to end: its emulators open, its address is told, until it is stopped."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from qpu_executor.errors import ConfigError
from qpu_executor.farm.config import FarmConfig
from qpu_executor.farm.desk import Desk
from qpu_executor.farm.engines import make_engine, trouble_of
from qpu_executor.farm.server import make_app
from qpu_executor.qpus.farm_token import make_token
from qpu_executor.qpus.pulser_emulator import PulserEmulator
from qpu_executor.unix_sockets import listen_on


@asynccontextmanager
async def running_farm(config: FarmConfig) -> AsyncIterator[str]:
    """Everything open; yields the URL that managers use. Raises ConfigError or OperatorError."""
    async with AsyncExitStack() as stack:
        token = None
        if config.token_file is not None:
            token = await asyncio.to_thread(make_token, config.token_file, "token_file")
        listening, url = _open_socket(config.listen)
        stack.callback(listening.close)
        if listening.family == socket.AF_UNIX:
            stack.callback(_remove, Path(listening.getsockname()))
        engine = make_engine(config)
        emulator = PulserEmulator("farm", config.settings(), engine)
        stack.push_async_callback(emulator.close)
        await emulator.open()
        desk = Desk(emulator, lambda: trouble_of(engine))
        runner = web.AppRunner(make_app(desk, token), access_log=None, shutdown_timeout=2.0)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        # Before the connections: those who wait for a chunk are told that it was stopped.
        stack.push_async_callback(emulator.close)
        await web.SockSite(runner, listening).start()
        if config.address_file is not None:
            await asyncio.to_thread(_tell_address, config.address_file, url)
            stack.callback(_remove, config.address_file)
        yield url


def _open_socket(listen: str) -> tuple[socket.socket, str]:
    parts = urlsplit(listen)
    if parts.scheme == "unix":
        path = Path(parts.path)
        return listen_on(path, where="listen", backlog=128, owner_only=True), listen
    assert parts.hostname is not None
    family = socket.AF_INET6 if ":" in parts.hostname else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((parts.hostname, parts.port or 0))
        found.listen(128)
    except OSError as error:
        found.close()
        raise ConfigError(f"can't listen on {listen}: {error.strerror}", where="listen") from None
    found.setblocking(False)
    # Managers elsewhere can't connect to "any address".
    anywhere = parts.hostname in ("0.0.0.0", "::")  # noqa: S104
    host = socket.getfqdn() if anywhere else parts.hostname
    shown = f"[{host}]" if ":" in host else host
    return found, f"http://{shown}:{found.getsockname()[1]}"


def _tell_address(path: Path, url: str) -> None:
    """For managers that look there; whole or not at all."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        new.write_text(url + "\n", "utf-8")
        os.replace(new, path)
    except OSError as error:
        raise ConfigError(
            f"{path}: the address can't be written: {error.strerror}", where="address_file"
        ) from None


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
