"""What a workflow does with the futures of quantum apps, and how failures are retried."""

from __future__ import annotations

import math
from typing import Any

from parsl.dataflow.futures import AppFuture
from parsl.executors.errors import InvalidResourceSpecification

from qpu_executor.errors import ManagerBusy, ManagerUnreachable
from qpu_executor.parsl.attempt import QuantumCall
from qpu_executor.parsl.options import CallSpec

FREE_RECONNECTS = 3
"""How often the loss of the manager costs no retry. Each has waited `wait_s` already, and a
manager that is gone for good must end a workflow some time."""


def cancel(future: AppFuture) -> bool:
    """Cancel a call of a quantum app: before its launch, while it waits, while it runs.

    Returns at once: True if the call is being cancelled, False if it has ended
    already or `future` is no quantum app's. The future then ends with
    TaskCancelled (or with its result, where that was quicker); a call that waits
    for the futures among its arguments ends once they have. It is not retried.
    """
    call = _call(future)
    if call is None or future.done():
        return False
    call.cancelled = True
    if (attempt := call.attempt) is not None:
        attempt.cancel()
    return True


def task_id(future: AppFuture) -> int | list[int | None] | None:
    """The manager's id of a call's task; a list for a list of programs.

    None while the manager hasn't accepted it, or if `future` is no quantum app's.
    """
    call = _call(future)
    if call is None or call.attempt is None:
        return None
    return call.attempt.task_ids()


def retry_handler(exception: BaseException, task_record: Any) -> float:
    """What a failure costs of Parsl's `Config(retries=...)`; for all apps of the workflow.

    0 for the loss of the manager (at most three times), infinity for what can't
    succeed by repeating it, 1 for anything else. Preemption costs nothing, since
    the manager goes on with the task by itself.
    """
    if isinstance(exception, ManagerUnreachable | ManagerBusy):
        return 0.0 if task_record["fail_count"] <= FREE_RECONNECTS else 1.0
    if getattr(exception, "permanent", False) is True:
        return math.inf
    if isinstance(exception, InvalidResourceSpecification):
        return math.inf
    return 1.0


def _call(future: AppFuture) -> QuantumCall | None:
    spec = getattr(future, "task_record", {}).get("resource_specification")
    return spec.call if isinstance(spec, CallSpec) else None
