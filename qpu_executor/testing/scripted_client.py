"""A client without a manager: it accepts orders, and a test says how each one ends.

Answers come from its own thread, as a real client's come from its event loop.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from datetime import UTC, datetime
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

from qpu_executor.client.order import TaskOrder
from qpu_executor.client.result import Result
from qpu_executor.errors import TaskCancelled

AT = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)

Answer = Callable[[TaskOrder], Result | BaseException | None]
"""What happens to an order: a result, an error, or None for "not yet"."""


class ScriptedFuture(Future[Result]):
    """As a client's: the result to come, and the task's id."""

    def __init__(self, order: TaskOrder) -> None:
        super().__init__()
        self.order = order
        self.task_id: int | None = None
        self.set_running_or_notify_cancel()


def result_of(order: TaskOrder, task_id: int, qpu: str = "fake-1") -> Result:
    """A result with all shots in the state `0`."""
    return Result(
        task_id=task_id,
        name=order.name,
        counts=Counter({"0": order.shots}),
        shots=order.shots,
        qpu=order.qpu or qpu,
        device="FakeDevice",
        emulated=True,
        epochs=("e1",),
        seed=order.seed or 0,
        program_hash=order.program.hash,
        qubit_ids=("q0",),
        duration_ns=1000,
        submitted_at=AT,
        started_at=AT,
        ended_at=AT,
        chunks=(),
        history=(),
        versions={},
    )


class ScriptedClient:
    """Stands in for `Client`. `answer`: asked once per order; None leaves it open.

    `accepting`: False keeps orders without an id, as while their request is under way.
    """

    def __init__(self, answer: Answer | None = None) -> None:
        self.answer = answer
        self.accepting = True
        self.futures: list[ScriptedFuture] = []
        self.cancelled: list[int] = []
        self.sessions: list[tuple[str, str]] = []
        self.closed = 0
        self.thread_names: set[str] = set()
        self._ids = itertools.count(1)
        self._changed = threading.Condition()
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="scripted-client", daemon=True)
        self._thread.start()

    @property
    def orders(self) -> list[TaskOrder]:
        """What was ordered so far."""
        return [future.order for future in self.futures]

    def run_future(self, order: TaskOrder) -> ScriptedFuture:
        """Take an order."""
        future = ScriptedFuture(order)
        with self._changed:
            if self.accepting:
                future.task_id = next(self._ids)
            self.futures.append(future)
            self._changed.notify_all()
        if self.answer is not None:
            self._jobs.put(lambda: self._answer(future))
        return future

    def accept(self) -> None:
        """Give ids to the orders that have none."""
        with self._changed:
            self.accepting = True
            for future in self.futures:
                if future.task_id is None:
                    future.task_id = next(self._ids)

    def wait_for_orders(self, count: int, timeout_s: float = 60.0) -> list[ScriptedFuture]:
        """Wait until `count` orders have come. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.futures) >= count, timeout_s):
                raise TimeoutError(f"{len(self.futures)} of {count} orders have come")
            return list(self.futures)

    def finish(self, future: ScriptedFuture, outcome: BaseException | None = None) -> None:
        """End an order: with a result, or with `outcome`."""
        self._jobs.put(lambda: self._end(future, outcome))

    def cancel_tasks(self, ids: Iterable[int]) -> None:
        """Cancel: the tasks end as cancelled."""
        wanted = set(ids)
        self.cancelled.extend(sorted(wanted))
        for future in list(self.futures):
            if future.task_id in wanted:
                self.finish(future, TaskCancelled("the task was cancelled"))

    def open_session(self, name: str = "", key: str | None = None, terms: Any = None) -> Any:
        """A session, whatever it asks."""
        self.sessions.append(("open", key or name))
        return SimpleNamespace(id="session-1")

    def keep_session(self, session_id: str) -> None:
        """Renew it."""

    def cancel_session(self, session_id: str) -> None:
        """Cancel all that is open."""
        self.sessions.append(("cancel", session_id))

    def close_session(self, session_id: str) -> None:
        """End the session."""
        self.sessions.append(("close", session_id))

    def close(self) -> None:
        """End the thread."""
        self.closed += 1
        self._jobs.put(None)
        self._thread.join(10)

    def _answer(self, future: ScriptedFuture) -> None:
        assert self.answer is not None
        outcome = self.answer(future.order)
        if isinstance(outcome, BaseException):
            self._end(future, outcome)
        elif outcome is not None:
            future.set_result(outcome)

    def _end(self, future: ScriptedFuture, outcome: BaseException | None) -> None:
        if future.done():
            return
        if outcome is None:
            future.set_result(result_of(future.order, future.task_id or 0))
        else:
            future.set_exception(outcome)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
