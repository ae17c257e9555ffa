"""A stand-in in a process of its own, for tests: started, told to misbehave, killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from qpu_executor.testing.controller.ledger import read_ledger
from qpu_executor.testing.ports import free_port


class ControllerProcess:
    """`directory`: for its ledger and its log. `options`: see `--help` of the command."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.url = ""
        self._ledger = directory / "controller-ledger.jsonl"
        self._log = directory / "controller.log"
        self._options = options
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Start it (again, at the same port) and wait until it listens; its URL."""
        with self._log.open("ab") as log:
            command = (sys.executable, "-m", "qpu_executor.testing.controller")
            self._process = subprocess.Popen(  # noqa: S603
                [
                    *(*command, "--port", str(self._port), "--ledger", str(self._ledger)),
                    *self._options,
                ],
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if not said:
            raise RuntimeError(f"the stand-in didn't start: {self._log.read_text()}")
        self.url = json.loads(said)["url"]
        return self.url

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """End it, however it is."""
        if self._process is not None and self._process.poll() is None:
            self._end(signal.SIGKILL)

    def control(self, what: str, body: object = None) -> None:
        """POST to `/control/{what}`."""
        data = json.dumps({} if body is None else body).encode()
        # The address is the one that our own child process has just told.
        request = urllib.request.Request(  # noqa: S310
            f"{self.url}/control/{what}", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60):  # noqa: S310
            pass

    def state(self) -> dict[str, Any]:
        """What it says of itself."""
        with urllib.request.urlopen(f"{self.url}/control/state", timeout=60) as answer:  # noqa: S310
            found: dict[str, Any] = json.load(answer)
        return found

    @property
    def ledger(self) -> list[dict[str, Any]]:
        """What was executed, by all processes that this object started."""
        return read_ledger(self._ledger) if self._ledger.exists() else []

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()
