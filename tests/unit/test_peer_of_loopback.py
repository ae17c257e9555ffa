"""Who is at the other end of a loopback connection: its holder, and nobody once it has none."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from qpu_executor.errors import NotAuthenticated
from qpu_executor.manager.auth import peer
from qpu_executor.manager.auth.peer import caller_of_socket

HOSTS = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]


@pytest.fixture(params=HOSTS, ids=["ipv4", "ipv6"])
def listening(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family, host = request.param
    with socket.socket(family, socket.SOCK_STREAM) as found:
        found.bind((host, 0))
        found.listen()
        yield found


def connected(listening: socket.socket) -> socket.socket:
    client = socket.socket(listening.family, socket.SOCK_STREAM)
    client.connect(listening.getsockname()[:2])
    client.sendall(b"POST /v1/tasks HTTP/1.1\r\n")
    return client


def test_the_holder_of_the_other_end_is_the_caller(listening: socket.socket) -> None:
    with connected(listening), listening.accept()[0] as accepted:
        assert caller_of_socket(accepted).uid == os.getuid()


def test_one_who_says_no_more_is_still_the_caller(listening: socket.socket) -> None:
    with connected(listening) as client, listening.accept()[0] as accepted:
        client.shutdown(socket.SHUT_WR)
        assert caller_of_socket(accepted).uid == os.getuid()


def test_who_has_closed_before_being_taken_is_nobody_and_not_root(
    listening: socket.socket,
) -> None:
    connected(listening).close()
    with listening.accept()[0] as accepted, pytest.raises(NotAuthenticated):
        caller_of_socket(accepted)


def test_root_that_is_gone_at_the_second_look_is_nobody(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([(0, 4711), None])
    monkeypatch.setattr(peer, "_listed", lambda *_: next(looks))
    with connected(listening), listening.accept()[0] as accepted, pytest.raises(NotAuthenticated):
        caller_of_socket(accepted)
