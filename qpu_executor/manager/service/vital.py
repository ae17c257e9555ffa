"""Parts that run for as long as the manager does: one that dies takes it along.

Without the part that wakes the core, or the one that ends sessions, a manager would go on
answering that all is well. It ends instead, so that it is started again or a standby
takes over; everything is in the store.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine

from qpu_executor.cancellation import CancelledElsewhereError
from qpu_executor.errors import InternalError, QpuExecutorError

log = logging.getLogger(__name__)

Died = Callable[[QpuExecutorError], None]
"""Is told why the manager can't go on."""


def vital(work: Coroutine[None, None, None], name: str, died: Died) -> asyncio.Task[None]:
    """Run a part. `died` is told of whatever ends it, but of a cancellation of the task."""

    def ended(task: asyncio.Task[None]) -> None:
        if task.cancelled():
            error = None if task.cancelling() else _elsewhere()
        else:
            error = task.exception()
        if isinstance(error, QpuExecutorError):
            died(error)
        elif error is not None:
            log.error("the manager's part for %s failed", name, exc_info=error)
            died(InternalError(f"the manager's part for {name} failed: {error!r}"))

    task = asyncio.get_running_loop().create_task(work, name=name)
    task.add_done_callback(ended)
    return task


def _elsewhere() -> BaseException:
    return CancelledElsewhereError("what it waited for was cancelled")
