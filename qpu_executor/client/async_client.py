"""AsyncClient: the manager's verbs as coroutines. Client is a thin shell over it.

One client belongs to one event loop, holds one pool of connections, and waits
for all its tasks on one event stream. Longer than other files because every
route of the API is a method here; what takes thought is in the files below it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from qpu_executor.cancellation import CancelledElsewhereError, only_own_cancellation
from qpu_executor.client import protocol
from qpu_executor.client.address import Address
from qpu_executor.client.channel import Channel
from qpu_executor.client.credentials import Credentials
from qpu_executor.client.events import follow
from qpu_executor.client.first_contact import first_contact
from qpu_executor.client.keeper import Keeper
from qpu_executor.client.operating import AsyncOperating
from qpu_executor.client.order import TaskOrder, order_of, to_request
from qpu_executor.client.result import Result, TaskEnd, result_or_raise
from qpu_executor.client.session_terms import (
    NO_TERMS,
    SessionKind,
    SessionTerms,
    keep_warm_request,
    session_request,
    within_allocation,
)
from qpu_executor.client.submitting import Accepted, Submissions
from qpu_executor.client.tasks import AsyncTask
from qpu_executor.client.transport import Transport
from qpu_executor.client.waiting import Wait, Waits, unknown_task
from qpu_executor.errors import CallerError, QpuExecutorError, WaitTimeout
from qpu_executor.model.sessions import TaskFate
from qpu_executor.model.states import TaskState
from qpu_executor.programs.device_files import read_devices
from qpu_executor.programs.program import Program
from qpu_executor.wire.policy import (
    EstimateOut,
    SharesOut,
    WhyOut,
    WindowList,
    WindowOut,
)
from qpu_executor.wire.queue import QueueOut
from qpu_executor.wire.sessions import HeartbeatOut, SessionList, SessionOut
from qpu_executor.wire.site import (
    EventOut,
    HealthOut,
    JobClassList,
    JobClassOut,
    QpuDetail,
    QpuList,
    QpuOut,
)
from qpu_executor.wire.tasks import ProgramIn, ResultList, ResultOut, TaskDetail, TaskList


class AsyncClient(AsyncOperating):
    """A connection to a manager. Get one from `aconnect()`; close it, or use `async with`.

    `session`: id of the session of submissions that name none. `wait_s`: how
    long an unreachable manager is waited for. `credentials`: what says who is asking,
    where the connection itself doesn't. `ended`: says when the manager is
    known to be gone for good. `on_close`: called once, when the client closes.
    """

    def __init__(
        self,
        address: Address,
        *,
        session: str | None = None,
        wait_s: float = 300.0,
        credentials: Credentials | None = None,
        ended: Callable[[], QpuExecutorError | None] = lambda: None,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self._channel = Channel(Transport(address, credentials), wait_s, ended)
        self._keeper = Keeper(address, credentials)
        self._leases = False
        self._submissions = Submissions(self._channel, session)
        self._session = self._own_session = session
        self._blocks: list[str] = []
        self._waits: Waits | None = None
        self._on_close = on_close
        self._closed = False

    @property
    def url(self) -> str:
        """The manager's URL: other processes connect to it."""
        return self._channel.url

    async def start(self) -> Self:
        """Say hello. Raises ManagerUnreachable if no manager of ours answers."""
        if self._waits is None:
            await self._channel.transport.start()
            try:
                hello = await first_contact(self._channel)
            except BaseException:
                await self.close()
                raise
            self._leases = hello.session_leases
            self._waits = Waits(self._channel, hello.cursor)
        return self

    async def close(self) -> None:
        """Close connections. Tasks go on at the manager; waits are cancelled. Idempotent."""
        if self._closed:
            return
        self._closed = True
        async with AsyncExitStack() as last:  # each of them, whatever comes of the others
            if self._on_close is not None:
                # It may wait for a child process.
                last.push_async_callback(asyncio.to_thread, self._on_close)
            last.push_async_callback(asyncio.to_thread, self._keeper.close)
            last.push_async_callback(self._channel.transport.close)
            if self._waits is not None:
                last.push_async_callback(self._waits.close)
            await self._submissions.close()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    # Submitting and waiting

    async def submit(self, program: Program | Any, shots: int, **options: Any) -> AsyncTask:
        """Submit one task: a Pulser sequence, a Program, or abstract-representation JSON.

        `options`: the fields of TaskOrder. Raises BuilderError or ProgramError for
        what is no program, and the manager's refusal.
        """
        return await self.submit_order(order_of(program, shots, **options))

    async def submit_order(self, order: TaskOrder) -> AsyncTask:
        """Submit one order. Raises the refusal."""
        self._running()
        try:
            with only_own_cancellation():
                accepted = await self._submissions.add(order)
        except CancelledElsewhereError:
            raise _closed_meanwhile() from None
        return AsyncTask(self, accepted.task, accepted.cursor)

    async def submit_each(self, orders: Iterable[TaskOrder]) -> list[AsyncTask | QpuExecutorError]:
        """Submit orders; per order its task, or the error that refused it."""
        self._running()
        answers = [self._submissions.add(order) for order in orders]
        settled = await asyncio.gather(*answers, return_exceptions=True)
        found: list[AsyncTask | QpuExecutorError] = []
        for answer in settled:
            if isinstance(answer, Accepted):
                found.append(AsyncTask(self, answer.task, answer.cursor))
            elif isinstance(answer, QpuExecutorError):
                found.append(answer)
            elif isinstance(answer, asyncio.CancelledError):
                found.append(_closed_meanwhile())
            else:
                raise answer
        return found

    async def submit_many(self, orders: Iterable[TaskOrder]) -> list[AsyncTask]:
        """Submit orders. Raises the first refusal (the others were submitted all the same)."""
        tasks = []
        for answer in await self.submit_each(orders):
            if isinstance(answer, QpuExecutorError):
                raise answer
            tasks.append(answer)
        return tasks

    async def run(self, order: TaskOrder) -> Result:
        """Submit an order and wait for its result."""
        return await (await self.submit_order(order)).result()

    def post(self, order: TaskOrder) -> asyncio.Future[Accepted]:
        """Submit with the next request, without a coroutine of its own."""
        self._running()
        return self._submissions.add(order)

    def end_of(self, task_id: int, state: TaskState | None, as_of: int | None) -> Wait:
        """The shared wait for a task's end: never cancel it, shield it."""
        return self._running().end_of(task_id, state, as_of)

    def moves_of(self, task_id: int) -> AbstractContextManager[asyncio.Event]:
        """An event that is set whenever something is told of the task (`waiting.py`)."""
        return self._running().moves_of(task_id)

    async def wait_for_end(self, task: AsyncTask, timeout: float | None = None) -> TaskEnd:
        """How the task ended. Raises WaitTimeout after `timeout` seconds."""
        wait = self.end_of(task.id, task.state, task.cursor)
        done, _ = await asyncio.wait({wait}, timeout=timeout)
        if not done:
            raise WaitTimeout(
                f"no result after {timeout:g} s; the task goes on",
                where=f"task {task.id}",
                next_step="call result() again, or cancel()",
            )
        if wait.cancelled():
            raise CallerError("this client was closed while it waited", where=f"task {task.id}")
        return wait.result()

    # Tasks

    async def task(self, task_id: int) -> AsyncTask:
        """A task by id. Raises UnknownTask."""
        tasks = await self.tasks(ids=[task_id])
        if not tasks:
            raise unknown_task(task_id, self.url)
        return tasks[0]

    async def task_detail(self, task_id: int) -> TaskDetail:
        """A task with its chunks and the times of its states. Raises UnknownTask."""
        return await self._channel.call(protocol.task_detail(task_id), TaskDetail)

    async def tasks(
        self,
        *,
        ids: Sequence[int] | None = None,
        states: Iterable[TaskState] = (),
        session: str | None = None,
        limit: int | None = None,
    ) -> list[AsyncTask]:
        """The caller's tasks, by id; unknown ids are left out. `limit`: at most so many."""
        states = tuple(states)
        if ids is None:
            return await self._pages(None, states, session, limit)
        found: list[AsyncTask] = []
        for batch in protocol.batches(sorted(set(ids)), protocol.MAX_IDS):
            found += await self._pages(batch, states, session, None)
        return found[:limit]

    async def queue(self, limit: int = 1000) -> QueueOut:
        """Everybody's tasks that wait or run, as far as the site shows them to the caller."""
        return await self._channel.call(protocol.queue(limit), QueueOut)

    async def _pages(
        self,
        ids: list[int] | None,
        states: tuple[TaskState, ...],
        session: str | None,
        limit: int | None,
    ) -> list[AsyncTask]:
        found: list[AsyncTask] = []
        more = True
        while more and (limit is None or len(found) < limit):
            size = protocol.MAX_TASKS if limit is None else limit - len(found)
            request = protocol.task_page(
                ids=ids,
                states=states,
                session=session,
                after_id=found[-1].id if found else 0,
                limit=min(size, protocol.MAX_TASKS),
            )
            page = await self._channel.call(request, TaskList)
            found += [AsyncTask(self, task, page.cursor) for task in page.tasks]
            more = page.more and bool(page.tasks)
        return found

    async def results(self, ids: Iterable[int]) -> dict[int, Result]:
        """Results by task id of those that are COMPLETED; doesn't wait."""
        found: dict[int, Result] = {}
        for batch in protocol.batches(ids, protocol.MAX_RESULTS):
            answer = await self._channel.call(protocol.results(batch), ResultList)
            found |= {out.task.id: Result.from_wire(out) for out in answer.results}
        return found

    async def partial_result(self, task_id: int) -> Result:
        """The shots that were counted so far. Raises UnknownTask, IllegalMove, TaskFailed."""
        return result_or_raise(
            await self._channel.call(protocol.partial_result(task_id), ResultOut)
        )

    async def cancel_tasks(self, ids: Iterable[int]) -> list[AsyncTask]:
        """Ask for the end of tasks; those that have ended stay as they are."""
        return await self._each(protocol.cancel, ids)

    async def hold_tasks(self, ids: Iterable[int]) -> list[AsyncTask]:
        """Keep tasks back."""
        return await self._each(protocol.hold, ids)

    async def release_tasks(self, ids: Iterable[int]) -> list[AsyncTask]:
        """Let held tasks go on."""
        return await self._each(protocol.release, ids)

    async def requeue_tasks(self, ids: Iterable[int]) -> list[AsyncTask]:
        """Stop the chunks of running tasks and queue these again, with the shots they have."""
        return await self._each(protocol.requeue, ids)

    async def _each(
        self, verb: Callable[[Sequence[int]], protocol.ApiRequest], ids: Iterable[int]
    ) -> list[AsyncTask]:
        found: list[AsyncTask] = []
        for batch in protocol.batches(ids, protocol.MAX_TASKS):
            page = await self._channel.call(verb(batch), TaskList)
            found += [AsyncTask(self, task, page.cursor) for task in page.tasks]
        return found

    async def program(self, program_hash: str) -> Program:
        """A program that the caller has submitted, by its hash. Raises UnknownTask."""
        found = await self._channel.call(protocol.program(program_hash), ProgramIn)
        return Program(found.kind, found.content)

    async def why(self, task_id: int) -> WhyOut:
        """Why a task isn't running now, and when it is expected to. Raises UnknownTask."""
        return await self._channel.call(protocol.why(task_id), WhyOut)

    async def estimate(self, program: Program | Any, shots: int, **options: Any) -> EstimateOut:
        """What a task would need, and whether it would be refused; nothing is submitted.

        Takes what `submit()` takes, and raises what it raises for what is no program.
        """
        order = order_of(program, shots, **options)
        request = protocol.estimate(to_request(order, self._session), order.program)
        return await self._channel.call(request, EstimateOut)

    # The site

    async def health(self) -> HealthOut:
        """Who answers."""
        return await self._channel.call(protocol.health(), HealthOut)

    async def qpus(self) -> list[QpuOut]:
        """All QPUs."""
        return (await self._channel.call(protocol.qpus(), QpuList)).qpus

    async def qpu(self, name: str) -> QpuDetail:
        """One QPU with its device. Raises RequestRefused for an unknown name."""
        return await self._channel.call(protocol.qpu(name), QpuDetail)

    async def devices(self) -> dict[str, Any]:
        """The devices that sequences are built for, by the names of their QPUs.

        `pulser.devices.Device`s, or virtual ones of some emulators. QPUs that aren't Pulser
        devices are left out. Raises ConfigError where Pulser isn't installed.
        """
        texts = {qpu.name: (await self.qpu(qpu.name)).pulser_device for qpu in await self.qpus()}
        return await asyncio.to_thread(read_devices, texts)

    async def classes(self) -> list[JobClassOut]:
        """All job classes, the most urgent first."""
        return (await self._channel.call(protocol.classes(), JobClassList)).classes

    async def shares(self) -> SharesOut:
        """Accounts and classes against their shares, and the charging table."""
        return await self._channel.call(protocol.shares(), SharesOut)

    async def windows(self) -> list[WindowOut]:
        """Maintenance and reservations that are on or planned, the soonest first."""
        return (await self._channel.call(protocol.windows(), WindowList)).windows

    async def open_session(
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
        """Open a session; the same `key` gives the same session, as it was opened.

        `kind`: "slurm" is a Slurm job's own session, of which there is one (`terms.slurm`).

        `terms`: what it says of its work, and asks. One with a lease is renewed, off the
        event loop, until this client closes it or is closed. `user`: whose it is, where a
        service opens it for them, with their `uid`; then it isn't renewed here. Raises
        RequestRefused for terms that the site doesn't grant; then nothing was opened.
        """
        terms = terms or NO_TERMS
        if not self._leases:
            terms = terms.without_lease()
        body = session_request(terms, name, key or uuid4().hex, account)
        more = {"user": user, "uid": uid, "kind": kind}
        body = body.model_copy(update={key: one for key, one in more.items() if one is not None})
        found = await self._channel.call(protocol.open_session(body), SessionOut)
        if found.lease_s is not None and user is None:
            self._keeper.keep(found.id, found.lease_s)
        return found

    @asynccontextmanager
    async def in_session(
        self,
        name: str = "",
        key: str | None = None,
        *,
        account: str | None = None,
        terms: SessionTerms | None = None,
    ) -> AsyncIterator[SessionOut]:
        """A session with a lease for a block: submissions in it that name none belong to it.

        It is closed at the end of the block (of the last one of this client, if several name
        it by its key), whatever ended that; what becomes of its tasks then is
        `terms.on_close`, or else the site's say. Of blocks that overlap, the one that was
        entered last is meant.
        """
        leased = replace(within_allocation(terms), leased=True)
        session = await self.open_session(name, key, account=account, terms=leased)
        self._blocks.append(session.id)
        self._use_latest_block()
        try:
            yield session
        finally:
            self._blocks.remove(session.id)
            self._use_latest_block()
            if session.id not in self._blocks:
                await self.close_session(session.id)

    def _use_latest_block(self) -> None:
        """Blocks of several coroutines or threads needn't end in the order of their beginning."""
        self._session = self._blocks[-1] if self._blocks else self._own_session
        self._submissions.session = self._session

    async def keep_session(self, session_id: str) -> SessionOut:
        """Renew a session that was opened elsewhere, if it has a lease, until this client closes.

        Raises RequestRefused for a session that has ended.
        """
        found = await self.session(session_id)
        if found.lease_s is not None:
            answer = await self.heartbeat(session_id)
            self._keeper.keep(session_id, answer.lease_s or found.lease_s)
        return found

    async def heartbeat(self, session_id: str) -> HeartbeatOut:
        """Renew a session once. Raises RequestRefused for one that has ended."""
        return await self._channel.call(protocol.heartbeat(session_id), HeartbeatOut)

    async def keep_warm(
        self,
        session_id: str,
        *,
        linger_s: float | None = None,
        run_s: float | None = None,
        qpu: str | None = None,
    ) -> SessionOut:
        """Keep a QPU for a session: after each of its tasks, or for a contiguous run.

        Raises RequestRefused with the site's bound where that is exceeded.
        """
        body = keep_warm_request(linger_s, run_s, qpu)
        return await self._channel.call(protocol.keep_warm(session_id, body), SessionOut)

    async def give_back(self, session_id: str) -> SessionOut:
        """Keep no QPU for a session any more."""
        return await self._channel.call(protocol.give_back(session_id), SessionOut)

    async def sessions(self) -> list[SessionOut]:
        """The caller's sessions, newest first."""
        return (await self._channel.call(protocol.sessions(), SessionList)).sessions

    async def session(self, session_id: str) -> SessionOut:
        """A session by id."""
        return await self._channel.call(protocol.session(session_id), SessionOut)

    async def close_session(self, session_id: str, *, tasks: TaskFate | None = None) -> SessionOut:
        """Close a session: no new tasks. `tasks`: what becomes of those in it (None: as the
        session or the site says)."""
        self._keeper.forget(session_id)
        return await self._channel.call(protocol.close_session(session_id, tasks), SessionOut)

    async def cancel_session(self, session_id: str) -> list[AsyncTask]:
        """Cancel a session's tasks that haven't ended."""
        page = await self._channel.call(protocol.cancel_session(session_id), TaskList)
        return [AsyncTask(self, task, page.cursor) for task in page.tasks]

    async def events(
        self, after: int | None = None, session: str | None = None
    ) -> AsyncGenerator[EventOut, None]:
        """Events after journal number `after` (None: from now on), for ever."""
        if after is None:
            after = (await self.health()).cursor
        async with aclosing(follow(self._channel, after, session)) as events:
            async for event in events:
                yield event

    def _running(self) -> Waits:
        if self._waits is None or self._closed:
            state = "closed" if self._closed else "not started"
            raise CallerError(f"this client is {state}", next_step="get one from connect()")
        return self._waits


def _closed_meanwhile() -> CallerError:
    """Nobody knows whether the manager has taken it."""
    return CallerError(
        "this client was closed while it submitted",
        next_step="connect() again, and submit it under the same key: it runs once",
    )
