"""QPUPlugin: what a user registers, once, with `client.register_plugin(QPUPlugin())`."""

from __future__ import annotations

from typing import Any

from qpu_executor.client.address import parse_address
from qpu_executor.dask.address import ManagerAddress, this_host
from qpu_executor.dask.owner import default_manager
from qpu_executor.dask.scheduler_plugin import QPUSchedulerPlugin


class QPUPlugin(QPUSchedulerPlugin):
    """Connects a Dask cluster to a QPU resource manager, on all workers present and to come.

    `manager`: its URL; if None, `QPU_MANAGER`, or an embedded manager that is
    started in this process and ends with it. `session`: the session that the
    tasks belong to. `wait_s`: how long a worker waits in all for a manager that
    doesn't answer.

    Without a URL this does what `connect()` does, takes as long, and raises the
    same errors. It happens here, and not when the plugin is sent, because the
    sending belongs to the event loop that a local cluster's scheduler lives on.
    """

    def __init__(
        self, manager: str | None = None, *, session: str | None = None, wait_s: float = 300.0
    ) -> None:
        if manager is None:
            url = default_manager.url()
        else:
            url = parse_address(manager, where="QPUPlugin").url
        super().__init__(ManagerAddress(url, this_host(), session, wait_s))

    def __reduce__(self) -> tuple[Any, ...]:
        # The cluster gets the address; the embedded manager stays with this process.
        return QPUSchedulerPlugin, (self.address,)
