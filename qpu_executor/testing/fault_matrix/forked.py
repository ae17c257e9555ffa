"""The nursery and its children, as whoever started it sees them."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Protocol

from qpu_executor.testing.fault_matrix.nursery import MESSAGE_BYTES

_STARTS_WITHIN_S = 120.0


class ManagerProcess(Protocol):
    """What is needed of a manager's process, however it was started."""

    pid: int
    stdout: IO[str]

    def poll(self) -> int | None:
        """Its exit code (negative: the signal); None while it runs."""

    def wait(self, timeout: float) -> int:
        """The same, after its end. Raises TimeoutError."""

    def send_signal(self, number: signal.Signals) -> None:
        """Nothing happens where it has ended."""

    def kill(self) -> int:
        """SIGKILL, if it still runs; how it ended."""


class Forked:
    """A child, with as much of `subprocess.Popen` as is used here."""

    def __init__(self, nursery: NurseryProcess, pid: int, stdout: IO[str]) -> None:
        self.pid = pid
        self.stdout = stdout
        self._nursery = nursery

    def poll(self) -> int | None:
        """Its exit code (negative: the signal); None while it runs."""
        return self._nursery.ended(self.pid, 0.0)

    def wait(self, timeout: float) -> int:
        """The same, after its end. Raises TimeoutError."""
        code = self._nursery.ended(self.pid, timeout)
        if code is None:
            raise TimeoutError(f"process {self.pid} goes on")
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Nothing happens where it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # the nursery has buried it, and not said so yet
                os.kill(self.pid, number)

    def kill(self) -> int:
        """SIGKILL, if it still runs; how it ended."""
        self.send_signal(signal.SIGKILL)
        self.stdout.close()
        return self.wait(30.0)


class NurseryProcess:
    """`log`: where the nursery itself says what goes wrong with it."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._ended: dict[int, int] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None

    def start(self) -> None:
        """Start it; the first child waits until everything is imported."""
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        module = "qpu_executor.testing.fault_matrix.nursery"
        # One thread for linear algebra: a process with threads must not be forked.
        single = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")
        with theirs, self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", module, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdout=log,
                stderr=log,
                env={**os.environ, **single},
            )

    def close(self) -> None:
        """End it and all of its children."""
        if self._link is not None:
            self._link.close()
        if self._process is not None:
            self._process.wait(60)

    def fork(self, role: str, arguments: Mapping[str, Any], stderr: Path) -> Forked:
        """A new child. `stderr`: appended to."""
        assert self._link is not None
        reading, writing = os.pipe()
        with stderr.open("ab") as log:
            message = json.dumps({"role": role, "arguments": arguments}).encode()
            assert len(message) < MESSAGE_BYTES
            socket.send_fds(self._link, [message], [writing, log.fileno()])
        os.close(writing)
        while True:
            said = self._heard(_STARTS_WITHIN_S)
            if said is None:
                raise RuntimeError(f"the nursery doesn't answer: {self._log.read_text()}")
            if "pid" in said:
                # The kernel gives numbers again: what is known is about an earlier child.
                self._ended.pop(said["pid"], None)
                return Forked(self, said["pid"], os.fdopen(reading))

    def ended(self, pid: int, timeout_s: float) -> int | None:
        """How a child ended; None if it goes on for so long."""
        until = time.monotonic() + timeout_s
        while pid not in self._ended:
            if self._heard(max(0.0, until - time.monotonic())) is None:
                return None
        return self._ended[pid]

    def _heard(self, timeout_s: float) -> dict[str, int] | None:
        assert self._link is not None
        ready, _, _ = select.select([self._link], [], [], timeout_s)
        text = self._link.recv(MESSAGE_BYTES) if ready else b""
        if not text:
            return None
        said: dict[str, int] = json.loads(text)
        if "ended" in said:
            self._ended[said["ended"]] = said["code"]
        return said
