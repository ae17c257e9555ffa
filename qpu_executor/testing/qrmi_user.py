"""A user's process that drives the released `qrmi` wheel, and Pulser on top of it.

The wheel asks libmunge who it is, so each user is a process of its own: it loads what it
needs, becomes that user, and then does what it is told.

with QrmiUser(65534, {"QRMI_WARDEN_URL": url, ...}) as user:
    said = user.call("task_start", SEQUENCE, 20)     # Said("2") or Said(error="...")
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from qpu_executor.testing.sequences import small_sequence

RESOURCE = "qpu"
"""QRMI's name of the resource; the environment's keys begin with it."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a call gave, or what the wheel raised: the error's class and text."""

    value: Any = None
    error: str | None = None

    def done(self) -> Any:
        """The value. Raises AssertionError with what was raised instead."""
        assert self.error is None, self.error
        return self.value


class QrmiUser:
    """`uid`: who to become (None: nobody else). `environment`: the job's, as SPANK leaves it."""

    def __init__(self, uid: int | None, environment: Mapping[str, str]) -> None:
        self._uid = uid
        self._environment = dict(environment)
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        """Start the process."""
        command = [sys.executable, "-m", __name__, *([] if self._uid is None else [str(self._uid)])]
        self._process = subprocess.Popen(  # noqa: S603
            command,
            env=os.environ | self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it."""
        if self._process is not None:
            self._process.communicate()

    def call(self, name: str, *arguments: Any) -> Said:
        """Call one of the functions below and wait for its end."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([name, arguments]) + "\n")
        self._process.stdin.flush()
        return Said(**json.loads(self._process.stdout.readline()))


# -- in the user's process ------------------------------------------------------------------


class Calls:
    """What a user does: QRMI's calls by their names, and Pulser's backend on top of them."""

    def __init__(self) -> None:
        # Here, since another user may not be able to read their files.
        self._pulser: Any = importlib.import_module("pulser")
        self._qrmi: Any = importlib.import_module("qrmi")
        self._connection: Any = importlib.import_module("qrmi.pulser").PulserQRMIConnection
        self._batches: dict[str, Any] = {}
        # What Pulser loads when it reads and writes a sequence for the first time.
        self._pulser.Sequence.from_abstract_repr(small_sequence().to_abstract_repr())

    def setenv(self, name: str, value: str) -> None:
        """Set a variable of this process."""
        os.environ[name] = value

    def is_accessible(self) -> bool:
        """QRMI's (deprecated there, and used by the SPANK plugin)."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return bool(self._resource().is_accessible())

    def status(self) -> dict[str, Any]:
        """QRMI's."""
        return dict(self._resource().status().to_dict())

    def acquire(self) -> str:
        """QRMI's."""
        return str(self._resource().acquire())

    def release(self, token: str) -> None:
        """QRMI's."""
        self._resource().release(token)

    def target(self) -> str:
        """QRMI's."""
        return str(self._resource().target().value)

    def task_start(self, sequence: str, shots: int) -> str:
        """QRMI's."""
        payload = self._qrmi.Payload.PasqalCloud(sequence=sequence, job_runs=shots)
        return str(self._resource().task_start(payload))

    def task_status(self, task: str) -> str:
        """QRMI's, as one word."""
        return str(self._resource().task_status(task)).rpartition(".")[2]

    def task_result(self, task: str) -> str:
        """QRMI's."""
        return str(self._resource().task_result(task).value)

    def task_stop(self, task: str) -> None:
        """QRMI's."""
        self._resource().task_stop(task)

    def task_logs(self, task: str) -> str:
        """QRMI's."""
        return str(self._resource().task_logs(task))

    def devices(self) -> list[str]:
        """Names of the devices of Pulser's connection, found as a job finds its resource."""
        return [device.name for device in self._connection().fetch_available_devices().values()]

    def run_batch(self, sequence: str, runs: list[int], wait: bool) -> dict[str, Any]:
        """Run a batch with Pulser's `QPUBackend`; what it says of it."""
        built = self._pulser.Sequence.from_abstract_repr(sequence)
        connection = self._connection()
        backend = self._pulser.QPUBackend(built, connection=connection)
        results = backend.run(job_params=[{"runs": one} for one in runs], wait=wait)
        self._batches[results.batch_id] = (connection, results)
        return self.batch(results.batch_id)

    def batch(self, batch_id: str) -> dict[str, Any]:
        """A batch of this process: its status, its jobs' states, and counts where there are."""
        _, results = self._batches[batch_id]
        progress = results.get_available_results()
        return {
            "id": batch_id,
            "status": results.get_batch_status().name,
            "counts": [dict(one.final_bitstrings) for one in progress.values()],
        }

    def cancel_batch(self, batch_id: str) -> None:
        """Cancel a batch's jobs."""
        self._batches[batch_id][0].cancel_batch_jobs(batch_id)

    def batch_logs(self, batch_id: str) -> list[str]:
        """The logs of a batch's jobs."""
        return list(self._batches[batch_id][0].get_batch_logs(batch_id))

    def _resource(self) -> Any:
        # A new one for each call: the environment may have changed.
        return self._qrmi.QuantumResource(RESOURCE, self._qrmi.ResourceType.PasqalLocal)


def _serve(calls: Calls) -> None:
    for line in sys.stdin:
        name, arguments = json.loads(line)
        call: Callable[..., Any] = getattr(calls, name)
        try:
            said = {"value": call(*arguments)}
        except Exception as error:  # whatever the wheel raises is told
            said = {"error": f"{type(error).__name__}: {error}"}
        sys.__stdout__.write(json.dumps(said) + "\n")  # type: ignore[union-attr]
        sys.__stdout__.flush()  # type: ignore[union-attr]


def _become(uid: int) -> None:
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)


if __name__ == "__main__":
    sys.stdout = sys.stderr  # answers alone go out
    found = Calls()
    if len(sys.argv) > 1:
        _become(int(sys.argv[1]))
    _serve(found)
