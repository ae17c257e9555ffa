"""The client against a small manager in memory, which misbehaves as each test asks.

Long, because the stand-in and all who use it live in one file.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from qpu_executor.client import AsyncClient, Client, TaskOrder, aconnect, connect, protocol
from qpu_executor.client.loop_thread import LoopThread
from qpu_executor.errors import (
    CallerError,
    KeyConflict,
    ManagerBusy,
    ManagerUnreachable,
    ProgramRefused,
    RequestRefused,
    TaskCancelled,
    TaskFailed,
    UnknownTask,
    WaitTimeout,
)
from qpu_executor.model.states import TaskState
from qpu_executor.programs.program import Program
from qpu_executor.wire.sessions import SessionOut
from qpu_executor.wire.site import EventOut, HealthOut
from qpu_executor.wire.tasks import (
    Problem,
    ResultList,
    ResultOut,
    SubmitAnswer,
    SubmitItem,
    SubmitRequest,
    TaskIds,
    TaskList,
    TaskOut,
)

NOW = datetime(2026, 1, 2, tzinfo=UTC)
PROGRAM = Program("test", '{"a": 1}')
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class StandIn:
    """A manager's API over dictionaries. `faults`: handlers that take over one request each."""

    def __init__(self) -> None:
        self.tasks: dict[int, TaskOut] = {}
        self.keys: dict[str | None, int] = {}
        self.events: list[EventOut] = []
        self.requests: list[tuple[str, str, Any]] = []
        self.faults: dict[str, list[Handler]] = {}
        self.streams: list[tuple[web.Request, web.StreamResponse]] = []
        self.replays = True
        self.instance = "one"
        self.health: dict[str, Any] = {}
        self.port = 0
        self._changed = asyncio.Condition()
        self._dropped = asyncio.Event()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        app = web.Application(middlewares=[self._front], client_max_size=64_000_000)
        app.router.add_get("/v1/health", self._health)
        app.router.add_post("/v1/tasks", self._submit)
        app.router.add_get("/v1/tasks", self._list)
        app.router.add_post("/v1/tasks/{verb:cancel|hold|release}", self._verb)
        app.router.add_get("/v1/results", self._results)
        app.router.add_get("/v1/events", self._events)
        app.router.add_post("/v1/sessions", self._session)
        self._runner = web.AppRunner(app, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        self.drop_streams()
        if self._runner is not None:
            await self._runner.cleanup()

    def drop_streams(self) -> None:
        for request, _ in self.streams:
            if request.transport is not None:
                request.transport.abort()
        self.streams.clear()
        self._dropped.set()
        self._dropped = asyncio.Event()

    def fail_next(self, path: str, *handlers: Handler) -> None:
        self.faults.setdefault(path, []).extend(handlers)

    def seen(self, method: str, path: str) -> list[Any]:
        return [
            body if method == "POST" else where
            for how, where, body in self.requests
            if how == method and where.split("?")[0] == path
        ]

    async def until(self, condition: Callable[[], object]) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: bool(condition()))

    async def finish(self, task_id: int, state: TaskState, **more: Any) -> None:
        task = self.tasks[task_id]
        self.tasks[task_id] = task.model_copy(update={"state": state, "ended_at": NOW, **more})
        await self.tell(
            EventOut(type="task", n=len(self.events) + 1, task=task_id, state=state), durable=True
        )

    async def tell(self, event: EventOut, *, durable: bool = False) -> None:
        if durable:
            self.events.append(event)
        for request, stream in self.streams:
            if event.n is None or event.n > int(request.query["after"]):
                await stream.write(_sse(event))

    @web.middleware
    async def _front(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        self.requests.append((request.method, request.path_qs, body))
        faults = self.faults.get(request.path)
        answer = await (faults.pop(0) if faults else handler)(request)
        async with self._changed:
            self._changed.notify_all()
        return answer

    async def _health(self, _: web.Request) -> web.Response:
        known = {"version": "1", "api_versions": [1], "instance": self.instance, "embedded": False}
        known |= {"host": "h", "caller": "me", "cursor": len(self.events), "now": NOW}
        return _json(HealthOut(**(known | self.health)))

    async def _submit(self, request: web.Request) -> web.Response:
        return _json(self.take(SubmitRequest.model_validate(await request.json())))

    def take(self, request: SubmitRequest) -> SubmitAnswer:
        items = []
        for asked in request.tasks:
            known = self.keys.get(asked.key)
            if asked.job_class == "unknown":
                problem = Problem(
                    title="t", status=422, detail="no such class", code="request-refused"
                )
                items.append(SubmitItem(problem=problem))
                continue
            task_id = known or self.new_task(asked.shots, asked.key, asked.name).id
            items.append(SubmitItem(task=self.tasks[task_id], created=known is None))
        return SubmitAnswer(items=items, cursor=len(self.events))

    def new_task(self, shots: int, key: str | None = None, name: str = "") -> TaskOut:
        task_id = len(self.tasks) + 1
        self.tasks[task_id] = TaskOut(
            id=task_id, name=name, state=TaskState.QUEUED, job_class="c", priority=0, shots=shots,
            shots_done=0, qpu="q", owner="me", account="a", session=None, key=key,
            program_hash="0" * 64, seed=1, submitted_at=NOW, started_at=None, ended_at=None,
        )  # fmt: skip
        self.keys[key] = task_id
        return self.tasks[task_id]

    async def _list(self, request: web.Request) -> web.Response:
        ids = {int(i) for i in request.query.get("ids", "").split(",") if i}
        after = int(request.query.get("after_id", "0"))
        limit = int(request.query["limit"])
        found = [
            task for task in self.tasks.values() if (not ids or task.id in ids) and task.id > after
        ]
        page = TaskList(tasks=found[:limit], cursor=len(self.events), more=len(found) > limit)
        return _json(page)

    async def _verb(self, request: web.Request) -> web.Response:
        ids = TaskIds.model_validate(await request.json()).ids
        if request.match_info["verb"] == "cancel":
            for task_id in ids:
                await self.finish(task_id, TaskState.CANCELLED)
        return _json(TaskList(tasks=[self.tasks[i] for i in ids], cursor=len(self.events)))

    async def _results(self, request: web.Request) -> web.Response:
        ids = [int(i) for i in request.query["ids"].split(",")]
        found = [self.tasks[i] for i in ids if self.tasks[i].state is TaskState.COMPLETED]
        return _json(ResultList(results=[_result(task) for task in found]))

    async def _session(self, request: web.Request) -> web.Response:
        asked = await request.json()
        return _json(
            SessionOut(
                id="s1", name=asked["name"], kind="run", owner="me", account="a",
                opened_at=NOW, closed_at=None, live_tasks=0,
            )
        )  # fmt: skip

    async def _events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        after = int(request.query["after"])
        await response.write(_sse(EventOut(type="hello", n=after, instance=self.instance)))
        if self.replays:
            for event in self.events[after:]:
                await response.write(_sse(event))
        self.streams.append((request, response))
        async with self._changed:
            self._changed.notify_all()
        await self._dropped.wait()
        return response


def _sse(event: EventOut) -> bytes:
    number = b"" if event.n is None or event.type == "hello" else b"id: %d\n" % event.n
    return number + b"data: " + event.model_dump_json().encode() + b"\n\n"


def _json(body: Any) -> web.Response:
    return web.Response(body=body.model_dump_json(), content_type="application/json")


def _result(task: TaskOut) -> ResultOut:
    return ResultOut(
        task=task, counts={"01": task.shots}, shots=task.shots, qubit_ids=["q0", "q1"],
        duration_ns=100, qpu="q", device="D", emulated=True, epochs=[None], chunks=[],
        history=[], versions={},
    )  # fmt: skip


def _problem(status: int, code: str, **more: Any) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        body = Problem(title="t", status=status, detail="d", code=code, **more)
        return web.Response(
            status=status,
            body=body.model_dump_json(),
            content_type="application/problem+json",
            headers={"Retry-After": "0"} if status == 503 else {},
        )

    return handler


def order(**options: Any) -> TaskOrder:
    return TaskOrder(options.pop("program", PROGRAM), options.pop("shots", 10), **options)


@asynccontextmanager
async def running() -> AsyncIterator[StandIn]:
    manager = StandIn()
    await manager.start()
    try:
        yield manager
    finally:
        await manager.stop()


@pytest.fixture
async def manager() -> AsyncIterator[StandIn]:
    async with running() as manager:
        yield manager


@pytest.fixture
async def client(manager: StandIn) -> AsyncIterator[AsyncClient]:
    async with await aconnect(manager.url, wait_s=20) as client:
        yield client


async def test_submissions_of_one_tick_are_one_request_with_each_program_once(manager, client):
    tasks = await asyncio.gather(*(client.submit_order(order(name=str(i))) for i in range(30)))
    (body,) = manager.seen("POST", "/v1/tasks")
    assert [task["name"] for task in body["tasks"]] == [str(i) for i in range(30)]
    assert [task.info.name for task in tasks] == [str(i) for i in range(30)]
    assert list(body["programs"]) == [PROGRAM.hash]
    assert len({task["key"] for task in body["tasks"]}) == 30


async def test_a_single_submission_carries_its_program_and_its_key(manager, client):
    await client.submit(PROGRAM, 10, key="mine", key_origin="engine")
    (body,) = manager.seen("POST", "/v1/tasks")
    assert body == {
        "tasks": [
            {
                "program": {"kind": "test", "content": PROGRAM.content},
                "shots": 10,
                "key": "mine",
                "key_origin": "engine",
            }
        ]
    }


async def test_big_batches_are_split_by_number_and_by_size(manager, client, monkeypatch):
    await client.submit_many([order() for _ in range(1500)])
    assert [len(body["tasks"]) for body in manager.seen("POST", "/v1/tasks")] == [1000, 500]
    monkeypatch.setattr(protocol, "MAX_BYTES", 10_000)
    manager.requests.clear()
    await client.submit_many([order(program=Program("t", f"{i}" * 4000)) for i in range(4)])
    assert [len(body["tasks"]) for body in manager.seen("POST", "/v1/tasks")] == [2, 2]


async def test_a_submission_whose_answer_was_lost_is_repeated_with_the_same_keys(manager, client):
    async def lose(request: web.Request) -> web.Response:
        manager.take(SubmitRequest.model_validate(await request.json()))
        request.transport.abort()
        return web.Response()

    manager.fail_next("/v1/tasks", lose)
    tasks = await client.submit_many([order(), order()])
    first, second = manager.seen("POST", "/v1/tasks")
    assert first == second
    assert [task.id for task in tasks] == [1, 2]
    assert len(manager.tasks) == 2


async def test_a_hold_whose_answer_was_lost_is_not_repeated(manager, client):
    task = await client.submit_order(order())

    async def lose(request: web.Request) -> web.Response:
        request.transport.abort()
        return web.Response()

    manager.fail_next("/v1/tasks/hold", lose)
    with pytest.raises(ManagerUnreachable, match="may have been done"):
        await task.hold()
    assert len(manager.seen("POST", "/v1/tasks/hold")) == 1


async def test_a_busy_manager_is_asked_again(manager, client):
    busy = _problem(503, "manager-busy")
    manager.fail_next("/v1/tasks", busy, busy)
    assert (await client.submit_order(order())).id == 1
    assert len(manager.seen("POST", "/v1/tasks")) == 3


async def test_a_manager_that_stays_busy_longer_than_the_wait_is_an_error(manager):
    async def later(_: web.Request) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": "3600"})

    async with await aconnect(manager.url, wait_s=5) as client:
        manager.fail_next("/v1/tasks", later)
        with pytest.raises(ManagerBusy) as caught:
            await client.submit_order(order())
    assert caught.value.retry_after_s == 3600


async def test_a_foreign_service_at_the_address_is_named(manager):
    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<html>Welcome", content_type="text/html")

    manager.fail_next("/v1/health", page)
    with pytest.raises(ManagerUnreachable, match=r"HTTP 200, text/html.*Welcome"):
        await aconnect(manager.url)


@pytest.mark.parametrize(
    ("health", "message"),
    [
        ({"product": "other"}, "'other' answers"),
        ({"api_versions": [7]}, "too old for the manager: that speaks API version 7"),
    ],
)
async def test_another_product_or_version_is_refused_at_hello(manager, health, message):
    manager.health = health
    with pytest.raises(ManagerUnreachable, match=message):
        await aconnect(manager.url)


async def test_nobody_at_the_address_says_what_to_type():
    async with running() as manager:
        url = manager.url
    with pytest.raises(ManagerUnreachable, match="qpu serve") as caught:
        await aconnect(url, wait_s=0.1)
    assert url in str(caught.value)


async def test_a_missing_socket_is_an_error_at_once(tmp_path):
    with pytest.raises(ManagerUnreachable, match=r"an embedded manager .* serves its host alone"):
        await aconnect(f"unix://{tmp_path}/none.sock", wait_s=1000)


async def test_results_come_by_event_without_polling(manager, client):
    tasks = await client.submit_many([order(shots=5 + i) for i in range(3)])
    waiting = asyncio.gather(*(task.result() for task in tasks))
    await manager.until(lambda: manager.streams and manager.seen("GET", "/v1/tasks"))
    lookups = len(manager.seen("GET", "/v1/tasks"))
    for task in tasks:
        await manager.finish(task.id, TaskState.COMPLETED)
    results = await waiting
    assert [result.counts for result in results] == [{"01": 5}, {"01": 6}, {"01": 7}]
    assert [task.state for task in tasks] == [TaskState.COMPLETED] * 3
    assert len(manager.seen("GET", "/v1/tasks")) == lookups
    assert len(manager.seen("GET", "/v1/events")) == 1


async def test_an_end_before_the_answer_to_the_submission_is_not_lost(manager, client):
    watched = await client.submit_order(order())
    other = asyncio.create_task(watched.result())
    await manager.until(lambda: manager.seen("GET", "/v1/tasks"))

    async def end_first(request: web.Request) -> web.Response:
        answer = manager.take(SubmitRequest.model_validate(await request.json()))
        await manager.finish(2, TaskState.COMPLETED)
        # The answer waits until the client has seen the event, and with it the first task's.
        await manager.finish(1, TaskState.COMPLETED)
        await other
        return _json(answer)

    manager.fail_next("/v1/tasks", end_first)
    result = await asyncio.wait_for(client.run(order()), 20)
    assert result.task_id == 2


async def test_an_end_during_a_broken_stream_is_found_by_one_lookup(manager, client):
    tasks = await client.submit_many([order() for _ in range(4)])
    waiting = asyncio.gather(*(task.result() for task in tasks))
    await manager.until(lambda: manager.seen("GET", "/v1/tasks"))
    await manager.finish(1, TaskState.COMPLETED)
    await manager.until(lambda: manager.seen("GET", "/v1/results"))
    manager.replays = False
    manager.requests.clear()
    manager.drop_streams()
    for task in tasks[1:]:
        await manager.finish(task.id, TaskState.COMPLETED)
    assert len(await waiting) == 4
    assert manager.seen("GET", "/v1/events")[0] == "/v1/events?after=1"
    assert manager.seen("GET", "/v1/tasks") == ["/v1/tasks?limit=3&ids=2,3,4"]


async def test_waiting_goes_on_with_a_manager_that_was_restarted(manager, client):
    task = await client.submit_order(order())
    waiting = asyncio.create_task(task.result())
    await manager.until(lambda: manager.streams)
    await manager.stop()
    manager.instance = "two"
    manager.tasks[task.id] = manager.tasks[task.id].model_copy(
        update={"state": TaskState.COMPLETED}
    )
    await manager.start()
    assert (await waiting).task_id == task.id


async def test_a_manager_with_a_new_store_ends_old_waits_and_serves_new_ones(manager, client):
    tasks = await client.submit_many([order() for _ in range(3)])
    waiting = asyncio.gather(*(task.result() for task in tasks), return_exceptions=True)
    await manager.until(lambda: manager.seen("GET", "/v1/tasks"))
    await manager.finish(1, TaskState.COMPLETED)
    await manager.finish(2, TaskState.COMPLETED)
    await manager.until(lambda: len(manager.seen("GET", "/v1/results")) >= 1)
    await manager.stop()
    manager.instance, manager.tasks, manager.keys, manager.events = "two", {}, {}, []
    await manager.start()
    assert isinstance((await waiting)[2], UnknownTask)
    await manager.until(lambda: manager.seen("GET", "/v1/events")[-1].endswith("after=0"))
    again = asyncio.create_task(client.run(order()))
    await manager.until(lambda: manager.tasks)
    await manager.finish(1, TaskState.COMPLETED)
    assert (await again).task_id == 1


async def test_a_manager_that_is_gone_for_good_ends_the_waits(manager):
    async with await aconnect(manager.url, wait_s=0.2) as client:
        tasks = await client.submit_many([order(), order()])
        waiting = [asyncio.create_task(task.result()) for task in tasks]
        await manager.until(lambda: manager.streams)
        await manager.stop()
        for wait in waiting:
            with pytest.raises(ManagerUnreachable) as caught:
                await wait
            assert caught.value.where == manager.url
            assert "qpu serve" in str(caught.value)


async def test_a_task_that_the_manager_no_longer_knows_ends_its_wait(manager, client):
    task = await client.submit_order(order())
    del manager.tasks[task.id]
    with pytest.raises(UnknownTask, match="no task 1"):
        await task.result()


async def test_failed_and_cancelled_tasks_raise_what_happened(manager, client):
    failed, cancelled = await client.submit_many([order(name="f"), order()])
    waiting = asyncio.gather(failed.result(), cancelled.result(), return_exceptions=True)
    await manager.until(lambda: manager.streams)
    await manager.finish(failed.id, TaskState.FAILED, error="laser off", permanent=True)
    assert (await cancelled.cancel()).state is TaskState.CANCELLED
    first, second = await waiting
    assert isinstance(first, TaskFailed)
    assert first.permanent
    assert "task 1 'f' on q: laser off" in str(first)
    assert isinstance(second, TaskCancelled)


async def test_a_wait_that_ends_early_leaves_the_task_and_can_be_repeated(manager, client):
    task = await client.submit_order(order())
    with pytest.raises(WaitTimeout, match="the task goes on"):
        await task.result(timeout=0.01)
    await manager.finish(task.id, TaskState.COMPLETED)
    assert (await task).shots == 10


async def test_refusals_are_told_apart_from_their_neighbours(manager, client):
    orders = [order(), order(job_class="unknown"), order(shots=0), order(shots=10**9), order()]
    answers = await client.submit_each(orders)
    assert [type(answer).__name__ for answer in answers] == [
        "AsyncTask", "RequestRefused", "RequestRefused", "RequestRefused", "AsyncTask",
    ]  # fmt: skip
    assert "shots=0 is not possible" in str(answers[2])
    with pytest.raises(RequestRefused, match="no such class"):
        await client.submit_many(orders)


async def test_a_request_refused_as_a_whole_is_halved_until_the_culprit_is_alone(manager, client):
    async def picky(request: web.Request) -> web.Response:
        body = SubmitRequest.model_validate(await request.json())
        manager.fail_next("/v1/tasks", picky)
        if any(task.name == "bad" for task in body.tasks):
            return await _problem(413, "request-refused")(request)
        return _json(manager.take(body))

    manager.fail_next("/v1/tasks", picky)
    names = ["a", "b", "bad", "c", "d"]
    answers = await client.submit_each([order(name=name) for name in names])
    refused = [isinstance(answer, RequestRefused) for answer in answers]
    assert refused == [False, False, True, False, False]


async def test_a_problem_keeps_its_class_and_all_of_its_context(manager, client):
    context = {"where": "w", "expected": "e", "next_step": "n"}
    manager.fail_next("/v1/tasks", _problem(422, "program-refused", rule="spacing", **context))
    with pytest.raises(ProgramRefused) as caught:
        await client.submit_order(order())
    error = caught.value
    assert (error.message, error.where, error.expected, error.next_step, error.rule) == (
        "d", "w", "e", "n", "spacing",
    )  # fmt: skip
    manager.fail_next("/v1/tasks", _problem(409, "key-conflict"))
    with pytest.raises(KeyConflict):
        await client.submit_order(order())


async def test_listing_follows_all_pages(manager, client):
    await client.submit_many([order() for _ in range(1200)])
    assert [task.id for task in await client.tasks()] == list(range(1, 1201))
    assert [task.id for task in await client.tasks(limit=3)] == [1, 2, 3]
    assert [task.id for task in await client.tasks(ids=[7, 5, 9999])] == [5, 7]
    with pytest.raises(UnknownTask):
        await client.task(9999)


async def test_closing_ends_waits_with_a_clear_error(manager):
    client = await aconnect(manager.url)
    task = await client.submit_order(order())
    waiting = asyncio.create_task(task.result())
    await manager.until(lambda: manager.streams)
    await client.close()
    await client.close()
    with pytest.raises(CallerError, match="closed"):
        await waiting
    with pytest.raises(CallerError, match="closed"):
        await client.submit_order(order())


# The client for plain Python. Its manager runs on another thread.


class Served:
    """A stand-in on a thread of its own."""

    def __init__(self) -> None:
        self.thread = LoopThread("stand-in")
        self.thread.start()
        self.manager = self.thread.run(_started())
        self.url = self.manager.url

    def finish(self, task_id: int, state: TaskState = TaskState.COMPLETED) -> None:
        self.thread.run(self.manager.finish(task_id, state))

    def until(self, condition: Callable[[], object]) -> None:
        self.thread.run(self.manager.until(condition))


async def _started() -> StandIn:
    manager = StandIn()
    await manager.start()
    return manager


@pytest.fixture
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.thread.stop(served.manager.stop)


@pytest.fixture
def sync_client(served: Served) -> Iterator[Client]:
    with connect(served.url, wait_s=20) as client:
        yield client


def test_sync_submit_wait_and_cancel(served, sync_client):
    task = sync_client.submit(PROGRAM, 10, name="x")
    assert task.state is TaskState.QUEUED
    assert not task.done()
    served.finish(task.id)
    assert task.result().counts == {"01": 10}
    assert task.done()
    assert sync_client.results([task.id])[1].shots == 10
    (other,) = sync_client.submit_many([order()])
    (cancelled,) = sync_client.cancel_tasks([other.id])
    assert cancelled.state is TaskState.CANCELLED
    assert sync_client.open_session("run").id == "s1"
    assert repr(task) == "<Task 1 'x': COMPLETED, 0/10 shots>"


def test_ten_thousand_futures_are_in_flight_on_one_thread(served, sync_client):
    before = threading.active_count()
    futures = [sync_client.run_future(order()) for _ in range(10_000)]
    served.until(lambda: len(served.manager.tasks) == 10_000 and served.manager.streams)
    assert threading.active_count() <= before  # one of an earlier test may have ended

    async def finish_all() -> None:
        for task_id in list(served.manager.tasks):
            await served.manager.finish(task_id, TaskState.COMPLETED)

    served.thread.run(finish_all())
    assert {future.result(60).task_id for future in futures} == set(range(1, 10_001))
    assert [future.task_id for future in futures[:3]] == [1, 2, 3]
    assert len(served.manager.seen("POST", "/v1/tasks")) < 1000


def test_a_future_carries_the_refusal_and_cannot_be_cancelled_by_mistake(served, sync_client):
    refused = sync_client.run_future(order(job_class="unknown"))
    assert isinstance(refused.exception(60), RequestRefused)
    future = sync_client.run_future(order())
    assert not future.cancel()
    served.until(lambda: served.manager.tasks)
    served.finish(1)
    assert future.result(60).task_id == 1


def test_closing_fails_the_futures_that_are_left(served):
    with connect(served.url) as client:
        future = client.run_future(order())
        served.until(lambda: served.manager.streams)
    assert isinstance(future.exception(60), CallerError)
    assert isinstance(client.run_future(order()).exception(0), CallerError)
    client.close()


def test_ctrl_c_ends_a_wait_and_leaves_the_client_usable(served, sync_client):
    task = sync_client.submit(PROGRAM, 10)
    main = threading.get_ident()

    async def interrupt() -> None:
        await served.manager.until(lambda: served.manager.streams)
        signal.pthread_kill(main, signal.SIGINT)

    threading.Thread(target=served.thread.run, args=(interrupt(),), daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        task.result()
    served.finish(task.id)
    assert task.result(60).shots == 10


def test_a_callback_that_waits_on_the_clients_own_thread_is_refused(served, sync_client):
    refusal: list[BaseException] = []
    called = threading.Event()

    def callback(_: object) -> None:
        try:
            sync_client.health()
        except CallerError as error:
            refusal.append(error)
        called.set()

    sync_client.run_future(order(shots=0)).add_done_callback(callback)
    future = sync_client.run_future(order(job_class="unknown"))
    future.add_done_callback(callback)
    assert isinstance(future.exception(60), RequestRefused)
    assert called.wait(60)
    assert all("callback" in str(error) for error in refusal)


def test_a_client_says_so_after_a_fork(served, sync_client):
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            sync_client.health()
        except CallerError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as answer:
        assert "after a fork" in answer.read()
    assert sync_client.health().product == "qpu-executor"


def test_events_are_iterated_from_a_number_on(served, sync_client):
    sync_client.submit_many([order(), order()])
    served.finish(1)
    served.finish(2)
    events = sync_client.events(after=1)
    seen = [next(events), next(events)]
    assert [(event.type, event.task) for event in seen] == [("hello", None), ("task", 2)]
    events.close()


@pytest.mark.parametrize("ending", ["", "del client"])
def test_a_script_that_forgets_to_close_ends_at_once_and_silently(served, ending):
    script = (
        "from qpu_executor.client import *\n"
        "from qpu_executor.programs.program import Program\n"
        f"client = connect({served.url!r})\n"
        "future = client.run_future(TaskOrder(Program('t', ''), 3))\n"
        "task = client.submit(Program('t', ''), 3)\n"
        f"{ending}\n"
        "print('done')\n"
    )
    done = subprocess.run(
        # Not -X dev: its asyncio also complains of every callback that a busy machine delays.
        [sys.executable, "-W", "default", "-W", "error::ResourceWarning", "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_json_of_a_problem_from_a_newer_manager_is_still_an_error(served, sync_client):
    async def newer(_: web.Request) -> web.Response:
        return web.Response(status=418, body=json.dumps({"code": "brand-new", "detail": "no"}))

    served.manager.fail_next("/v1/tasks", newer)
    with pytest.raises(CallerError, match="no"):
        sync_client.submit(PROGRAM, 10)
