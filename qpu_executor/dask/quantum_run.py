"""One quantum task on a worker: build (in a thread), give the thread back, submit, wait.

How it may end early:
- Dask releases the task (cancelled, or nobody holds its future any more): the
  tasks at the manager are cancelled;
- the worker closes or dies: nothing is cancelled, because Dask runs the task
  again elsewhere, and there the same key adopts the tasks at the manager.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import logging
from collections.abc import Coroutine, Mapping, Sequence
from time import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from distributed import Reschedule

from qpu_executor.dask import distributed_internals as internals
from qpu_executor.dask.builders import build_programs
from qpu_executor.dask.connection import Connection
from qpu_executor.errors import QpuExecutorError
from qpu_executor.programs.program import Program

if TYPE_CHECKING:
    from distributed import Worker
    from distributed.worker_state_machine import TaskState

    from qpu_executor.client import AsyncClient, AsyncTask, Result
    from qpu_executor.dask.quantum_task import QuantumTask

TOKEN = "qpu_token"  # noqa: S105 (names a task, guards nothing)
"""Annotation that names a submission: the same when Dask runs the task again, new otherwise."""

Answers = list["AsyncTask | QpuExecutorError"]

log = logging.getLogger("qpu_executor.dask")


class QuantumRun:
    """One execution of a quantum task. `ts`: its Dask task; None if it runs apart from one.

    `withdrawals`: cancellations under way, kept by the worker until they are done.
    """

    def __init__(
        self,
        worker: Worker,
        ts: TaskState | None,
        quantum: QuantumTask,
        connection: Connection,
        withdrawals: set[asyncio.Task[None]],
    ) -> None:
        self._worker = worker
        self._ts = ts
        self._quantum = quantum
        self._connection = connection
        self._withdrawals = withdrawals
        self._released = asyncio.Event()
        self._token = _token(ts, quantum)

    def note_release(self) -> None:
        """Dask has released the task; believe it if it wasn't taken back in the same tick."""
        ts = self._ts
        if ts is None or internals.is_closing(self._worker):
            return
        if self._worker.state.tasks.get(ts.key) is not ts or not self._wanted(ts):
            self._released.set()

    async def result(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Result | list[Result]:
        """Build, submit, wait; one result, or a list if the builder returned a list.

        Raises BuilderError, and whatever the manager refuses or reports.
        """
        programs = await self._build(args, kwargs)
        if self._released.is_set():
            raise self._stopped()
        many = isinstance(programs, list)
        orders = self._quantum.options.orders(
            programs if isinstance(programs, list) else [programs],
            name=self._quantum.__name__,
            token=self._token,
            many=many,
        )
        async with self._connection.client() as client:
            submitting = asyncio.create_task(client.submit_each(orders))
            results = await self._wait(client, submitting)
        return results if many else results[0]

    async def _build(
        self, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Program | list[Program]:
        ts, started_at = self._ts, time()
        where = self._quantum.__name__ if ts is None else f"task {ts.key!r}"
        job = functools.partial(build_programs, self._quantum.builder, args, kwargs, where)
        # The user's function finds its worker (distributed.get_worker) through the context.
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        built = await loop.run_in_executor(
            self._worker.executors["default"], lambda: context.run(job)
        )
        if ts is not None and not internals.is_closing(self._worker):
            internals.secede(self._worker, ts, time() - started_at)
        return built

    async def _wait(self, client: AsyncClient, submitting: asyncio.Task[Answers]) -> list[Result]:
        finishing = asyncio.create_task(_results(client, submitting))
        released = asyncio.create_task(self._released.wait())
        try:
            await asyncio.wait({finishing, released}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await _drop(finishing)
            if internals.is_closing(self._worker):
                await _drop(submitting)
            else:
                self._keep(self._withdraw(submitting))
            raise
        finally:
            await _drop(released)
        if finishing.done():
            return finishing.result()
        await _drop(finishing)
        self._keep(self._withdraw(submitting))
        raise self._stopped()

    def _keep(self, withdrawal: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(withdrawal)
        self._withdrawals.add(task)
        task.add_done_callback(self._withdrawals.discard)

    async def _withdraw(self, submitting: asyncio.Task[Answers]) -> None:
        """Cancel at the manager what was submitted, also if its answer isn't here yet."""
        try:
            async with self._connection.client() as client:
                await _cancel(client, await submitting)
        except QpuExecutorError as error:
            log.warning("%s: could not cancel at the manager: %s", self._quantum.__name__, error)

    def _stopped(self) -> BaseException:
        """How a released run ends: for good, or again if somebody wants the same key by now."""
        if self._ts is not None and self._ts.state in internals.LIVE:
            return Reschedule()
        return asyncio.CancelledError()

    def _wanted(self, ts: TaskState) -> bool:
        if ts.state == "resumed":  # another worker computes it: it shares our task by its key
            return True
        named = (ts.annotations or {}).get(TOKEN)
        return ts.state in internals.LIVE and named in (None, self._token)


def _token(ts: TaskState | None, quantum: QuantumTask) -> str:
    # A function that calls several quantum tasks runs under one Dask task; its
    # token must not make the second adopt what the first submitted.
    if ts is not None and internals.function_of(ts) is quantum:
        named = (ts.annotations or {}).get(TOKEN)
        if isinstance(named, str):
            return named
    return uuid4().hex


async def _results(client: AsyncClient, submitting: asyncio.Task[Answers]) -> list[Result]:
    """Results in the order submitted. All tasks end before the first failure is raised."""
    # Shielded: who stops waiting still needs to know what was submitted.
    answers = await asyncio.shield(submitting)
    refused = [answer for answer in answers if isinstance(answer, QpuExecutorError)]
    if refused:
        await _cancel(client, answers)
        raise refused[0]
    tasks = [answer for answer in answers if not isinstance(answer, QpuExecutorError)]
    ends = await asyncio.gather(*(task.result() for task in tasks), return_exceptions=True)
    results: list[Result] = []
    for end in ends:
        if isinstance(end, BaseException):
            raise end
        results.append(end)
    return results


async def _cancel(client: AsyncClient, answers: Answers) -> None:
    ids = [answer.id for answer in answers if not isinstance(answer, QpuExecutorError)]
    if ids:
        await client.cancel_tasks(ids)


async def _drop(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, QpuExecutorError):
        await task
