"""A lock on a file that one process at a time holds, and that dies with its holder."""

from __future__ import annotations

import fcntl
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

_held: set[int] = set()


def _drop_in_child() -> None:
    """A forked child must not keep its parent's lock alive (closing doesn't unlock it there)."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_drop_in_child)


class FileLock:
    """An exclusive `flock` on `path`; the file holds the holder's process id and stays."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self) -> str | None:
        """Take the lock without waiting. None, or (where it is taken) who holds it since when.

        Raises OSError where the file can't be opened or locked at all.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
            since = datetime.fromtimestamp(os.fstat(descriptor).st_mtime, UTC)
            os.close(descriptor)
            who = f"process {holder}" if holder.isdigit() else "another process"
            return f"{who} on {socket.gethostname()} since {since:%Y-%m-%d %H:%M:%S} UTC"
        except OSError:
            os.close(descriptor)
            raise
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor
        _held.add(descriptor)
        return None

    def release(self) -> None:
        """Let go. May be called twice."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            _held.discard(descriptor)
            os.close(descriptor)
