"""Any resource of QRMI as a `JobService`, through the released wheel (`qrmi_wheel.py`).

QRMI gives a job no name and can't list jobs: a job that isn't acknowledged can't be
found again.
"""

from __future__ import annotations

import importlib
import json
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import version
from typing import Any, TypeVar

from qpu_executor.errors import ConfigError, PluginRefused, QpuExecutorError
from qpu_executor.model.states import QpuState
from qpu_executor.programs.devices import device_json
from qpu_executor.programs.program import PULSER, Program
from qpu_executor.programs.vendor_programs import FELIS, IQM, QISKIT, counts_in, with_shots
from qpu_executor.qpus.base import ChunkOrder, DeviceDescription
from qpu_executor.qpus.job_service import (
    CredentialsError,
    FoundJob,
    JobName,
    JobProgress,
    JobServiceError,
    JobState,
    NoSuchJobError,
    NotSentError,
    ServiceHealth,
    UnclearError,
)
from qpu_executor.qpus.qrmi_finding import FoundResource, find_resource, secrets
from qpu_executor.qpus.qrmi_settings import QrmiSettings
from qpu_executor.qpus.qrmi_wheel import MissingKeyError, ResourceObjects

R = TypeVar("R")

LIMITS: Mapping[str, str] = {
    "partial_results": "QRMI's task_result gives the result of a task that is completed",
    "can_calibrate": "QRMI has no call for a calibration",
    "seeded": "no payload of QRMI takes a seed",
    "calibration": "neither task_status nor task_result names a calibration",
    "send_ahead": "QRMI has no order among tasks; `slots` above 1 sends more at once",
    "search": "task_start takes no name, and no call lists tasks",
}
"""Capabilities that aren't declared, and the limit of QRMI 0.26 behind each."""

_KINDS = {
    "PasqalCloud": PULSER,
    "PasqalLocal": PULSER,
    "IBMQuantumSystem": QISKIT,
    "IBMQuantumComputeService": QISKIT,
    "IBMQiskitRuntimeService": QISKIT,
    "IQMServer": IQM,
    "AliceBobFelis": FELIS,
}


class QrmiService:
    """`name`: of the QPU; `where`: for messages. The wheel is loaded by `open`."""

    searchable = False
    limits = LIMITS

    def __init__(self, name: str, where: str, settings: QrmiSettings) -> None:
        self._name = name
        self._where = where
        self._settings = settings
        self._payloads: Any = None
        self._resource: FoundResource | None = None
        self._objects: ResourceObjects | None = None
        self._session: str | None = None
        self._sessions = threading.Lock()
        self._versions: dict[str, str] = {}

    @property
    def kinds(self) -> frozenset[str]:
        """One, as the resource's type says; known once opened."""
        return frozenset() if self._resource is None else frozenset({self._kind()})

    @property
    def emulated(self) -> bool:
        """By Pasqal Cloud's naming of its emulators; elsewhere it isn't known."""
        found = self._resource
        return found is not None and found.type == "pasqal-cloud" and found.id.startswith("EMU")

    @property
    def versions(self) -> Mapping[str, str]:
        """Of the wheel."""
        return self._versions

    # -- opening -----------------------------------------------------------------

    def open(self) -> None:
        """Load the wheel and find the resource. Raises OperatorError or ConfigError."""
        try:
            qrmi: Any = importlib.import_module("qrmi")
        except ImportError as error:
            raise PluginRefused(
                f"the SDK qrmi can't be imported: {error}",
                where=self._where,
                next_step="pip install 'qpu-executor[qrmi]'",
            ) from None
        self._versions = {"qrmi": version("qrmi")}
        self._payloads = qrmi.Payload
        self._resource = found = find_resource(self._name, self._where, self._settings, qrmi)
        member = getattr(qrmi.ResourceType, found.member)

        def make() -> Any:
            given = {**found.environment, **secrets(self._where, self._settings)}
            if self._session is not None:
                given["QRMI_JOB_ACQUISITION_TOKEN"] = self._session
            return qrmi.QuantumResource.from_config(found.id, member, given)

        self._objects = ResourceObjects(qrmi, make)
        try:
            self._ask(lambda one: one.resource_id())  # makes an object: nothing is sent
        except MissingKeyError as error:
            raise ConfigError(
                str(error),
                where=self._where,
                next_step="put the key under `environment` or `secret_files`",
            ) from None

    def close(self) -> None:
        """Give the session back, where we took it, and drop all objects."""
        session = self._session
        if session is not None:
            with suppress(JobServiceError, QpuExecutorError):
                self._ask(lambda one: one.release(session))
        self._session, self._objects = None, None

    # -- the resource -----------------------------------------------------------------

    def device(self) -> DeviceDescription:
        """The resource's Pulser device; of other vendors only the name."""
        resource = "" if self._resource is None else self._resource.id
        if self._kind() != PULSER:
            return DeviceDescription(resource)
        offered = self._ask(lambda one: one.target().value)
        try:
            devices = {one["device_type"]: one["specs"] for one in json.loads(offered)}
            by_name = {json.loads(specs)["name"]: specs for specs in devices.values()}
        except (ValueError, KeyError, TypeError) as error:
            raise UnclearError(f"the resource's devices can't be read: {error!r}") from None
        wanted = self._settings.device or resource
        text = devices.get(wanted) or by_name.get(wanted)
        if text is None and self._settings.device is not None:
            text = device_json(self._settings.device)
        if text is None and len(by_name) == 1:
            text = next(iter(by_name.values()))
        if text is None:
            raise ConfigError(
                f"the resource offers {len(by_name)} devices",
                where=f"{self._where}: device",
                expected=f"one of {', '.join(sorted(by_name))}, or a .json file",
            )
        return DeviceDescription(json.loads(text)["name"], text)

    def health(self) -> ServiceHealth:
        """As QRMI's `status` says; what it doesn't say (None) isn't taken for a no."""
        said = self._ask(lambda one: one.status().to_dict())
        if said.get("status") == "online" and said.get("healthy") is not False:
            return ServiceHealth(QpuState.UP)
        reason = said.get("status_reason") or "no reason is given"
        return ServiceHealth(QpuState.DOWN, f"QRMI says {said.get('status')}: {reason}")

    def refuse(self, program: Program, shots: int) -> None:
        """Other vendors' programs that don't say their shots, or give no counts."""
        if program.kind != PULSER:
            with_shots(program, shots)

    def find(self, name: JobName) -> FoundJob | None:
        """Never asked: see `searchable`."""
        raise UnclearError("QRMI can't search for tasks")

    def send(self, order: ChunkOrder, name: JobName) -> str:
        """One task."""
        payload = self._payload(order.program, order.shots)
        self._take_session()
        try:
            return str(self._ask(lambda one: one.task_start(payload)))
        except CredentialsError:
            self._session = None  # it may have been closed: the next one takes another
            raise
        except NoSuchJobError as error:
            raise NotSentError(str(error)) from None

    def progress(self, handle: str) -> JobProgress:
        """As `task_status` says."""
        said = str(self._ask(lambda one: one.task_status(handle))).rpartition(".")[2]
        states = {
            "Queued": JobState.WAITING,
            "Running": JobState.RUNNING,
            "Completed": JobState.DONE,
            "Cancelled": JobState.CANCELLED,
            "Failed": JobState.FAILED,
        }
        if said not in states:
            raise UnclearError(f"QRMI says {said!r}, which is no state of a task")
        message = self._logs(handle) if states[said] is JobState.FAILED else ""
        return JobProgress(states[said], message=message)

    def counts(self, handle: str) -> Mapping[str, int]:
        """Of `task_result`."""
        text = self._ask(lambda one: one.task_result(handle).value)
        if self._kind() != PULSER:
            return counts_in(self._kind(), text)
        try:
            counter = json.loads(text)["counter"]
            return {str(bits): int(times) for bits, times in counter.items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UnclearError(
                f"the result of task {handle} holds no counts: {text[:80]!r}"
            ) from None

    def cancel(self, handle: str) -> None:
        """`task_stop`."""
        self._ask(lambda one: one.task_stop(handle))

    # -- the wheel ---------------------------------------------------------------------

    def _payload(self, program: Program, shots: int) -> Any:
        payload = self._payloads
        if program.kind == PULSER:
            return payload.PasqalCloud(sequence=program.content, job_runs=shots)
        found = with_shots(program, shots)
        if program.kind == QISKIT:
            return payload.QiskitPrimitive(
                input=json.dumps(found["parameters"]), program_id=found["program_id"]
            )
        if program.kind == IQM:
            return payload.IQMServer(
                iqmjson=json.dumps(found["iqmjson"]),
                job_type=found["job_type"],
                use_timeslot=found.get("use_timeslot"),
                tag=found.get("tag"),
            )
        return payload.AliceBobFelis(
            human_qir=found["human_qir"], input_params=json.dumps(found["input_params"])
        )

    def _logs(self, handle: str) -> str:
        try:
            return str(self._ask(lambda one: one.task_logs(handle)))[:300]
        except JobServiceError:
            return ""

    def _take_session(self) -> None:
        """Take a session where we are to, and have none. Raises NotSentError."""
        if not self._settings.acquire or self._objects is None:
            return
        with self._sessions:
            if self._session is not None:
                return
            try:
                self._session = str(self._ask(lambda one: one.acquire()))
            except CredentialsError:
                raise
            except JobServiceError as error:
                raise NotSentError(f"no session can be had: {error}") from None
            self._objects.renew()

    def _kind(self) -> str:
        if self._resource is None:
            raise UnclearError("the SDK isn't open")
        return _KINDS[self._resource.member]

    def _ask(self, call: Callable[[Any], R]) -> R:
        if self._objects is None:
            raise UnclearError("the SDK isn't open")
        return self._objects.ask(call)
