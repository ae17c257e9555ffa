"""Managers that are started as anybody does: `qpu serve`, a command of its own each time."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import IO

from qpu_executor.testing.fault_matrix.site import Place


class Commanded:
    """A process that is no child of the nursery, to be handled as those are."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.stdout: IO[str] = process.stdout
        self.pid = process.pid
        self._process = process

    def poll(self) -> int | None:
        """Its exit code (negative: the signal); None while it runs."""
        return self._process.poll()

    def wait(self, timeout: float) -> int:
        """The same, after its end. Raises TimeoutError."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"process {self.pid} goes on") from None

    def send_signal(self, number: signal.Signals) -> None:
        """Nothing happens where it has ended."""
        self._process.send_signal(number)

    def kill(self) -> int:
        """SIGKILL, if it still runs; how it ended."""
        self._process.kill()
        self.stdout.close()
        return self.wait(30.0)


class QpuServe:
    """Starts `qpu serve` on the site of a place."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def __call__(self, arguments: Mapping[str, object]) -> Commanded:
        """Start one. `arguments` are those of a forked one; there are no traps in this one."""
        words = ["serve", "--site", str(self._place.site), "--ready-fd", "1"]
        with self._place.log.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "qpu_executor.cli.main", *words],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        return Commanded(process)
