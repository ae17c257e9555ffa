"""Plans on Parsl: classical tasks on a HighThroughputExecutor, quantum ones on QPUExecutor.

Steps are Parsl apps and dependencies are AppFutures. A fan-out whose length is a
result is a join app.
"""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from parsl.app.python import PythonApp
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors import HighThroughputExecutor
from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD
from parsl.providers import LocalProvider

from qpu_executor.parsl import QPUExecutor, quantum_app, retry_handler
from qpu_executor.pipelines.engines import interchange
from qpu_executor.pipelines.engines.base import EngineSettings, Handle, OnDone, OnWork
from qpu_executor.pipelines.packing import Kept, find_kept
from qpu_executor.pipelines.work import (
    FanOut,
    Work,
    build_programs,
    call_function,
    call_hybrid,
)

_App: Any = PythonApp
_Provider: Any = LocalProvider

_HTEX = "parsl.executors.high_throughput"
# By module and not by script name: the scripts are on the PATH of an activated environment only.
_WORKERS = DEFAULT_LAUNCH_CMD.replace(
    "process_worker_pool.py", f"{shlex.quote(sys.executable)} -m {_HTEX}.process_worker_pool"
)

_RETRIES = 1_000_000
"""Parsl's one limit for all apps; each step's own limit is in `_retry_cost`."""


class ParslEngine:
    """One Parsl kernel, of this run only."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._kernel: DataFlowKernel | None = None
        self._apps: dict[str, Callable[..., Any]] = {}

    def start(self) -> None:
        """Start workers and connect. Raises ManagerUnreachable."""
        settings = self._settings
        cpu = HighThroughputExecutor(
            label="cpu",
            address="127.0.0.1",
            max_workers_per_node=settings.workers,
            cores_per_worker=1e-6,
            provider=_Provider(init_blocks=1, max_blocks=1),
            encrypted=False,
            launch_cmd=_WORKERS,
            interchange_launch_cmd=[sys.executable, "-m", interchange.__name__],
            heartbeat_period=10,
            heartbeat_threshold=60,
        )
        qpu = QPUExecutor(label="qpu", manager=settings.manager, session=settings.session)
        self._kernel = DataFlowKernel(
            Config(
                executors=[cpu, qpu],
                run_dir=str(settings.directory),
                initialize_logging=False,
                retries=_RETRIES,
                retry_handler=_retry_cost,
                exit_mode="skip",
                usage_tracking=0,
            )
        )

        def classical(body: Callable[..., Any]) -> Callable[..., Any]:
            app: Callable[..., Any] = _App(body, data_flow_kernel=self._kernel, executors=["cpu"])
            return app

        self._apps = {
            "call": classical(call_function),
            "hybrid": classical(call_hybrid),
        }

    def submit(self, work: Work, dependencies: Sequence[Handle]) -> Handle:
        """Call the step's app; the arguments may be futures."""
        if work.step.kind != "quantum":
            return self._apps[work.step.kind](work, *dependencies)
        spec = {**work.options, "key_origin": "engine"}
        app = quantum_app(data_flow_kernel=self._kernel)(_named(work.name))
        return app(work, *dependencies, parsl_resource_specification=spec)

    def expand(self, fan_out: FanOut, dependencies: Sequence[Handle], on_work: OnWork) -> Handle:
        """A join app that calls the step's app once per value."""

        def fan(*results: Any) -> list[Handle]:
            handles = []
            for work in fan_out.works(results):
                kept = find_kept(work.result_file, work.key)
                handle = kept if kept is not None else self.submit(work, dependencies)
                on_work(work, handle)
                handles.append(_finished(kept) if kept is not None else handle)
            return handles

        join = _App(fan, data_flow_kernel=self._kernel, executors=["_parsl_internal"], join=True)
        return join(*dependencies)

    def watch(self, handle: Handle, on_done: OnDone) -> None:
        """Parsl calls back in one of its own threads."""
        handle.add_done_callback(lambda future: on_done(future, future.exception()))

    def value(self, handle: Handle) -> Any:
        """The result of a future that is done."""
        return handle.result() if isinstance(handle, Future) else handle

    def close(self) -> None:
        """End executors and their processes; quantum tasks that still run are cancelled."""
        kernel, self._kernel = self._kernel, None
        if kernel is not None:
            kernel.cleanup()


def _named(task: str) -> Callable[..., Any]:
    """The builder under the task's name, which errors of the app then show."""

    def build(work: Work, *results: Any) -> Any:
        return build_programs(work, *results)

    build.__name__ = build.__qualname__ = task
    return build


def _finished(kept: Kept) -> Future[Kept]:
    future: Future[Kept] = Future()
    future.set_result(kept)
    return future


def _retry_cost(error: BaseException, record: Any) -> float:
    """Parsl's price of a failure: nothing or infinity where QPUs say so, else the step's limit."""
    cost = retry_handler(error, record)
    if cost == 0 or math.isinf(cost):
        return cost
    work = record["args"][0] if record["args"] else None
    allowed = work.step.retries if isinstance(work, Work) else 0
    return 0.0 if record["fail_count"] <= allowed else math.inf
