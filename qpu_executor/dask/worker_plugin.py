"""The worker's side: offers the QPU resource, runs quantum tasks, sees Dask release them.

A plugin whose set-up raises or blocks would freeze its worker: set-up here
only stores and counts. A manager that can't be reached is the error of the
tasks that need it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from distributed import WorkerPlugin

from qpu_executor.dask import distributed_internals as internals
from qpu_executor.dask.address import ManagerAddress
from qpu_executor.dask.connection import Connection
from qpu_executor.dask.quantum_run import QuantumRun
from qpu_executor.dask.resource import CAPACITY, RESOURCE
from qpu_executor.programs.pulser_pickling import install_if_imported

if TYPE_CHECKING:
    from dask.typing import Key
    from distributed import Worker

    from qpu_executor.client import Result
    from qpu_executor.dask.quantum_task import QuantumTask

WORKER_PLUGIN = "qpu-worker"
WITHDRAW_S = 5.0
"""How long a closing worker goes on with cancellations that it has begun."""

log = logging.getLogger("qpu_executor.dask")

_runs: WeakKeyDictionary[Worker, dict[Key, set[QuantumRun]]] = WeakKeyDictionary()
"""Of every worker of this process. A plugin that replaces another finds its runs here."""


class QPUWorkerPlugin(WorkerPlugin):
    """One per worker; QPUPlugin registers it."""

    name = WORKER_PLUGIN

    def __init__(self, address: ManagerAddress) -> None:
        self._address = address
        self._withdrawals: set[asyncio.Task[None]] = set()

    def setup(self, worker: Worker) -> None:
        """Offer the resource. Connects to nothing."""
        self._worker = worker
        self._connection = Connection(self._address)
        self._runs = _runs.setdefault(worker, {})
        internals.offer_on_worker(worker, RESOURCE, CAPACITY)

    async def teardown(self, worker: Worker) -> None:
        """End cancellations that have begun, and the connection once nobody uses it."""
        try:
            if self._withdrawals:
                await asyncio.wait(self._withdrawals, timeout=WITHDRAW_S)
            await self._connection.close()
        except Exception as error:
            log.warning("the connection to the manager did not end cleanly: %r", error)

    def transition(self, key: Key, start: str, finish: str, **_: Any) -> None:
        """Dask moved a task: was one released that waits for the manager?"""
        if finish == "memory":
            # A classical task may return Pulser's objects, some of which don't pickle unaided.
            install_if_imported()
        if finish == "released" and start in internals.LIVE:
            for run in self._runs.get(key, ()):
                self._worker.loop.add_callback(run.note_release)

    async def run(
        self, quantum: QuantumTask, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Result | list[Result]:
        """Run a quantum task to its end. Call it from the Dask task's own coroutine."""
        ts = internals.running_task(self._worker)
        run = QuantumRun(self._worker, ts, quantum, self._connection, self._withdrawals)
        if ts is None:
            return await run.result(args, kwargs)
        runs = self._runs.setdefault(ts.key, set())
        runs.add(run)
        try:
            return await run.result(args, kwargs)
        finally:
            runs.discard(run)
            if not runs and self._runs.get(ts.key) is runs:
                del self._runs[ts.key]
