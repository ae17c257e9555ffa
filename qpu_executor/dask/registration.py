"""Is QPUPlugin registered, and what can its manager do? Asked before a task is submitted.

Stock Dask lets a task that asks for an unknown resource wait for ever, so two
checks refuse it at once: `quantum_task()` asks the current client's scheduler;
and a scheduler without the plugin refuses to read a graph with a quantum task
(which also covers asynchronous clients, and tasks made before the client).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from distributed import Client, get_worker

from qpu_executor.dask import distributed_internals as internals
from qpu_executor.errors import QpuExecutorError, RequestRefused

if TYPE_CHECKING:
    from distributed import Scheduler

    from qpu_executor.dask.address import ManagerAddress
    from qpu_executor.dask.options import QuantumOptions

SCHEDULER_PLUGIN = "qpu-scheduler"
MEMORY_S = 10.0
"""How long a scheduler's answer is used again."""
ASK_MANAGER_S = 2.0
"""How long the scheduler waits for a manager that doesn't answer before it says "unknown"."""


@dataclass(frozen=True)
class Offer:
    """What a cluster's manager offers; None where the scheduler couldn't ask it."""

    manager: str
    qpus: tuple[str, ...] | None
    classes: tuple[str, ...] | None
    devices: tuple[str, ...] | None


_offers: WeakKeyDictionary[Client, tuple[float, Offer]] = WeakKeyDictionary()


def check_current_client(options: QuantumOptions, where: str) -> None:
    """Raise RequestRefused if the current client's cluster can't run this quantum task.

    Checks nothing without a client, on a worker, or where waiting for an answer
    would block an event loop (an asynchronous client).
    """
    client = _current_client()
    if client is None:
        return
    offer = _offer(client, fresh=False)
    if not _known(options, offer):
        offer = _offer(client, fresh=True)
    _refuse_unknown(options.qpu, offer.qpus, "QPU", offer.manager, where)
    _refuse_unknown(options.device, offer.devices, "device", offer.manager, where)
    _refuse_unknown(options.job_class, offer.classes, "job class", offer.manager, where)


def refuse_unregistered_scheduler() -> None:
    """Raise RequestRefused on a scheduler's event loop if it has no QPUPlugin."""
    schedulers = list(internals.schedulers_on_this_loop())
    if schedulers and not any(SCHEDULER_PLUGIN in one.plugins for one in schedulers):
        raise not_registered(schedulers[0].address)


def not_registered(where: str) -> RequestRefused:
    """The error of a cluster without the plugin."""
    return RequestRefused(
        "this Dask cluster has no QPUPlugin, so that it can't run quantum tasks",
        where=where,
        next_step="client.register_plugin(QPUPlugin())",
    )


async def read_offer(dask_scheduler: Scheduler) -> Offer | None:
    """Runs on the scheduler: what its manager offers; None without the plugin."""
    plugin = dask_scheduler.plugins.get(SCHEDULER_PLUGIN)
    address: ManagerAddress | None = getattr(plugin, "address", None)
    if address is None:
        return None
    try:
        client = await address.open(wait_s=ASK_MANAGER_S)
        try:
            found = await client.qpus()
            qpus = tuple(qpu.name for qpu in found)
            devices = tuple(dict.fromkeys(qpu.device for qpu in found))
            classes = tuple(job_class.name for job_class in await client.classes())
        finally:
            await client.close()
    except QpuExecutorError:
        # The tasks will say what is wrong: their workers may reach it, or know better.
        return Offer(address.url, None, None, None)
    return Offer(address.url, qpus, classes, devices)


def _current_client() -> Client | None:
    try:
        get_worker()
    except ValueError:
        pass
    else:
        return None
    current: Any = Client.current
    try:
        client: Client = current()
    except ValueError:
        return None
    return client if client.status == "running" and not client.asynchronous else None


def _offer(client: Client, *, fresh: bool) -> Offer:
    remembered = _offers.get(client)
    if remembered is not None and not fresh and time.monotonic() < remembered[0]:
        return remembered[1]
    ask: Any = client.run_on_scheduler
    offer: Offer | None = ask(read_offer)
    if offer is None:
        raise not_registered("the current Dask client's scheduler")
    _offers[client] = (time.monotonic() + MEMORY_S, offer)
    return offer


def _known(options: QuantumOptions, offer: Offer) -> bool:
    asked = (
        (options.qpu, offer.qpus),
        (options.device, offer.devices),
        (options.job_class, offer.classes),
    )
    return all(name is None or name in (known or ()) for name, known in asked)


def _refuse_unknown(
    asked: str | None, known: tuple[str, ...] | None, what: str, manager: str, where: str
) -> None:
    if asked is None or known is None or asked in known:
        return
    raise RequestRefused(
        f"there is no {what} {asked!r} at the manager {manager}",
        where=where,
        expected=f"one of: {', '.join(known)}" if known else f"nothing: it has no {what}",
        next_step="see: qpu info",
    )
