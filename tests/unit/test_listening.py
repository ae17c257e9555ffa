"""Sockets that a manager listens on."""

from __future__ import annotations

import asyncio
import socket

from qpu_executor.manager.api.listening import Exposure, open_sockets


async def test_answers_over_tcp_are_sent_without_delay() -> None:
    (listening,), (url,) = open_sockets(["http://127.0.0.1:0"], Exposure())
    delays = asyncio.get_running_loop().create_future()

    class Look(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            own = transport.get_extra_info("socket")
            delays.set_result(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            transport.close()

    server = await asyncio.get_running_loop().create_server(Look, sock=listening)
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))):
        assert await delays
    server.close()
