"""QPUConnection: a Pulser RemoteConnection whose jobs are tasks of a QPU manager.

A batch is a session of the manager and its id the session's, a job is a task:
`RemoteResults(batch_id, QPUConnection())` works in any process that reaches the
same manager.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pulser
from pulser.backend.remote import (
    BatchStatus,
    JobStatus,
    RemoteConnection,
    RemoteResults,
    RemoteResultsError,
)
from pulser.backend.results import Results
from pulser.devices import Device
from pulser.json.abstract_repr.deserializer import deserialize_device

from qpu_executor.client import Client, Task, TaskOrder, connect
from qpu_executor.errors import QpuExecutorError, RequestRefused, TaskCancelled, TaskFailed
from qpu_executor.model.states import TaskState
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.pulser.statuses import JOB_STATUS, batch_status


class QPUConnection(RemoteConnection):
    """Runs Pulser's remote backends on a QPU manager.

    `manager`: its URL, else $QPU_MANAGER, else an embedded manager. `qpu`,
    `job_class`, `priority`, `account`: for all jobs of this connection.
    `wait_s`, `directory`: as for `connect()`. It connects with its first use;
    close it, or use `with`.
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
    ) -> None:
        self._manager = manager
        self._qpu = qpu
        self._job_class = job_class
        self._priority = priority
        self._account = account
        self._wait_s = wait_s
        self._directory = directory
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

    def fetch_available_devices(self) -> dict[str, Device]:
        """The devices by the names of their QPUs (of this connection's QPU, if it has one)."""
        names = [self._qpu] if self._qpu else [qpu.name for qpu in self.client.qpus()]
        found: dict[str, Device] = {}
        for name in names:
            text = self.client.qpu(name).pulser_device
            device = None if text is None else deserialize_device(text)
            if isinstance(device, Device):  # a virtual one has no place in Pulser's rules
                found[name] = device
        return found

    def supports_open_batch(self) -> bool:
        """Batches can stay open for more jobs."""
        return True

    def submit(
        self,
        sequence: pulser.Sequence[Any],
        wait: bool = False,
        open: bool = False,
        batch_id: str | None = None,
        **kwargs: Any,
    ) -> RemoteResults:
        """Submit one task per entry of `job_params` ({"runs": ..., "variables": {...}}).

        `open`: the batch stays open for more jobs; `batch_id`: the batch to add to.
        `wait`: return once all have ended, however they ended. Raises the first
        refusal; the others of this call are cancelled then.
        """
        job_params: list[dict[str, Any]] = list(kwargs.get("job_params") or [])
        if not job_params and not open:
            raise RequestRefused(
                "there is nothing to run", where="job_params", expected='[{"runs": 300}]'
            )
        orders = self._orders(sequence, job_params) if job_params else []
        batch = batch_id or self.client.open_session("pulser", account=self._account).id
        tasks = self._submit(orders, batch)
        if batch_id is None and not open:
            self._close_batch(batch)
        if wait:
            for task in tasks:
                _wait(task)
        return RemoteResults(batch, self, job_ids=[str(task.id) for task in tasks] or None)

    def cancel_batch(self, batch_id: str) -> None:
        """Cancel the jobs of a batch that haven't ended."""
        self.client.cancel_session(batch_id)

    def _orders(
        self, sequence: pulser.Sequence[Any], job_params: list[dict[str, Any]]
    ) -> list[TaskOrder]:
        sequence = self.update_sequence_device(self._add_measurement_to_sequence(sequence))
        orders = []
        for n, params in enumerate(job_params):
            if "runs" not in params:
                raise RequestRefused(
                    "no 'runs'", where=f"job_params[{n}]", expected='{"runs": 300}'
                )
            built = sequence
            if sequence.is_parametrized() or sequence.is_register_mappable():
                built = sequence.build(**params.get("variables", {}))
            order = TaskOrder(
                to_program(built),
                params["runs"],
                job_class=self._job_class,
                qpu=self._qpu,
                priority=self._priority,
                account=self._account,
            )
            orders.append(order)
        return orders

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

    def _query_job_progress(self, batch_id: str) -> Mapping[str, tuple[JobStatus, Results | None]]:
        tasks = self._tasks(batch_id)
        done = [task.id for task in tasks if task.state is TaskState.COMPLETED]
        results = self.client.results(done)
        return {
            str(task.id): (
                JOB_STATUS[task.state],
                results[task.id].to_pulser() if task.id in results else None,
            )
            for task in tasks
        }

    def _fetch_result(self, batch_id: str, job_ids: list[str] | None) -> Sequence[Results]:
        progress = self._query_job_progress(batch_id)
        ids = list(progress) if job_ids is None else job_ids
        missing = [job for job in ids if job not in progress or progress[job][1] is None]
        if missing:
            raise RemoteResultsError(f"no result: {self._why(missing, progress)}")
        return tuple(result for job in ids if (result := progress[job][1]) is not None)

    def _get_batch_status(self, batch_id: str) -> BatchStatus:
        return batch_status([task.state for task in self._tasks(batch_id)])

    def _get_job_ids(self, batch_id: str) -> list[str]:
        return [str(task.id) for task in self._tasks(batch_id)]

    def _close_batch(self, batch_id: str) -> None:
        self.client.close_session(batch_id)

    def _tasks(self, batch_id: str) -> list[Task]:
        """The tasks of a batch, by id. Raises the manager's error for an unknown batch."""
        tasks = self.client.tasks(session=batch_id)
        if not tasks:
            self.client.session(batch_id)
        return tasks

    def _why(
        self, jobs: list[str], progress: Mapping[str, tuple[JobStatus, Results | None]]
    ) -> str:
        known = [int(job) for job in jobs if job in progress]
        errors = {str(task.id): task.info.error for task in self.client.tasks(ids=known)}
        texts = []
        for job in jobs:
            status = progress[job][0].name if job in progress else "not in this batch"
            reason = f" ({errors[job]})" if errors.get(job) else ""
            texts.append(f"job {job} is {status}{reason}")
        return "; ".join(texts)


def _wait(task: Task) -> None:
    """Wait for a task's end. A failed one doesn't keep the others' results from the user."""
    try:
        task.result()
    except (TaskFailed, TaskCancelled):
        return
