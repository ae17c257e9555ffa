"""The scheduler's side: the resource on every worker, and a name for every submission."""

from __future__ import annotations

import logging
import pickle
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from distributed import SchedulerPlugin

from qpu_executor.dask import distributed_internals as internals
from qpu_executor.dask.address import ManagerAddress
from qpu_executor.dask.orphans import Orphans
from qpu_executor.dask.quantum_run import TOKEN
from qpu_executor.dask.quantum_task import QuantumTask
from qpu_executor.dask.registration import SCHEDULER_PLUGIN
from qpu_executor.dask.resource import CAPACITY, RESOURCE
from qpu_executor.dask.worker_plugin import WORKER_PLUGIN, QPUWorkerPlugin
from qpu_executor.errors import QpuExecutorError

logger = logging.getLogger(__name__)

RENEWING_WAIT_S = 5.0
"""The scheduler waits so long for a manager that it needs for a session's lease alone."""

if TYPE_CHECKING:
    from dask.typing import Key
    from distributed import Scheduler

    from qpu_executor.client import AsyncClient


class QPUSchedulerPlugin(SchedulerPlugin):
    """What QPUPlugin becomes on the scheduler. Registering it again replaces it.

    `address`: the manager of this cluster.
    """

    name = SCHEDULER_PLUGIN

    def __init__(self, address: ManagerAddress) -> None:
        self.address = address
        self._orphans = Orphans(address)
        self._renewing: AsyncClient | None = None

    async def start(self, scheduler: Scheduler) -> None:
        """Put the worker's side on all workers, those to come included.

        Runs when the plugin is registered, and again if the scheduler starts after that.
        """
        before = scheduler.plugins.get(self.name)
        if isinstance(before, QPUSchedulerPlugin) and before.address == self.address:
            self._orphans = before._orphans
        else:
            worker_plugin = pickle.dumps(QPUWorkerPlugin(self.address))
            await scheduler.register_worker_plugin(
                None, worker_plugin, WORKER_PLUGIN, idempotent=False
            )
        # From here to the end without a pause: no worker or graph may come in between.
        if before is not None and before is not self:
            scheduler.remove_plugin(self.name)
        for worker in list(scheduler.workers):
            self.add_worker(scheduler, worker)
            internals.start_stuck_tasks(scheduler, scheduler.workers[worker])
        await self._renew_session()

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        """A worker joined; its own side counts the resource before it takes any task."""
        internals.offer_on_scheduler(scheduler, scheduler.workers[worker], RESOURCE, CAPACITY)

    def update_graph(self, scheduler: Scheduler, *, tasks: list[Key], **_: Any) -> None:
        """Name every new quantum task. The name stays when Dask runs the task again."""
        for key in tasks:
            ts = scheduler.tasks.get(key)
            if ts is None or not isinstance(internals.function_of(ts), QuantumTask):
                continue
            annotations = dict(ts.annotations or {})
            if TOKEN not in annotations:
                annotations[TOKEN] = uuid4().hex
                ts.annotations = annotations
                self._orphans.add(key, annotations[TOKEN])

    def transition(self, key: Key, start: str, finish: str, *_: Any, **__: Any) -> None:
        """Dask moved a task: was a quantum task forgotten before it ended?"""
        self._orphans.move(key, finish)

    async def before_close(self) -> None:
        """The scheduler ends: so do the tasks that nobody will ask for."""
        await self._orphans.close()
        renewing, self._renewing = self._renewing, None
        if renewing is not None:
            await renewing.close()

    async def _renew_session(self) -> None:
        """Renew the session's lease, if it has one, while the cluster lives."""
        if self.address.session is None or self._renewing is not None:
            return
        client = None
        try:
            client = await self.address.open(wait_s=RENEWING_WAIT_S)
            await client.keep_session(self.address.session)
        except QpuExecutorError as error:
            logger.warning("the scheduler doesn't renew the tasks' session: %s", error)
            if client is not None:
                await client.close()
            return
        self._renewing = client
