"""Client: the manager's verbs for plain Python, over one AsyncClient on one daemon thread.

May be used from any thread of its process. Futures and waits cost no thread
each. A client that was forgotten is closed when it is collected, or at exit. Longer
than other files because every route of the API is a method here.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar

from qpu_executor.client.address import Address
from qpu_executor.client.async_client import AsyncClient
from qpu_executor.client.credentials import Credentials
from qpu_executor.client.futures import Orders, TaskFuture
from qpu_executor.client.loop_thread import LoopThread
from qpu_executor.client.operating import Operating
from qpu_executor.client.order import TaskOrder, order_of
from qpu_executor.client.result import Result
from qpu_executor.client.session_terms import SessionKind, SessionTerms
from qpu_executor.client.tasks import AsyncTask, Task
from qpu_executor.errors import CallerError, QpuExecutorError
from qpu_executor.model.sessions import TaskFate
from qpu_executor.model.states import TaskState
from qpu_executor.programs.program import Program
from qpu_executor.wire.policy import EstimateOut, SharesOut, WhyOut, WindowOut
from qpu_executor.wire.queue import QueueOut
from qpu_executor.wire.sessions import HeartbeatOut, SessionOut
from qpu_executor.wire.site import (
    EventOut,
    HealthOut,
    JobClassOut,
    QpuDetail,
    QpuOut,
)
from qpu_executor.wire.tasks import TaskDetail, TaskOut

T = TypeVar("T")


class Client(Operating):
    """A connection to a manager. Get one from `connect()`; close it, or use `with`."""

    _client: AsyncClient

    def __init__(
        self,
        address: Address,
        *,
        session: str | None = None,
        wait_s: float = 300.0,
        credentials: Credentials | None = None,
        ended: Callable[[], QpuExecutorError | None] = lambda: None,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self._thread = LoopThread("qpu-client")
        self._client = AsyncClient(
            address, session=session, wait_s=wait_s, credentials=credentials, ended=ended
        )
        self._on_close = on_close
        self._lock = threading.Lock()
        self._orders = Orders(self._client)
        self._closer: weakref.finalize[..., Client] | None = None

    @property
    def url(self) -> str:
        """The manager's URL: other processes connect to it."""
        return self._client.url

    def start(self) -> Self:
        """Start the thread and say hello. Raises ManagerUnreachable. Idempotent."""
        with self._lock:
            if self._closer is None:
                self._thread.start()
                # Holds no reference to this object: runs when it is collected, or at exit.
                self._closer = weakref.finalize(
                    self, _close, self._thread, self._client, self._orders, self._on_close
                )
                try:
                    self._thread.run(self._client.start())
                except BaseException:
                    self._closer()
                    raise
        return self

    def close(self) -> None:
        """Close connections and end the thread. Tasks go on at the manager. Idempotent."""
        if self._closer is not None:
            self._closer()

    @property
    def closed(self) -> bool:
        """True once it was closed; it can't be opened again."""
        return self._closer is not None and not self._closer.alive

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> str:
        raise TypeError("a client doesn't pickle: send client.url and connect() over there")

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of this client's AsyncClient and wait for it."""
        return self._thread.run(work)

    # Submitting and waiting

    def submit(
        self,
        program: Program | Any,
        shots: int,
        *,
        job_class: str | None = None,
        qpu: str | None = None,
        priority: int = 0,
        seed: int | None = None,
        name: str = "",
        key: str | None = None,
        key_origin: Literal["user", "engine"] = "user",
        account: str | None = None,
        session: str | None = None,
        held: bool = False,
        **wishes: Any,
    ) -> Task:
        """Submit one task: a Pulser sequence, a Program, or abstract-representation JSON.

        The options are the fields of TaskOrder; `wishes`: those about time and
        calibration, and `stop_when`. Raises BuilderError or ProgramError for what is no
        program, and the manager's refusal.
        """
        order = order_of(
            program,
            shots,
            job_class=job_class,
            qpu=qpu,
            priority=priority,
            seed=seed,
            name=name,
            key=key,
            key_origin=key_origin,
            account=account,
            session=session,
            held=held,
            **wishes,
        )
        return Task(self, self.call(self._client.submit_order(order)))

    def submit_each(self, orders: Iterable[TaskOrder]) -> list[Task | QpuExecutorError]:
        """Submit orders; per order its task, or the error that refused it."""
        answers = self.call(self._client.submit_each(list(orders)))
        return [Task(self, item) if isinstance(item, AsyncTask) else item for item in answers]

    def submit_many(self, orders: Iterable[TaskOrder]) -> list[Task]:
        """Submit orders. Raises the first refusal (the others were submitted all the same)."""
        return self._tasks(self._client.submit_many(list(orders)))

    def run_future(self, order: TaskOrder) -> TaskFuture:
        """Submit an order and wait for its result in the background.

        Never blocks: refusals are the future's exception. Orders that come
        together travel together.
        """
        future = TaskFuture(self)
        future.set_running_or_notify_cancel()
        try:
            self._orders.add(order, future, self._thread)
        except QpuExecutorError as error:
            future.set_exception(error)
        return future

    # Tasks

    def task(self, task_id: int) -> Task:
        """A task by id. Raises UnknownTask."""
        return Task(self, self.call(self._client.task(task_id)))

    def task_detail(self, task_id: int) -> TaskDetail:
        """A task with its chunks and the times of its states. Raises UnknownTask."""
        return self.call(self._client.task_detail(task_id))

    def tasks(
        self,
        *,
        ids: Sequence[int] | None = None,
        states: Iterable[TaskState] = (),
        session: str | None = None,
        limit: int | None = None,
    ) -> list[Task]:
        """The caller's tasks, by id; unknown ids are left out. `limit`: at most so many."""
        return self._tasks(self._client.tasks(ids=ids, states=states, session=session, limit=limit))

    def queue(self, limit: int = 1000) -> QueueOut:
        """Everybody's tasks that wait or run, as far as the site shows them to the caller."""
        return self.call(self._client.queue(limit))

    def results(self, ids: Iterable[int]) -> dict[int, Result]:
        """Results by task id of those that are COMPLETED; doesn't wait."""
        return self.call(self._client.results(ids))

    def partial_result(self, task_id: int) -> Result:
        """The shots that were counted so far. Raises UnknownTask, IllegalMove, TaskFailed."""
        return self.call(self._client.partial_result(task_id))

    def cancel_tasks(self, ids: Iterable[int]) -> list[Task]:
        """Ask for the end of tasks; those that have ended stay as they are."""
        return self._tasks(self._client.cancel_tasks(ids))

    def hold_tasks(self, ids: Iterable[int]) -> list[Task]:
        """Keep tasks back."""
        return self._tasks(self._client.hold_tasks(ids))

    def release_tasks(self, ids: Iterable[int]) -> list[Task]:
        """Let held tasks go on."""
        return self._tasks(self._client.release_tasks(ids))

    def requeue_tasks(self, ids: Iterable[int]) -> list[Task]:
        """Stop the chunks of running tasks and queue these again, with the shots they have."""
        return self._tasks(self._client.requeue_tasks(ids))

    def why(self, task_id: int) -> WhyOut:
        """Why a task isn't running now, and when it is expected to. Raises UnknownTask."""
        return self.call(self._client.why(task_id))

    def estimate(self, program: Program | Any, shots: int, **options: Any) -> EstimateOut:
        """What a task would need, and whether it would be refused; nothing is submitted.

        Takes what `submit()` takes, and raises what it raises for what is no program.
        """
        return self.call(self._client.estimate(program, shots, **options))

    def program(self, program_hash: str) -> Program:
        """A program that the caller has submitted, by its hash. Raises UnknownTask."""
        return self.call(self._client.program(program_hash))

    # The site

    def health(self) -> HealthOut:
        """Who answers."""
        return self.call(self._client.health())

    def qpus(self) -> list[QpuOut]:
        """All QPUs."""
        return self.call(self._client.qpus())

    def qpu(self, name: str) -> QpuDetail:
        """One QPU with its device. Raises RequestRefused for an unknown name."""
        return self.call(self._client.qpu(name))

    def devices(self) -> dict[str, Any]:
        """The devices that sequences are built for, by the names of their QPUs.

        `pulser.devices.Device`s, or virtual ones of some emulators. QPUs that aren't Pulser
        devices are left out. Raises ConfigError where Pulser isn't installed.
        """
        return self.call(self._client.devices())

    def classes(self) -> list[JobClassOut]:
        """All job classes, the most urgent first."""
        return self.call(self._client.classes())

    def shares(self) -> SharesOut:
        """Accounts and classes against their shares, and the charging table."""
        return self.call(self._client.shares())

    def windows(self) -> list[WindowOut]:
        """Maintenance and reservations that are on or planned, the soonest first."""
        return self.call(self._client.windows())

    def open_session(
        self,
        name: str = "",
        key: str | None = None,
        *,
        account: str | None = None,
        terms: SessionTerms | None = None,
        user: str | None = None,
        uid: int | None = None,
        kind: SessionKind = "run",
    ) -> SessionOut:
        """Open a session; the same `key` gives the same session. See AsyncClient."""
        return self.call(
            self._client.open_session(
                name, key, account=account, terms=terms, user=user, uid=uid, kind=kind
            )
        )

    def keep_warm(
        self,
        session_id: str,
        *,
        linger_s: float | None = None,
        run_s: float | None = None,
        qpu: str | None = None,
    ) -> SessionOut:
        """Keep a QPU for a session: after each of its tasks, or for a contiguous run."""
        return self.call(
            self._client.keep_warm(session_id, linger_s=linger_s, run_s=run_s, qpu=qpu)
        )

    def give_back(self, session_id: str) -> SessionOut:
        """Keep no QPU for a session any more."""
        return self.call(self._client.give_back(session_id))

    def sessions(self) -> list[SessionOut]:
        """The caller's sessions, newest first."""
        return self.call(self._client.sessions())

    def session(self, session_id: str) -> SessionOut:
        """A session by id."""
        return self.call(self._client.session(session_id))

    @contextmanager
    def in_session(
        self,
        name: str = "",
        key: str | None = None,
        *,
        account: str | None = None,
        terms: SessionTerms | None = None,
    ) -> Iterator[SessionOut]:
        """A session with a lease for a block: submissions in it that name none belong to it."""
        block = self._client.in_session(name, key, account=account, terms=terms)
        session = self.call(_enter(block))
        try:
            yield session
        finally:
            self.call(_leave(block))

    def keep_session(self, session_id: str) -> SessionOut:
        """Renew a session that was opened elsewhere, if it has a lease."""
        return self.call(self._client.keep_session(session_id))

    def heartbeat(self, session_id: str) -> HeartbeatOut:
        """Renew a session once. Raises RequestRefused for one that has ended."""
        return self.call(self._client.heartbeat(session_id))

    def close_session(self, session_id: str, *, tasks: TaskFate | None = None) -> SessionOut:
        """Close a session: no new tasks. `tasks`: what becomes of those in it."""
        return self.call(self._client.close_session(session_id, tasks=tasks))

    def cancel_session(self, session_id: str) -> list[Task]:
        """Cancel a session's tasks that haven't ended."""
        return self._tasks(self._client.cancel_session(session_id))

    def events(self, after: int | None = None, session: str | None = None) -> Iterator[EventOut]:
        """Events after journal number `after` (None: from now on), for ever."""
        yield from self.iterate(self._client.events(after, session))

    def iterate(self, items: AsyncGenerator[T, None]) -> Iterator[T]:
        """What an async generator of this client's AsyncClient gives, one by one."""
        steps = _Steps(items)
        try:
            while True:
                found = self.call(steps.next())
                if found is None:
                    return
                yield found[0]
        finally:
            with suppress(CallerError):  # the client may have been closed first
                self.call(steps.end())

    def handle(self, info: TaskOut) -> AsyncTask:
        """The inner half of a Task of which this much is known, from whenever."""
        return AsyncTask(self._client, info)

    def _tasks(self, work: Coroutine[Any, Any, list[AsyncTask]]) -> list[Task]:
        return [Task(self, task) for task in self.call(work)]


async def _enter(block: AbstractAsyncContextManager[SessionOut]) -> SessionOut:
    return await block.__aenter__()


async def _leave(block: AbstractAsyncContextManager[SessionOut]) -> None:
    await block.__aexit__(None, None, None)


class _Steps(Generic[T]):
    """What an async generator gives, one by one."""

    def __init__(self, items: AsyncGenerator[T, None]) -> None:
        self._items = items
        self._step: asyncio.Task[Any] | None = None

    async def next(self) -> tuple[T] | None:
        """The next one; None: that was all."""
        self._step = asyncio.current_task()
        async for item in self._items:
            return (item,)
        return None

    async def end(self) -> None:
        """End the generator; Ctrl-C may have left it in the middle of a step."""
        step = self._step
        if step is not None and not step.done():
            if not step.cancelling():
                step.cancel()
            await asyncio.wait({step})
        await self._items.aclose()


def _close(
    thread: LoopThread, client: AsyncClient, orders: Orders, on_close: Callable[[], None]
) -> None:
    async def last() -> None:
        try:
            await client.close()
        finally:
            orders.close()

    try:
        thread.stop(last)
    finally:
        on_close()
