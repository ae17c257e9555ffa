"""A real munged for tests: a private one (own key, socket and files), or the system's own."""

from __future__ import annotations

import os
import pwd
import secrets
import select
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from qpu_executor import munge
from qpu_executor.errors import OperatorError

_RUN_DIRECTORY = Path("/run/munge")
"""Where packages of munge have its socket and its pid file."""


class Munged:
    """Start with `start`, end with `close`. `socket`: what `--socket` names.

    Its directory is short and everybody may pass through it, so that other users can ask
    it for credentials too; the key is its owner's alone.
    """

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="qpu-munge-"))
        self.socket = str(self.directory / "socket")
        self._pid = self.directory / "pid"

    @staticmethod
    def installed() -> bool:
        """True if there is a munged to start."""
        return _program() is not None

    def start(self) -> None:
        """Start it; returns when it answers. Raises RuntimeError with what it said."""
        program = _program()
        if program is None:
            raise RuntimeError("munged isn't installed: apt-get install munge")
        self.directory.chmod(0o755)
        key = self.directory / "key"
        if not key.exists():
            with os.fdopen(os.open(key, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as file:
                file.write(secrets.token_bytes(128))
        files = {
            "key-file": key,
            "socket": self.socket,
            "pid-file": self._pid,
            "log-file": self.directory / "log",
            "seed-file": self.directory / "seed",
        }
        options = [f"--{name}={path}" for name, path in files.items()]
        done = subprocess.run(  # noqa: S603
            [program, *options, "--num-threads=2"], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"munged didn't start: {done.stderr.strip()}")

    def stop(self) -> None:
        """End it and wait until it is gone; `start` starts it again with the same key."""
        try:
            pid = int(self._pid.read_text())
            pidfd = os.pidfd_open(pid)
        except (FileNotFoundError, ProcessLookupError):
            return
        try:
            os.kill(pid, signal.SIGTERM)
            _wait_for_end(pidfd)
        finally:
            os.close(pidfd)

    def close(self) -> None:
        """End it and remove its files."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


class SystemMunged:
    """The munged at the default socket, as a site runs it: its user, its key, its paths.

    One that answers there already is used and left alone. Takes root.
    """

    socket: str | None = None
    """libmunge's own default."""

    def __init__(self) -> None:
        self._started = False

    def start(self) -> None:
        """Start it unless one answers. Raises RuntimeError with what it said."""
        if _answers():
            return
        program = _program()
        if program is None:
            raise RuntimeError("munged isn't installed: apt-get install munge")
        owner = pwd.getpwnam("munge")
        _RUN_DIRECTORY.mkdir(mode=0o755, exist_ok=True)
        os.chown(_RUN_DIRECTORY, owner.pw_uid, owner.pw_gid)
        done = subprocess.run(  # noqa: S603
            [program],
            user=owner.pw_uid,
            group=owner.pw_gid,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"munged didn't start: {done.stderr.strip()}")
        self._started = True

    def close(self) -> None:
        """End it, if it was started here."""
        if not self._started:
            return
        self._started = False
        pidfd = os.pidfd_open(int((_RUN_DIRECTORY / "munged.pid").read_text()))
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGTERM)
            _wait_for_end(pidfd)
        finally:
            os.close(pidfd)


def _answers() -> bool:
    try:
        munge.decode(munge.encode())
    except OperatorError:
        return False
    return True


def _wait_for_end(pidfd: int) -> None:
    if not select.select([pidfd], [], [], 30)[0]:
        raise RuntimeError("munged doesn't end")


def _program() -> str | None:
    return shutil.which("munged", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
