"""Plans on Dask: classical tasks on the workers of a local cluster, quantum ones through QPUPlugin.

Steps are Dask tasks and dependencies are their futures. A fan-out whose length is a
result is a task that submits the others and gives its thread back meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from distributed import Client, LocalCluster, secede, worker_client

from qpu_executor.client import TaskOrder
from qpu_executor.dask import QPUPlugin
from qpu_executor.dask.options import QuantumOptions
from qpu_executor.dask.quantum_task import QuantumTask
from qpu_executor.errors import InternalError, TaskCancelled
from qpu_executor.pipelines.engines import worker_process
from qpu_executor.pipelines.engines.base import EngineSettings, Handle, OnDone, OnWork
from qpu_executor.pipelines.packing import find_kept
from qpu_executor.pipelines.work import (
    FanOut,
    Work,
    build_programs,
    call_function,
    call_hybrid,
)
from qpu_executor.programs.program import Program

LOST_S = 60.0
"""How long the error of a task that has ended is waited for."""


def _hybrid_aside(work: Work, *results: Any) -> Any:
    """A hybrid task mostly waits for the QPU: builders and classical tasks go on beside it."""
    give_thread_back: Any = secede
    give_thread_back()
    return call_hybrid(work, *results)


_BODIES: dict[str, Callable[..., Any]] = {"call": call_function, "hybrid": _hybrid_aside}


class DaskEngine:
    """One local cluster, of this run only."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._cluster: LocalCluster | None = None
        self._client: Client | None = None

    def start(self) -> None:
        """Start workers and register the plugin."""
        start: Any = LocalCluster
        self._cluster = start(
            n_workers=self._settings.workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            local_directory=str(self._settings.directory),
            silence_logs=logging.CRITICAL,
            preload=[worker_process.__name__],
        )
        open_client: Any = Client
        self._client = open_client(self._cluster, set_as_default=False)
        self._client.register_plugin(
            QPUPlugin(self._settings.manager, session=self._settings.session)
        )

    def submit(self, work: Work, dependencies: Sequence[Handle]) -> Handle:
        """Submit one task; the arguments may be futures."""
        assert self._client is not None
        return _submit(self._client, work, dependencies)

    def expand(self, fan_out: FanOut, dependencies: Sequence[Handle], on_work: OnWork) -> Handle:
        """Submit the task that submits the others (its tasks are known on the worker only)."""
        assert self._client is not None
        return self._client.submit(_fan, fan_out, *dependencies, pure=False)

    def watch(self, handle: Handle, on_done: OnDone) -> None:
        """Dask calls back in a thread of its own."""
        handle.add_done_callback(lambda future: on_done(future, _error(future)))

    def value(self, handle: Handle) -> Any:
        """Fetch the result of a future that is done."""
        return handle.result() if hasattr(handle, "result") else handle

    def close(self) -> None:
        """Drop futures (their quantum tasks are cancelled) and end the cluster's processes."""
        client: Any = self._client
        self._client = None
        if client is not None:
            client.close(timeout=5)
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            cluster.close(timeout=10)


def _submit(client: Client, work: Work, dependencies: Sequence[Handle]) -> Handle:
    if work.step.kind != "quantum":
        body = _BODIES[work.step.kind]
        return client.submit(
            body, work, *dependencies, key=_key(work), pure=False, retries=work.step.retries
        )
    return client.submit(
        _quantum(work),
        work,
        *dependencies,
        key=_key(work),
        pure=False,
        retries=work.step.retries,
        resources={"QPU": 1},
    )


def _key(work: Work) -> str:
    """Dask's key: errors show it, and it is never used twice."""
    return f"{work.name}-{uuid4().hex}"


@dataclass(frozen=True)
class _StepOptions(QuantumOptions):
    """Options of a step's task: its key was derived here, not chosen by a user."""

    def orders(
        self, programs: Sequence[Program], *, name: str, token: str, many: bool
    ) -> list[TaskOrder]:
        """As for any quantum task; a builder that is run again adopts what it sent before."""
        orders = super().orders(programs, name=name, token=token, many=many)
        return [replace(order, key_origin="engine") for order in orders]


def _quantum(work: Work) -> QuantumTask:
    return QuantumTask(build_programs, _StepOptions(**work.options))


def _fan(fan_out: FanOut, *results: Any) -> list[Any]:
    """On a worker: submit one task per value, and wait without holding a thread."""
    with worker_client() as client:
        shared = client.scatter(list(results), hash=False) if results else []
        values: list[Any] = []
        for work in fan_out.works(results):
            kept = find_kept(work.result_file, work.key)
            values.append(kept if kept is not None else _submit(client, work, shared))
        gathered: list[Any] = client.gather(values)
    return gathered


def _error(future: Any) -> BaseException | None:
    if future.status == "finished":
        return None
    if future.status == "cancelled":
        return TaskCancelled("the run gave it up")
    try:
        error: BaseException | None = future.exception(timeout=LOST_S)
    except Exception as failure:  # the run must hear of its end all the same
        error = failure
    return error or InternalError(f"Dask lost the task ({future.status})")
