"""The uid at the other end of a local connection, as the kernel tells it.

A unix socket says it itself (SO_PEERCRED). For TCP on loopback the kernel
lists every socket of this host with its uid in /proc/net/tcp and tcp6
(proc(5)): the row whose local address is the client's is the client's socket.
Nothing else may connect without credentials of another kind.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qpu_executor.errors import ConfigError, NotAuthenticated, QpuExecutorError
from qpu_executor.manager.auth.base import Place, Presented
from qpu_executor.manager.auth.caller import Caller, caller_of_uid

_UCRED = struct.Struct("3i")


def caller_of_socket(connection: socket.socket) -> Caller:
    """Who is at the other end. Raises NotAuthenticated if that can't be known."""
    if connection.family == socket.AF_UNIX:
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        _, uid, _ = _UCRED.unpack(raw)
        return caller_of_uid(uid, "unix socket")
    peer_host, peer_port = connection.getpeername()[:2]
    own_host, own_port = connection.getsockname()[:2]
    if not ipaddress.ip_address(peer_host.split("%")[0]).is_loopback:
        raise NotAuthenticated(
            f"a connection from {peer_host} carries no proof of who is asking",
            expected="a connection from this host over loopback or the unix socket",
        )
    uid = _uid_of_tcp((peer_host, peer_port), (own_host, own_port))
    if uid is None:
        raise NotAuthenticated(
            "the kernel doesn't list the caller's socket, so its owner is not known",
            next_step="connect through the manager's unix socket",
        )
    return caller_of_uid(uid, "loopback socket")


def _uid_of_tcp(local: tuple[str, int], remote: tuple[str, int]) -> int | None:
    """Uid of the socket of this host that connects `local` to `remote`; None: nobody's.

    A socket that its process has closed, or left behind when it died, is listed until the
    connection has ended, with uid 0 and inode 0: that is nobody's, and certainly not root's.
    The two are read one after the other: so root is believed only if it is there twice.
    """
    found = _listed(local, remote)
    if found is None or (found[0] == 0 and _listed(local, remote) != found):
        return None
    return found[0]


def _listed(local: tuple[str, int], remote: tuple[str, int]) -> tuple[int, int] | None:
    """Uid and inode of a socket that a process holds."""
    for table, family in (("/proc/net/tcp", socket.AF_INET), ("/proc/net/tcp6", socket.AF_INET6)):
        wanted = _as_listed(*local, family), _as_listed(*remote, family)
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if (fields[1], fields[2]) == wanted:
                uid, inode = int(fields[7]), int(fields[9])
                return (uid, inode) if inode else None
    return None


def _as_listed(host: str, port: int, family: socket.AddressFamily) -> str:
    """Address as /proc/net/tcp writes it: hexadecimal 32-bit words in host byte order."""
    address = ipaddress.ip_address(host.split("%")[0])
    if family == socket.AF_INET6 and address.version == 4:
        address = ipaddress.ip_address(f"::ffff:{address}")
    packed = address.packed
    words = [packed[i : i + 4] for i in range(0, len(packed), 4)]
    return "".join(f"{struct.unpack('=I', word)[0]:08X}" for word in words) + f":{port:04X}"


class PeerAuthenticator:
    """Callers of this host, by the kernel's word about their connection."""

    scheme = None
    expects = "a connection from this host, over the unix socket or loopback"
    across_hosts = False

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def caller_of(self, presented: Presented) -> Caller | None:
        """See `Authenticator`."""
        if isinstance(presented.peer, QpuExecutorError):
            raise presented.peer
        return presented.peer


def build(settings: Mapping[str, Any], place: Place) -> PeerAuthenticator:
    """The authenticator of kind `peer`. Raises ConfigError."""
    if settings:
        raise ConfigError(
            f"there is no setting {sorted(settings)[0]!r}",
            where="manager.authentication",
            expected="no settings",
        )
    return PeerAuthenticator()
