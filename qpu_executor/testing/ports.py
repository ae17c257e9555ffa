"""Ports for servers that are killed and come back, and for those that can't take port 0."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 10_000


def free_port() -> int:
    """A TCP port of loopback where nobody listens, below those that the kernel gives away.

    Of those it might give one to somebody else before the server binds it, or while the
    server is away; and whoever connects to one meanwhile may be connected to themselves.
    """
    highest = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32_768
    span = highest - _LOWEST if highest > 2 * _LOWEST else 20_000
    while True:
        port = _LOWEST + secrets.randbelow(span)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
