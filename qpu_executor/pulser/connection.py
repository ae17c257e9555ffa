"""QPUConnection: a Pulser RemoteConnection whose jobs are tasks of a QPU manager.

A batch is a session of the manager and its id the session's, a job is a task:
`RemoteResults(batch_id, QPUConnection())` works in any process that reaches the
same manager. A batch that is closed takes no jobs; those in it go on.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

import pulser
from pulser.backend.config import BackendConfig
from pulser.backend.remote import (
    BatchStatus,
    JobStatus,
    RemoteConnection,
    RemoteResults,
    RemoteResultsError,
)
from pulser.backend.results import Results
from pulser.devices import Device

from qpu_executor.client import Client, Task, TaskOrder, connect
from qpu_executor.client.wishes import TaskWishes, given_wishes
from qpu_executor.errors import QpuExecutorError, RequestRefused, TaskCancelled, TaskFailed
from qpu_executor.model.sessions import TaskFate
from qpu_executor.programs.device_files import read_devices
from qpu_executor.pulser.devices import fitted
from qpu_executor.pulser.emulation import default_runs, emulator_wanted
from qpu_executor.pulser.jobs import built
from qpu_executor.pulser.progress import progress_of, why_missing
from qpu_executor.pulser.statuses import batch_status, job_status


class QPUConnection(RemoteConnection):
    """Runs Pulser's remote backends on a QPU manager.

    `manager`: its URL, else $QPU_MANAGER, else an embedded manager. `qpu`,
    `job_class`, `priority`, `account`, and those of `client.wishes.TaskWishes` (`device`,
    `require`, `time_limit_s`, ...): for all jobs of this connection, as in a TaskOrder.
    `wait_s`, `directory`: as for `connect()`. It connects with its first use;
    close it, or use `with`. It pickles, and connects anew where it arrives.
    """

    def __init__(
        self,
        manager: str | None = None,
        *,
        qpu: str | None = None,
        job_class: str | None = None,
        priority: int = 0,
        account: str | None = None,
        wait_s: float = 300.0,
        directory: Path | None = None,
        **wishes: Unpack[TaskWishes],
    ) -> None:
        self._manager = manager
        self._qpu = qpu
        self._job_class = job_class
        self._priority = priority
        self._account = account
        self._wait_s = wait_s
        self._directory = directory
        self._wishes = given_wishes(wishes, "QPUConnection")
        self._client: Client | None = None
        self._lock = threading.Lock()

    @property
    def client(self) -> Client:
        """The client underneath, connected with its first use."""
        with self._lock:
            if self._client is None:
                self._client = connect(
                    self._manager, wait_s=self._wait_s, directory=self._directory
                )
            return self._client

    def close(self) -> None:
        """Close the client. Jobs go on at the manager (an embedded one ends). Idempotent."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        """Its settings and the address that it has found, no connection."""
        with self._lock:
            state = dict(self.__dict__)
            if self._client is not None:
                state["_manager"] = self._client.url
        del state["_lock"], state["_client"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _client=None, _lock=threading.Lock())

    # Devices

    def fetch_available_devices(self) -> dict[str, Device]:
        """The devices by the names of their QPUs (those of this connection, if it names any).

        Without the virtual ones of some emulators, which have no place in Pulser's rules for
        QPUs; their sequences are taken all the same.
        """
        return {
            qpu: device for qpu, device in self._devices().items() if isinstance(device, Device)
        }

    def update_sequence_device(self, sequence: pulser.Sequence[Any]) -> pulser.Sequence[Any]:
        """The sequence on the device of its name as it is now.

        Raises DeviceMismatch (a ValueError), which says what differs.
        """
        moved: pulser.Sequence[Any] = fitted(sequence, self._devices())
        return moved

    def _devices(self) -> dict[str, Any]:
        wanted = self._wishes.get("device")
        names = [self._qpu] if self._qpu else self._names(wanted)
        return read_devices({name: self.client.qpu(name).pulser_device for name in names})

    def _names(self, device: str | None) -> list[str]:
        return [qpu.name for qpu in self.client.qpus() if device in (None, qpu.device)]

    # Submitting

    def supports_open_batch(self) -> bool:
        """Batches can stay open for more jobs."""
        return True

    def submit(
        self,
        sequence: pulser.Sequence[Any],
        wait: bool = False,
        open: bool = False,
        batch_id: str | None = None,
        *,
        job_params: Sequence[Mapping[str, Any]] | None = None,
        backend_configuration: BackendConfig | None = None,
        device_type: object = None,
        **unknown: Any,
    ) -> RemoteResults:
        """Submit one task per entry of `job_params` ({"runs": ..., "variables": {...}}).

        `open`: the batch stays open for more jobs; `batch_id`: the batch to add to.
        `wait`: return once all have ended, however they ended. `backend_configuration`,
        `device_type`: what remote emulator backends say (`emulation.py`). Raises the first
        refusal; the others of this call are cancelled then.
        """
        if unknown:
            raise RequestRefused(
                f"there is no option {', '.join(map(repr, unknown))}", where="QPUConnection.submit"
            )
        runs = default_runs(backend_configuration)
        emulated = emulator_wanted(device_type)
        if not job_params and not open:
            raise RequestRefused(
                "there is nothing to run", where="job_params", expected='[{"runs": 300}]'
            )
        orders = self._orders(sequence, job_params, runs, emulated) if job_params else []
        batch = batch_id or self.client.open_session("pulser", account=self._account).id
        try:
            tasks = self._submit(orders, batch)
        except QpuExecutorError:
            if batch_id is None:
                self.close_batch(batch)
            raise
        if batch_id is None and not open:
            self.close_batch(batch)
        if wait:
            for task in tasks:
                _wait(task)
        return RemoteResults(batch, self, job_ids=[str(task.id) for task in tasks] or None)

    def close_batch(self, batch_id: str) -> None:
        """Take no more jobs into a batch; those in it go on. Twice is once."""
        self.client.close_session(batch_id, tasks=TaskFate.FINISH)

    def cancel_batch(self, batch_id: str) -> None:
        """Cancel the jobs of a batch that haven't ended."""
        self.client.cancel_session(batch_id)

    def cancel_jobs(self, batch_id: str, job_ids: Iterable[str]) -> dict[str, JobStatus]:
        """Cancel some jobs of a batch; the status of each after that. The others go on.

        Those that have ended stay as they are. Raises RequestRefused for a job that isn't in
        the batch; nothing is cancelled then.
        """
        wanted = list(job_ids)
        tasks = {str(task.id): task for task in self._tasks(batch_id)}
        if unknown := [job for job in wanted if job not in tasks]:
            raise RequestRefused(
                f"there is no job {', '.join(map(str, unknown))} in this batch",
                where=f"batch {batch_id}",
                expected=f"some of {', '.join(tasks)}" if tasks else None,
            )
        if not wanted:
            return {}
        cancelled = self.client.cancel_tasks([tasks[job].id for job in wanted])
        return {str(task.id): job_status(task.info) for task in cancelled}

    def _orders(
        self,
        sequence: pulser.Sequence[Any],
        job_params: Sequence[Mapping[str, Any]],
        runs: int | None,
        emulated: bool,
    ) -> list[TaskOrder]:
        sequence = self.update_sequence_device(self._add_measurement_to_sequence(sequence))
        wishes = dict(self._wishes)
        if emulated:
            wishes["require"] = {**(wishes.get("require") or {}), "emulated": True}
        return [
            TaskOrder(
                program,
                shots,
                job_class=self._job_class,
                qpu=self._qpu,
                priority=self._priority,
                account=self._account,
                **wishes,
            )
            for program, shots in built(sequence, job_params, runs)
        ]

    def _submit(self, orders: list[TaskOrder], batch: str) -> list[Task]:
        orders = [replace(order, session=batch) for order in orders]
        answers = self.client.submit_each(orders) if orders else []
        tasks = [answer for answer in answers if isinstance(answer, Task)]
        for answer in answers:
            if isinstance(answer, QpuExecutorError):
                if tasks:
                    self.client.cancel_tasks([task.id for task in tasks])
                raise answer
        return tasks

    # Results

    def get_results(self, batch_id: str, job_ids: list[str] | None = None) -> RemoteResults:
        """The results of a batch, or of some of its jobs, by its id: in any process."""
        return RemoteResults(batch_id, self, job_ids=job_ids)

    def get_job_statuses(self, batch_id: str) -> dict[str, JobStatus]:
        """The status of each job of a batch, without any results."""
        return {str(task.id): job_status(task.info) for task in self._tasks(batch_id)}

    def _query_job_progress(self, batch_id: str) -> Mapping[str, tuple[JobStatus, Results | None]]:
        return progress_of(self._tasks(batch_id), self.client)

    def _fetch_result(self, batch_id: str, job_ids: list[str] | None) -> Sequence[Results]:
        tasks = self._tasks(batch_id)
        if job_ids is not None:
            tasks = [task for task in tasks if str(task.id) in job_ids]
        progress = progress_of(tasks, self.client)
        ids = list(progress) if job_ids is None else job_ids
        missing = [job for job in ids if job not in progress or progress[job][1] is None]
        if missing:
            raise RemoteResultsError(f"no result: {why_missing(missing, tasks)}")
        return tuple(result for job in ids if (result := progress[job][1]) is not None)

    def _get_batch_status(self, batch_id: str) -> BatchStatus:
        tasks = self.client.tasks(session=batch_id)
        if tasks:
            return batch_status([task.info for task in tasks])
        return batch_status([], closed=self.client.session(batch_id).closed_at is not None)

    def _get_job_ids(self, batch_id: str) -> list[str]:
        return [str(task.id) for task in self._tasks(batch_id)]

    def _close_batch(self, batch_id: str) -> None:
        self.close_batch(batch_id)

    def _tasks(self, batch_id: str) -> list[Task]:
        """The tasks of a batch, by id. Raises the manager's error for an unknown batch."""
        tasks = self.client.tasks(session=batch_id)
        if not tasks:
            self.client.session(batch_id)
        return tasks


def _wait(task: Task) -> None:
    """Wait for a task's end. A failed one doesn't keep the others' results from the user."""
    try:
        task.result()
    except (TaskFailed, TaskCancelled):
        return
