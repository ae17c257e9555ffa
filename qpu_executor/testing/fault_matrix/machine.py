"""The controller of a history: a process with a ledger, told how to fail, killed at times."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qpu_executor.testing.controller.ledger import read_ledger
from qpu_executor.testing.fault_matrix.clients import program
from qpu_executor.testing.fault_matrix.forked import Forked, NurseryProcess
from qpu_executor.testing.fault_matrix.site import SHOT_S
from qpu_executor.testing.fault_matrix.weather import CALM, FOREIGN, Act, Weather
from qpu_executor.testing.ports import free_port

_RIGHT: Mapping[str, Any] = {
    "operational": "UP",
    "stuck": False,
    "results": "right",
    "clock_offset_s": 0.0,
}


class Machine:
    """Start it first. Its ledger and its log are in `directory`."""

    def __init__(self, nursery: NurseryProcess, directory: Path) -> None:
        self.url = ""
        self.ledger_path = directory / "controller-ledger.jsonl"
        self._jobs = directory / "controller-jobs.jsonl"
        self._log = directory / "controller.log"
        self._nursery = nursery
        self._process: Forked | None = None
        self._faults: list[Mapping[str, Any]] = []
        self._aim: Mapping[str, Any] | None = None

    def start(self) -> None:
        """Start it, again at the same port."""
        port = self.url.rpartition(":")[2] or str(free_port())
        options = ["--coins", "--shot-s", str(SHOT_S), "--port", port]
        files = ["--ledger", str(self.ledger_path), "--jobs", str(self._jobs)]
        self._process = self._nursery.fork("controller", {"options": [*options, *files]}, self._log)
        said = self._process.stdout.readline()
        if not said:
            raise RuntimeError(f"the controller doesn't start: {self._log.read_text()}")
        self.url = json.loads(said)["url"]

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()

    @property
    def ledger(self) -> list[dict[str, Any]]:
        """All that it has executed, in all of its processes."""
        return read_ledger(self.ledger_path) if self.ledger_path.exists() else []

    @property
    def jobs_begun(self) -> int:
        """How many jobs it has begun, ever."""
        found = self.ledger_path.read_bytes() if self.ledger_path.exists() else b""
        return found.count(b'"event": "began"')

    @property
    def busy(self) -> bool:
        """Whether one of its jobs goes on."""
        running: set[int] = set()
        for line in self.ledger:
            if line["event"] == "began":
                running.add(line["job"])
            elif line["event"] == "ended":
                running.discard(line["job"])
            else:
                running.clear()
        return bool(running)

    def cloud(self, weather: Weather) -> None:
        """Let it fail like that, from now on."""
        self._faults = [*weather.faults]
        self._control("faults", self._faults if self._aim is None else [self._aim, *self._faults])
        self._control("machine", {**_RIGHT, **weather.machine})
        match weather.act:
            case Act.FORGET:
                self._control("forget", {})
            case Act.KILL | Act.KILL_REMEMBERING:
                if weather.act is Act.KILL:
                    self._jobs.unlink(missing_ok=True)
                self.close()
                if weather.act is Act.KILL:
                    self._jobs.unlink(missing_ok=True)
                self.start()
            case Act.FOREIGN_JOB:
                job = {"nb_run": 5, "pulser_sequence": program().content}
                mark = {"pasqman_job_id": FOREIGN}
                self._post("/api/v1/jobs", {**job, "context": mark})

    def heal(self) -> None:
        """It works again; what it has forgotten stays forgotten."""
        self.cloud(CALM)

    def aim(self, fault: Mapping[str, Any]) -> None:
        """Let it kill its caller: one more fault, before the others."""
        self._aim = fault
        self._control("faults", [fault, *self._faults])

    def disarm(self) -> None:
        """It kills nobody any more."""
        self._aim = None
        self._control("faults", self._faults)

    def _control(self, what: str, body: object) -> None:
        self._post(f"/control/{what}", body)

    def _post(self, path: str, body: object) -> None:
        # The address is the one that our own child process has told.
        request = urllib.request.Request(  # noqa: S310
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60):  # noqa: S310
            pass
