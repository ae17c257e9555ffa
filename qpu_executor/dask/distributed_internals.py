"""What `distributed` does not document and this package relies on: all of it is in this file.

Checked against distributed 2026.8; `tests/unit/test_dask_internals.py` pins every
one, so that a new version that changes them fails there and not in a workflow.
`Worker.get_current_task()` is documented, and knows tasks in threads only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from distributed import Scheduler
from distributed.core import Status
from distributed.worker_state_machine import SecedeEvent

if TYPE_CHECKING:
    from distributed import Worker
    from distributed.scheduler import TaskState as SchedulerTask
    from distributed.scheduler import WorkerState
    from distributed.worker_state_machine import TaskState as WorkerTask

LIVE = frozenset({"executing", "long-running"})
"""States of a worker's task whose result somebody waits for."""


def running_task(worker: Worker) -> WorkerTask | None:
    """The Dask task whose coroutine is running now; None outside of one.

    A worker names the asyncio task of a Dask task `execute(<repr of its key>)`.
    """
    current = asyncio.current_task()
    if current is None:
        return None
    name = current.get_name()
    for tasks in (worker.state.executing, worker.state.long_running):
        for ts in tasks:
            if name == f"execute({ts.key!r})":
                return ts
    return None


def secede(worker: Worker, ts: WorkerTask, compute_s: float) -> None:
    """Give the thread slot of a running task back (`distributed.secede()` needs a thread)."""
    worker.handle_stimulus(
        SecedeEvent(key=ts.key, compute_duration=compute_s, stimulus_id=_stimulus("secede"))
    )


def is_closing(worker: Worker) -> bool:
    """True while the worker ends: its tasks are run again elsewhere."""
    return worker.status in (
        Status.closing,
        Status.closing_gracefully,
        Status.closed,
        Status.failed,
    )


def offer_on_worker(worker: Worker, resource: str, amount: float) -> None:
    """Set what a worker has of a resource; what its tasks hold now stays counted.

    Only the worker's own books: `Worker.set_resources` would also reset those of
    the scheduler to "nothing is used" while tasks hold some.
    """
    state = worker.state
    held = state.total_resources.get(resource, 0.0) - state.available_resources.get(resource, 0.0)
    state.total_resources[resource] = amount
    state.available_resources[resource] = amount - held


def offer_on_scheduler(
    scheduler: Scheduler, worker: WorkerState, resource: str, amount: float
) -> None:
    """Set what the scheduler thinks that a worker has; what is in use stays counted."""
    worker.resources[resource] = amount
    worker.used_resources.setdefault(resource, 0)
    scheduler.resources.setdefault(resource, {})[worker.address] = amount


def start_stuck_tasks(scheduler: Scheduler, worker: WorkerState) -> None:
    """Send tasks that found no worker before to one that can run them now."""
    moves = scheduler.bulk_schedule_unrunnable_after_adding_worker(worker)
    scheduler.transitions(moves, _stimulus("offer"))


def function_of(task: SchedulerTask | WorkerTask) -> Any:
    """The callable that a task calls directly; None for data, aliases and fused graphs."""
    return getattr(task.run_spec, "func", None)


def schedulers_on_this_loop() -> Iterator[Scheduler]:
    """Schedulers that run on the current thread's event loop (none outside of one)."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    for scheduler in list(Scheduler._instances):
        own: Any = scheduler.loop
        if scheduler.status is Status.running and own.asyncio_loop is loop:
            yield scheduler


def _stimulus(what: str) -> str:
    return f"qpu-{what}-{uuid4().hex}"
