"""The stand-in as a process of its own, for tests."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from qpu_executor.programs.devices import device_json
from qpu_executor.testing.ports import free_port
from qpu_executor.testing.vendor_stand_in.faults import Fault


class StandInProcess:
    """A context manager: the process ends with it, or with the test's own process.

    `directory`: for its ledger. `device`: Pulser's name of it, or a .json file. `url`:
    where it listens. It can be killed, and started again at the same address.
    """

    def __init__(
        self, directory: Path, *, device: str = "AnalogDevice", shot_s: float = 0.001
    ) -> None:
        self.url = ""
        self._directory = directory
        self._device = device
        self._shot_s = shot_s
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> StandInProcess:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        port = self.url.rpartition(":")[2] or str(free_port())
        command = [
            *(sys.executable, "-m", "qpu_executor.testing.vendor_stand_in"),
            *("--port", port, "--device", str(self._device_file()), "--shot-s", str(self._shot_s)),
            *("--ledger", str(self._directory / "ledger.jsonl")),
        ]
        self._process = subprocess.Popen(  # noqa: S603  # our own module
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            raise RuntimeError("the stand-in didn't start; its standard error says why")

    def kill(self) -> None:
        """End it at once; its jobs are lost, its ledger stays."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()

    def _device_file(self) -> Path:
        """Written here: the process then needn't import Pulser, which takes seconds."""
        if self._device.endswith(".json"):
            return Path(self._device)
        path = self._directory / "device.json"
        path.write_text(device_json(self._device), "utf-8")
        return path

    def fault(self, fault: Fault) -> None:
        """Let something go wrong."""
        given = {key: getattr(fault, key) for key in fault.__slots__}
        self._steer("POST", "/faults", given)

    def no_more_faults(self) -> None:
        """From now on all goes well."""
        self._steer("DELETE", "/faults")

    def executions(self) -> list[dict[str, Any]]:
        """Every job that it really ran, oldest first."""
        found: list[dict[str, Any]] = self._steer("GET", "/ledger")
        return found

    def requests(self) -> list[str]:
        """Every request that came, as `METHOD /path`."""
        found: list[str] = self._steer("GET", "/requests")
        return found

    def accept_token(self, token: str) -> None:
        """This is the token from now on; any other one has expired."""
        self._steer("POST", "/token", token)

    def accept_session(self, session: str) -> None:
        """A session of Warden's."""
        self._steer("POST", "/session", session)

    def end_sessions(self) -> None:
        """All sessions of Warden's are closed."""
        self._steer("DELETE", "/sessions")

    def accessible(self, is_it: bool) -> None:
        """Whether the QPU takes jobs."""
        self._steer("POST", "/accessible", is_it)

    def fail_next_job(self, reason: str) -> None:
        """The next job that it takes fails for this reason."""
        self._steer("POST", "/fail-next", reason)

    def forget_jobs(self) -> None:
        """Lose all jobs."""
        self._steer("POST", "/forget", {})

    def _steer(self, method: str, path: str, given: Any = None) -> Any:
        body = None if given is None else json.dumps(given).encode()
        request = urllib.request.Request(  # noqa: S310  # loopback
            f"{self.url}/stand-in{path}", data=body, method=method
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.load(answer)
