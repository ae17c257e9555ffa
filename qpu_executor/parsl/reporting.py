"""What Parsl's monitoring database hears about quantum tasks: which QPU, from when to when."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from parsl.executors.base import ParslExecutor
from parsl.monitoring.message_type import MessageType

from qpu_executor.client import Result
from qpu_executor.parsl.attempt import Reporter

_TASK_ID = "_parsl_monitoring_task_id"
_TRY_ID = "_parsl_monitoring_try_id"


def take_reporter(
    executor: ParslExecutor, func: Callable[..., Any], kwargs: dict[str, Any]
) -> tuple[Callable[..., Any], dict[str, Any], Reporter | None]:
    """Take Parsl's monitoring wrapper off a builder, and report ourselves instead.

    The wrapper would tell when and on which host the builder ran; what matters
    is the QPU. Answers function, arguments, and what is to be called with the
    results of the try (None without monitoring).
    """
    if _TASK_ID not in kwargs:
        return func, kwargs, None
    kwargs = dict(kwargs)
    task_id, try_id = kwargs.pop(_TASK_ID), kwargs.pop(_TRY_ID)
    messages, run_id = executor.monitoring_messages, executor.run_id

    def report(results: Sequence[Result]) -> None:
        if messages is None:
            return
        started = [r.started_at for r in results if r.started_at is not None]
        ended = [r.ended_at for r in results if r.ended_at is not None]
        qpus = sorted({r.qpu for r in results if r.qpu is not None})
        for first, at in ((True, min(started, default=None)), (False, max(ended, default=None))):
            message = {
                "run_id": run_id,
                "task_id": task_id,
                "try_id": try_id,
                "hostname": ", ".join(qpus),
                "block_id": None,
                "first_msg": first,
                "last_msg": not first,
                "timestamp": _local(at),
            }
            messages.put((MessageType.WORKER_TASK_INFO, message))

    return getattr(func, "__wrapped__", func), kwargs, report


def _local(at: datetime | None) -> datetime:
    """An instant as Parsl writes it: local time without a zone."""
    return datetime.now() if at is None else at.astimezone().replace(tzinfo=None)
