"""Unix sockets to listen on: the limit of their paths, and what a killed process leaves behind."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qpu_executor.errors import ConfigError

MAX_SOCKET_PATH = 107
"""Bytes of a unix socket's path: 108 in the kernel, with the zero at its end."""


def listen_on(
    path: Path, *, where: str, backlog: int, owner_only: bool = False, mode: int | None = None
) -> socket.socket:
    """A socket that listens there, non-blocking; a dead one of the same path is removed.

    `where`: the key that named the path, for errors. `owner_only`: nobody else can connect,
    from the start and not a moment later. `mode`: of the socket, whatever the umask is;
    connecting takes the right to write. Raises ConfigError.
    """
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise ConfigError(
            f"the socket path {path} is too long for the operating system",
            where=where,
            expected=f"at most {MAX_SOCKET_PATH} bytes",
        )
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_dead(path, where)
        with _mask(0o177 if owner_only else None):
            found.bind(str(path))
        if mode is not None:
            path.chmod(mode)
        found.listen(backlog)
    except OSError as error:
        found.close()
        raise ConfigError(
            f"can't listen on {path}: {error.strerror or error}", where=where
        ) from error
    except ConfigError:
        found.close()
        raise
    found.setblocking(False)
    return found


def _remove_dead(path: Path, where: str) -> None:
    """Remove the socket of a process that was killed. Raises ConfigError if one answers there."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigError(f"{path} exists and is no socket", where=where, next_step="remove it")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise ConfigError(f"another process listens on {path}", where=where, next_step="stop it first")


@contextmanager
def _mask(mask: int | None) -> Iterator[None]:
    if mask is None:
        yield
        return
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
