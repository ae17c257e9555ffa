"""A call of a quantum app, and each try of it.

A call keeps its identity over Parsl's retries, and with it the keys of its
tasks: a retry adopts what is still alive at the manager, and is a new attempt
where the last one failed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from typing import Any, Protocol
from uuid import uuid4

from qpu_executor.client import Result
from qpu_executor.errors import QpuExecutorError, TaskCancelled

logger = logging.getLogger(__name__)


class TaskFutureLike(Protocol):
    """What a client's `run_future` gives: a future that knows its task's id once there is one."""

    task_id: int | None

    def done(self) -> bool:
        """True once there is a result or an error."""

    def result(self) -> Result:
        """The result; raises the task's error."""

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Call back when done."""


Reporter = Callable[[Sequence[Result]], None]
"""Told what was measured in a try."""


class QuantumCall:
    """One call of a quantum app. `cancelled`: asked for; later tries end at once."""

    def __init__(self, app: str) -> None:
        self.app = app
        self.token = uuid4().hex
        self.cancelled = False
        self.attempt: Attempt | None = None

    def key(self, run_id: str | None) -> str:
        """The idempotency key of the call's task in a Parsl run, the same for every try."""
        return f"parsl:{run_id}:{self.token}"


class Attempt:
    """One try of a call: the executor's future, and the tasks that it waits for.

    Exactly one outcome wins; whatever comes later is dropped. `cancel_at_manager`
    is how to ask for an early end of the attempt's tasks. `report` gets the
    results, as many as there are, before the future has its answer.
    """

    def __init__(
        self,
        call: QuantumCall,
        key: str,
        cancel_at_manager: Callable[[Attempt], None],
        report: Reporter | None = None,
    ) -> None:
        self.call = call
        self.key = key
        self.future: Future[Any] = Future()
        # A cancelled executor future counts as a failure for Parsl, and is retried.
        self.future.set_running_or_notify_cancel()
        self.future.parsl_executor_task_id = key  # type: ignore[attr-defined]
        self.tasks: Sequence[TaskFutureLike] = ()
        self._cancel_at_manager = cancel_at_manager
        self._report = report
        self._lock = threading.Lock()
        self._claimed = False
        self._many = False
        self._missing = 0
        self._results: list[Result | None] = []
        self._errors: dict[int, BaseException] = {}

    def claim(self) -> bool:
        """True for the first who asks: the builder that starts, or the one who cancels before."""
        with self._lock:
            claimed, self._claimed = self._claimed, True
            return not claimed

    def cancel(self) -> None:
        """Ask for an early end, wherever the attempt is."""
        self._cancel_at_manager(self)

    def task_ids(self) -> int | list[int | None] | None:
        """The manager's ids of its tasks, None where there is none yet."""
        ids = [task.task_id for task in self.tasks]
        if self._many:
            return ids
        return ids[0] if ids else None

    def expect(self, count: int, many: bool) -> None:
        """Wait for the results of `count` programs; `many`: answer with a list."""
        self._many = many
        self._missing = count
        self._results = [None] * count
        if not count:
            self.succeed([])

    def collect(self, index: int, task: TaskFutureLike) -> None:
        """Take the answer of program `index`; the last one decides the outcome."""
        try:
            self._results[index] = task.result()
        except BaseException as error:  # whatever ended the wait ends the attempt
            self._errors[index] = error
        self._missing -= 1
        if self._missing:
            return
        measured = [result for result in self._results if result is not None]
        if self._report is not None and measured:
            try:
                self._report(measured)
            except Exception:  # monitoring must not cost anybody a result
                logger.warning("no monitoring report for %s", self.key, exc_info=True)
        if self._errors:
            self.fail(self._error())
        else:
            self.succeed(self._results if self._many else self._results[0])

    def succeed(self, value: object) -> None:
        """Set the result, unless the attempt has ended."""
        try:
            self.future.set_result(value)
        except InvalidStateError:
            return

    def fail(self, error: BaseException) -> None:
        """Set the error, unless the attempt has ended."""
        try:
            self.future.set_exception(as_exception(error))
        except InvalidStateError:
            return

    def fail_cancelled(self, why: str) -> None:
        """End as cancelled, without waiting for the manager."""
        self.fail(TaskCancelled(why, where=f"quantum app {self.call.app!r}"))

    def _error(self) -> BaseException:
        """The error that the attempt ends with: one that can't be repaired, else the first.

        For a list of programs it carries `results` (None where there is none) and
        `errors` (by index), so that nothing that ran is lost.
        """
        index = min(
            self._errors, key=lambda i: (not getattr(self._errors[i], "permanent", False), i)
        )
        error = self._errors[index]
        if self._many and isinstance(error, QpuExecutorError):
            total, failed = len(self._results), len(self._errors)
            place = f"quantum app {self.call.app!r}, item {index} of {total}"
            more = f" ({failed} failed)" if failed > 1 else ""
            error.where = f"{place}{more}" + (f": {error.where}" if error.where else "")
        if self._many:
            error.results = list(self._results)  # type: ignore[attr-defined]
            # Itself left out of its own copy: a cycle would keep every result alive.
            error.errors = {  # type: ignore[attr-defined]
                i: e for i, e in self._errors.items() if i != index
            }
            error.index = index  # type: ignore[attr-defined]
        return error


def as_exception(error: BaseException) -> Exception:
    """The error, so that Parsl hears of it: an app that fails with another kind never ends."""
    if isinstance(error, Exception):
        return error
    found = RuntimeError(f"{type(error).__name__}: {error}")
    found.__cause__ = error
    return found
