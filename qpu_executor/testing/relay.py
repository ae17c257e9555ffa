"""A stretch of network between two processes of one host, which tests can break.

It listens on a TCP port of this host and hands every connection on to a server. Told to
swallow, it goes on taking bytes and hands nothing over, in one direction or both: neither
end hears that the other is out of reach, as behind a network that drops packets. What it
took is handed over when it forwards again, as a network does that sends lost packets once
more; whatever was closed meanwhile is heard of then. `cut` resets all connections.
"""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from enum import Enum, auto
from pathlib import Path

_PIECE_BYTES = 65536
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing sends RST, and drops what wasn't sent."""


class Way(Enum):
    """A direction."""

    TO_SERVER = auto()
    TO_CLIENT = auto()


BOTH = frozenset(Way)


class Relay:
    """Start with `start`, end with `close`. `server`: where connections go.

    That is the path of a Unix socket, or host and port.
    """

    def __init__(self, server: Path | tuple[str, int]) -> None:
        self._server = server
        self._listening: socket.socket | None = None
        self._changed = threading.Condition()
        self._swallowed: frozenset[Way] = frozenset()
        self._trap: tuple[bytes, frozenset[Way]] | None = None
        self._sprung = threading.Event()
        self._open: set[socket.socket] = set()
        self._closed = False

    @property
    def port(self) -> int:
        """The port of 127.0.0.1 that it listens on."""
        assert self._listening is not None
        found: int = self._listening.getsockname()[1]
        return found

    def start(self) -> None:
        """Begin to take connections."""
        self._listening = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def swallow(self, ways: frozenset[Way] = BOTH) -> None:
        """From now on hand nothing over in these directions, on old and new connections."""
        with self._changed:
            self._swallowed = ways

    def swallow_at(self, words: bytes, ways: frozenset[Way]) -> threading.Event:
        """The same, at the moment at which a client sends these words; the event says so.

        With TO_SERVER among the directions the server doesn't get to hear them.
        """
        with self._changed:
            self._sprung.clear()
            self._trap = words, ways
        return self._sprung

    def forward(self) -> None:
        """Hand everything over again, and what was held back first."""
        with self._changed:
            self._swallowed, self._trap = frozenset(), None
            self._changed.notify_all()

    def cut(self) -> None:
        """Reset all connections; what was held back is lost. New ones are taken."""
        with self._changed:
            found, self._open = self._open, set()
            self._changed.notify_all()
        for one in found:
            _reset(one)

    def close(self) -> None:
        """Reset everything and take no more."""
        self._closed = True
        if self._listening is not None:
            self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
        self.cut()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        """Both directions of a new connection; it reaches the server once that may hear it."""
        with self._changed:
            self._open.add(client)
            if not self._wait_for(Way.TO_SERVER, client):
                return
        try:
            server = self._to_server()
        except OSError:
            self._forget(client)
            _reset(client)
            return
        with self._changed:
            if client not in self._open:
                server.close()
                return
            self._open.add(server)
        for source, target, way in (
            (client, server, Way.TO_SERVER),
            (server, client, Way.TO_CLIENT),
        ):
            threading.Thread(target=self._pump, args=(source, target, way), daemon=True).start()

    def _to_server(self) -> socket.socket:
        if not isinstance(self._server, Path):
            return socket.create_connection(self._server)
        found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            found.connect(str(self._server))
        except OSError:
            found.close()
            raise
        return found

    def _pump(self, source: socket.socket, target: socket.socket, way: Way) -> None:
        while True:
            try:
                piece = source.recv(_PIECE_BYTES)
                broken = False
            except OSError:
                piece, broken = b"", True
            with self._changed:
                if way is Way.TO_SERVER and self._trap and self._trap[0] in piece:
                    (_, self._swallowed), self._trap = self._trap, None
                    self._sprung.set()
                if not self._wait_for(way, source):
                    return
            if not piece:
                self._end(source, target, broken)
                return
            try:
                target.sendall(piece)
            except OSError:
                self._end(target, source, broken=True)
                return

    def _wait_for(self, way: Way, source: socket.socket) -> bool:
        """Return when this direction is open; False if the connection was reset meanwhile."""
        self._changed.wait_for(
            lambda: way not in self._swallowed or source not in self._open or self._closed
        )
        return source in self._open and not self._closed

    def _end(self, ended: socket.socket, other: socket.socket, broken: bool) -> None:
        """Tell the other end that one has closed, or reset, its connection."""
        with self._changed:
            known = other in self._open
            self._open.discard(ended)
            self._open.discard(other)
            self._changed.notify_all()
        ended.close()
        if not known:
            return
        if broken:
            _reset(other)
            return
        with suppress(OSError):  # it was closed at both ends
            other.shutdown(socket.SHUT_RDWR)
        other.close()

    def _forget(self, one: socket.socket) -> None:
        with self._changed:
            self._open.discard(one)


def _reset(one: socket.socket) -> None:
    """Close so that the other end hears of a reset, and a thread that reads here wakes up."""
    with suppress(OSError):  # it has ended already
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        one.shutdown(socket.SHUT_RD)
    one.close()
