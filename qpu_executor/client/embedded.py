"""The embedded manager: a child process that this process owns, and shares.

`acquire` starts it, or hands out the one that runs already for the directory;
`release` ends it when its last user has let go, and so does the end of this
process: the child watches a pipe and its owner's pid. Its output goes into
`manager.log` in its directory, never to the user's terminal.

Between owner and child: the child writes one JSON line to `--ready-fd`,
{"url": ..., "pid": ...} or {"error": problem}; `--owner-fd` is the read end of a
pipe that the owner holds open; SIGTERM ends the child in good order.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from qpu_executor.client import embedded_places
from qpu_executor.client.problems import error_from
from qpu_executor.errors import ManagerUnreachable, OperatorError, QpuExecutorError

START_S = 120.0
STOP_S = 10.0
LOG_LINES = 20
NEEDED = (
    *("alembic", "fastapi", "fastapi_offline", "sqlalchemy", "uvicorn"),
    *("pulser_simulation", "pebble"),
)

_lock = threading.RLock()
_running: dict[Path | None, EmbeddedManager] = {}
_owner_pid = os.getpid()


class EmbeddedManager:
    """One child process. `key`: the directory it was asked for with (None: the user's own);
    `site`: its site file (None: one emulated QPU)."""

    def __init__(
        self, key: Path | None, place: embedded_places.Place, site: Path | None = None
    ) -> None:
        self.key = key
        self._site = site
        self.users = 0
        self.url = ""
        self._place = place
        self._process: subprocess.Popen[bytes] | None = None
        self._owner_end: int | None = None
        self._log_start = 0

    def start(self) -> None:
        """Start the child and wait until it listens. Raises the reason if it doesn't."""
        ready, ready_child = os.pipe()
        owner_child, self._owner_end = os.pipe()
        try:
            with self._place.log.open("ab") as log:
                self._log_start = log.tell()
                self._process = subprocess.Popen(  # noqa: S603 (our own program)
                    self._command(ready_child, owner_child),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(ready_child, owner_child, *self._place.held_fds),
                    # Ctrl-C is for the owner, which may still have tasks to cancel.
                    start_new_session=True,
                )
            os.close(ready_child)
            ready_child = -1
            answer = _read_line(ready, START_S)
            self.url = self._url_in(answer)
        except BaseException:
            self.stop()
            raise
        finally:
            for fd in (ready, ready_child, owner_child):
                if fd >= 0:
                    os.close(fd)

    def stop(self) -> None:
        """End the child in good order, or else by force. Idempotent."""
        if self._owner_end is None:
            return
        os.close(self._owner_end)
        self._owner_end = None
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._place.release()

    def ended(self) -> QpuExecutorError | None:
        """The error to give if the child has ended; None while it runs."""
        if self._process is None or (code := self._process.poll()) is None:
            return None
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        return ManagerUnreachable(
            f"the embedded manager has ended {how}{self._log_tail()}",
            where=str(self._place.directory),
            next_step="connect() again: its tasks are kept in that directory",
        )

    def _command(self, ready_fd: int, owner_fd: int) -> list[str]:
        options: dict[str, object] = {
            "--directory": self._place.directory,
            "--socket": self._place.socket,
            "--ready-fd": ready_fd,
            "--owner-fd": owner_fd,
            "--owner-pid": os.getpid(),
        }
        if self._site is not None:
            options["--site"] = self._site
        words = [str(word) for option in options.items() for word in option]
        return [sys.executable, "-m", "qpu_executor.cli.main", "serve", "--embedded", *words]

    def _url_in(self, answer: bytes | None) -> str:
        """The URL in the child's line. Raises the child's error, or what its log says."""
        where = str(self._place.directory)
        if answer is None:
            raise ManagerUnreachable(
                f"the embedded manager wasn't ready after {START_S:.0f} s{self._log_tail()}",
                where=where,
            )
        try:
            fields: Any = json.loads(answer)
        except ValueError:
            fields = None
        if isinstance(fields, dict) and isinstance(fields.get("url"), str):
            return str(fields["url"])
        if isinstance(fields, dict) and isinstance(fields.get("error"), dict):
            raise error_from(fields["error"])
        raise OperatorError(
            f"the embedded manager didn't start{self._log_tail()}",
            where=where,
            next_step=f"see {self._place.log}",
        )

    def _log_tail(self) -> str:
        try:
            with self._place.log.open("rb") as log:
                log.seek(self._log_start)
                lines = log.read().decode("utf-8", "replace").splitlines()[-LOG_LINES:]
        except OSError:
            return ""
        return f"; the end of {self._place.log}:\n" + "\n".join(lines) if lines else ""


def acquire(directory: Path | None, site: Path | None = None) -> EmbeddedManager:
    """The embedded manager of a directory (None: one of the user's own), started if need be.

    `site`: the site file that it is started with (None: one emulated QPU).

    Raises OperatorError if it can't be started, StoreError if the directory is in use.
    """
    key = None if directory is None else Path(directory).absolute()
    with _lock:
        _forget_after_fork()
        manager = _running.get(key)
        if manager is not None and manager.ended() is not None:
            del _running[key]
            manager.stop()
            manager = None
        if manager is None:
            check_installed()
            manager = EmbeddedManager(key, embedded_places.find(key), site)
            manager.start()
            _running[key] = manager
        manager.users += 1
        return manager


def release(manager: EmbeddedManager) -> None:
    """One user less; the last one ends the manager."""
    with _lock:
        _forget_after_fork()
        manager.users -= 1
        if manager.users <= 0 and _running.get(manager.key) is manager:
            del _running[manager.key]
            manager.stop()


def check_installed() -> None:
    """Raises OperatorError if what the manager needs isn't installed."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise OperatorError(
            f"an embedded manager needs {', '.join(missing)}",
            next_step="pip install 'qpu-executor[server,emulator]', or set QPU_MANAGER to a "
            "manager's URL",
        )


def _free_in_child() -> None:
    """Of the threads that a fork leaves behind one may have had the lock."""
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_free_in_child)


def _forget_after_fork() -> None:
    """A forked process owns none of its parent's managers."""
    global _owner_pid
    if _owner_pid != os.getpid():
        _owner_pid = os.getpid()
        _running.clear()


@atexit.register
def _stop_all() -> None:
    with _lock:
        _forget_after_fork()
        while _running:
            _running.popitem()[1].stop()


def _read_line(fd: int, timeout_s: float) -> bytes | None:
    """What comes up to the first line end, or the end of the pipe; None after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    text = b""
    while b"\n" not in text:
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not select.select([fd], [], [], left_s)[0]:
            return None
        piece = os.read(fd, 65536)
        if not piece:
            break
        text += piece
    return text
