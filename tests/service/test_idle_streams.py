"""Thousands of event streams on which nothing happens, and one caller who works."""

from __future__ import annotations

import resource
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psutil
import pytest

from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.testing.sequences import small_sequence
from qpu_executor.wire.tokens import TokenRequest

SITE = """
manager:
  listen: {listen}
  store: store.sqlite
  authentication: [peer, token]
  limits: {{max_connections: 15000, connections_per_caller: 15000, max_event_streams: 12000}}
default_class: development
job_classes:
  development: {{priority: 100, chunk_s: 10}}
qpus:
  emulator: {{kind: pulser-emulator, device: AnalogDevice, workers: 1}}
"""

WANTED = 10_000
USERS = 20
AT_ONCE = 500
"""Fewer than wait to be taken anywhere."""
SPARE = 1000
"""Open files of this process that are no streams."""
MOST_BYTES = 100_000
"""Memory of the manager for one idle stream: 10,000 of them take less than a gigabyte."""


def stream(manager: Any, token: str) -> socket.socket:
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    found.settimeout(60)
    found.connect(manager.url.removeprefix("unix://"))
    found.sendall(
        b"GET /v1/events HTTP/1.1\r\nhost: manager\r\n"
        b"authorization: Bearer " + token.encode() + b"\r\n\r\n"
    )
    return found


def read_hello(one: socket.socket) -> None:
    said = b""
    while b'"hello"' not in said:
        piece = one.recv(65_536)
        assert piece, said
        said += piece


def readable(one: socket.socket) -> bool:
    poll = select.poll()
    poll.register(one, select.POLLIN)
    return bool(poll.poll(0))


@pytest.fixture
def streams() -> Iterator[int]:
    """How many streams the machine allows."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = min(before[1], WANTED + SPARE)
    if soft < 2 * SPARE:
        pytest.skip(f"only {soft} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    yield min(WANTED, soft - SPARE)
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.slow
def test_ten_thousand_idle_streams_harm_nobody(
    make_manager: Callable[..., Any], streams: int
) -> None:
    manager = make_manager(site=SITE)
    manager.start()
    process = psutil.Process(manager.pid)
    program = to_program(small_sequence())
    with ExitStack() as stack:
        client = stack.enter_context(manager.connect())
        assert client.submit(program, 5).result(timeout=120).shots == 5
        tokens = [client.issue_token(TokenRequest(user=f"user{i}")).token for i in range(USERS)]
        before = process.memory_info().rss
        opened: list[socket.socket] = []
        for start in range(0, streams, AT_ONCE):
            some = [
                stack.enter_context(stream(manager, tokens[i % USERS]))
                for i in range(start, min(streams, start + AT_ONCE))
            ]
            for one in some:
                read_hello(one)
            opened += some
        each = (process.memory_info().rss - before) / streams
        assert client.submit(program, 6).result(timeout=120).shots == 6
        print(f"{streams} streams, {each / 1000:.1f} kB each")  # noqa: T201
        assert each < MOST_BYTES
        for one in opened:
            said = one.recv(65_536, socket.MSG_DONTWAIT) if readable(one) else b": "
            assert said, "it is open"
            assert b"data:" not in said, "and nothing of others is told"
    assert "Traceback" not in manager.log
