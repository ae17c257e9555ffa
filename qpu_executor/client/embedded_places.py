"""Where an embedded manager keeps its things: a directory, a log, and a private socket.

Without a directory of the caller's, it is a numbered one under the user's state
directory: the first that no other process uses, so that two scripts at a time
don't meet, and no directory per run is left behind.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from qpu_executor.errors import OperatorError
from qpu_executor.unix_sockets import MAX_SOCKET_PATH

MAX_PLACES = 1000


@dataclass(frozen=True)
class Place:
    """A place that is ours until `release`. `held_fds`: its lock, to be shared with the child."""

    directory: Path
    socket: Path
    held_fds: tuple[int, ...]

    @property
    def log(self) -> Path:
        """The file that takes the manager's output."""
        return self.directory / "manager.log"

    def release(self) -> None:
        """Give the place back and remove the socket's directory. To be called once."""
        shutil.rmtree(self.socket.parent, ignore_errors=True)
        for fd in self.held_fds:
            os.close(fd)


def find(directory: Path | None) -> Place:
    """A place in `directory` (None: the user's state directory), made if need be.

    Raises OperatorError if it can't be written.
    """
    try:
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            return Place(directory, _socket(), ())
        directory, lock = _free_place(state_directory())
        return Place(directory, _socket(), (lock,))
    except OSError as error:
        raise OperatorError(
            f"no place for an embedded manager: {error.strerror or error}",
            where=error.filename,
            next_step="pass directory=..., or set XDG_STATE_HOME to a directory you may write",
        ) from None


def state_directory() -> Path:
    """$XDG_STATE_HOME/qpu-executor, or ~/.local/state/qpu-executor."""
    home = os.environ.get("XDG_STATE_HOME", "")
    base = Path(home) if os.path.isabs(home) else Path.home() / ".local" / "state"
    return base / "qpu-executor"


def _free_place(base: Path) -> tuple[Path, int]:
    """The first numbered directory that nobody holds, and the lock that holds it now."""
    for number in range(1, MAX_PLACES):
        directory = base / f"embedded-{number}"
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(directory / "owner.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return directory, lock
    raise OSError(f"{MAX_PLACES - 1} embedded managers are running under {base}")


def _socket() -> Path:
    """A path for a socket in a new directory that only this user can enter."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    for parent in (runtime, "/tmp"):  # noqa: S108 (mkdtemp makes a private one in it)
        # 32 bytes: what mkdtemp and the file's own name add.
        if os.path.isabs(parent) and len(os.fsencode(parent)) + 32 <= MAX_SOCKET_PATH:
            try:
                return Path(tempfile.mkdtemp(prefix="qpu-", dir=parent)) / "manager.sock"
            except OSError:
                continue
    return Path(tempfile.mkdtemp(prefix="qpu-")) / "manager.sock"
