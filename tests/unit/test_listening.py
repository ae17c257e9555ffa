"""Sockets that a manager listens on, as the connections that they give turn out."""

from __future__ import annotations

import asyncio
import socket

from qpu_executor.manager.api.listening import Exposure, open_sockets


async def test_an_answer_s_body_does_not_wait_for_the_acknowledgement_of_its_head() -> None:
    (listening,), _ = open_sockets(["http://127.0.0.1:0"], Exposure())
    accepted: asyncio.Queue[int] = asyncio.Queue()

    async def look(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        accepted.put_nowait(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(look, sock=listening):
        _, client = await asyncio.open_connection(*listening.getsockname()[:2])
        assert await accepted.get() != 0
        client.close()
        await client.wait_closed()
