"""What works between an executor's start and its shutdown.

    Parsl's launch thread --launch--> builder threads: user's function -> programs
        -> client.run_future (its own event loop, no thread per task)
        -> completion thread: results to Parsl, which runs users' callbacks there

Neither the launch thread nor the client's event loop ever runs a user's code.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, Protocol

from qpu_executor.client import TaskOrder
from qpu_executor.errors import ConfigError, QpuExecutorError
from qpu_executor.parsl.attempt import Attempt, TaskFutureLike, as_exception
from qpu_executor.parsl.building import build_programs
from qpu_executor.parsl.cancelling import Canceller, CancelsTasks
from qpu_executor.parsl.options import check_values
from qpu_executor.parsl.threads import DaemonPool
from qpu_executor.programs.program import Program

logger = logging.getLogger(__name__)

MAX_NAME = 200
"""Longest name of a task (API v1)."""
CLOSE_S = 10.0
"""How long a shutdown waits for each of: the manager, the builders, users' callbacks."""


def not_running(label: str) -> ConfigError:
    """The error of a call that reaches an executor before its start or after its shutdown."""
    return ConfigError(
        "the executor isn't running",
        where=f"QPUExecutor(label={label!r})",
        next_step="call apps while the Parsl configuration is loaded",
    )


class EngineClient(CancelsTasks, Protocol):
    """The part of `qpu_executor.client.Client` that the executor uses."""

    def run_future(self, order: TaskOrder, /) -> TaskFutureLike:
        """Submit, and answer with a future of the result."""

    def cancel_session(self, session_id: str, /) -> object:
        """Cancel what still runs in a session."""

    def close_session(self, session_id: str, /) -> object:
        """End a session."""

    def close(self) -> None:
        """End the connection (and an embedded manager with it)."""


class Engine:
    """The threads and the connection of one running executor.

    `session`: of the tasks, None for the client's own. `owns_session`: end it on
    close, with all that is still alive in it.
    """

    def __init__(
        self,
        client: EngineClient,
        *,
        label: str,
        builder_threads: int,
        session: str | None,
        owns_session: bool,
    ) -> None:
        self._client = client
        self._label = label
        self._session = session
        self._owns_session = owns_session
        self._builders = DaemonPool(f"{label}-builder", builder_threads)
        # Apart from the builders: a long classical function must not keep QPU work back.
        self._classical = DaemonPool(f"{label}-classical", builder_threads)
        self._completions = DaemonPool(f"{label}-completion")
        self._canceller = Canceller(client, f"{label}-cancel")
        self._live: set[Attempt] = set()
        self._open = True
        self._gate = threading.Lock()

    def launch(
        self, attempt: Attempt, options: Mapping[str, Any], build: Callable[[], object]
    ) -> Future[Any]:
        """Start a try: only queues, so that Parsl's launch thread goes on at once."""
        attempt.future.add_done_callback(lambda _: self._live.discard(attempt))
        with self._gate:
            self._check_open()
            self._live.add(attempt)
            self._builders.submit(self._build, attempt, options, build)
        return attempt.future

    def run_classical(self, function: Callable[[], object]) -> Future[Any]:
        """Run a function that has nothing to do with the QPU, in this process."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        with self._gate:
            self._check_open()
            self._classical.submit(self._call, future, function)
        return future

    def cancel(self, attempt: Attempt) -> None:
        """Ask for an early end; returns at once. `attempt.call.cancelled` is set already."""
        if attempt.claim():
            self._completions.submit(attempt.fail_cancelled, "cancelled before it was submitted")
        else:
            self._canceller.request(attempt.tasks)

    def close(self) -> None:
        """Cancel what still runs, answer every future, end threads and connection."""
        with self._gate:
            self._open = False
            live = list(self._live)
        for attempt in live:
            attempt.call.cancelled = True
        stopper = DaemonPool(f"{self._label}-stop")
        stopper.submit(self._stop_tasks, live)
        if not stopper.close(CLOSE_S):
            logger.warning("the manager hasn't confirmed that tasks of %r ended", self._label)
        for attempt in live:
            self._completions.submit(attempt.fail_cancelled, "its executor was shut down")
        for pool in (self._builders, self._classical, self._completions):
            if not pool.close(CLOSE_S):
                logger.warning("a function of %r is still running at shutdown", self._label)
        self._client.close()

    def _check_open(self) -> None:
        if not self._open:
            raise not_running(self._label)

    def _stop_tasks(self, live: list[Attempt]) -> None:
        try:
            for attempt in live:
                attempt.cancel()
            self._canceller.close(CLOSE_S)
            if self._owns_session and self._session is not None:
                if live:
                    self._client.cancel_session(self._session)
                self._client.close_session(self._session)
        except QpuExecutorError as error:
            logger.warning("ending the tasks of %r: %s", self._label, error)

    def _build(
        self, attempt: Attempt, options: Mapping[str, Any], build: Callable[[], object]
    ) -> None:
        if not attempt.claim():
            return
        try:
            self._submit(attempt, options, build)
        except BaseException as error:  # must reach the future, or the workflow hangs
            self._completions.submit(attempt.fail, error)

    def _submit(
        self, attempt: Attempt, options: Mapping[str, Any], build: Callable[[], object]
    ) -> None:
        app = attempt.call.app
        options = check_values(options, f"quantum app {app!r}")
        programs, many = build_programs(app, build)
        if not programs:
            self._completions.submit(attempt.expect, 0, many)
            return
        if attempt.call.cancelled:
            self._completions.submit(attempt.fail_cancelled, "cancelled before it was submitted")
            return
        attempt.expect(len(programs), many)
        orders = self._orders(attempt, options, programs, many)
        attempt.tasks = tasks = [self._client.run_future(order) for order in orders]
        for index, task in enumerate(tasks):
            task.add_done_callback(partial(self._answered, attempt, index))
        if attempt.call.cancelled:  # asked for while the tasks were on their way
            self._canceller.request(tasks)

    def _orders(
        self, attempt: Attempt, options: Mapping[str, Any], programs: list[Program], many: bool
    ) -> list[TaskOrder]:
        given = dict(options)
        name = given.pop("name", attempt.call.app)
        key = given.pop("key", None)
        # A key that we derive belongs to the call, whatever its builder makes of it.
        origin = given.pop("key_origin", "engine" if key is None else "user")
        key = attempt.key if key is None else key
        return [
            TaskOrder(
                program=program,
                name=(f"{name}[{index}]" if many else name)[:MAX_NAME],
                key=f"{key}#{index}" if many else key,
                key_origin=origin,
                session=self._session,
                **given,
            )
            for index, program in enumerate(programs)
        ]

    def _answered(self, attempt: Attempt, index: int, task: TaskFutureLike) -> None:
        """In the client's event loop: hand over, nothing more."""
        self._completions.submit(attempt.collect, index, task)

    def _call(self, future: Future[Any], function: Callable[[], object]) -> None:
        try:
            outcome = partial(future.set_result, function())
        except BaseException as error:  # whatever it was, the future must end
            outcome = partial(future.set_exception, as_exception(error))
        self._completions.submit(outcome)
