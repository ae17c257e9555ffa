"""Whatever becomes of a client's inner parts, who waits for them is told, and nobody hangs."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.client import keeper, submitting, waiting
from qpu_executor.client.address import parse_address
from qpu_executor.client.async_client import AsyncClient
from qpu_executor.client.client import Client
from qpu_executor.client.futures import Orders, TaskFuture
from qpu_executor.client.keeper import Keeper
from qpu_executor.client.loop_thread import LoopThread
from qpu_executor.client.order import TaskOrder
from qpu_executor.client.waiting import Waits
from qpu_executor.errors import CallerError, InternalError
from qpu_executor.programs.program import Program
from qpu_executor.wire.sessions import HeartbeatOut

ORDER = TaskOrder(program=Program("opaque", "x"), shots=10)
ADDRESS = parse_address("http://localhost:1")


async def cancelled_elsewhere(*_: Any, **__: Any) -> Any:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


def client() -> AsyncClient:
    """As if it had said hello."""
    made = AsyncClient(ADDRESS)
    made._waits = Waits(made._channel, 0)
    return made


async def test_an_event_stream_that_is_cancelled_by_its_own_side_ends_the_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def broken(*_: Any) -> AsyncGenerator[None, None]:
        await cancelled_elsewhere()
        yield

    monkeypatch.setattr(waiting, "follow", broken)
    wait = client().end_of(7, None, None)
    with pytest.raises(InternalError, match="the event stream failed"):
        await asyncio.wait_for(asyncio.shield(wait), 60)


async def test_a_look_up_that_is_cancelled_by_its_own_side_ends_its_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def silent(*_: Any) -> AsyncGenerator[None, None]:
        await asyncio.get_running_loop().create_future()
        yield

    monkeypatch.setattr(waiting, "follow", silent)
    one = client()
    one._channel.call = cancelled_elsewhere  # type: ignore[method-assign]
    waits = one._waits
    assert waits is not None
    wait = one.end_of(7, None, None)
    waits._look_up({7})
    with pytest.raises(InternalError, match="couldn't be used"):
        await asyncio.wait_for(asyncio.shield(wait), 60)
    await one.close()


async def test_a_submission_that_is_cancelled_by_its_own_side_has_failed() -> None:
    one = client()
    one._channel.call = cancelled_elsewhere  # type: ignore[method-assign]
    with pytest.raises(InternalError, match="the submission failed"):
        await asyncio.wait_for(one.submit_order(ORDER), 60)


@pytest.mark.parametrize("many", [False, True])
async def test_who_submits_while_the_client_closes_is_told(many: bool) -> None:
    one, asked = client(), asyncio.Event()

    async def silent(*_: Any, **__: Any) -> Any:
        asked.set()
        await asyncio.get_running_loop().create_future()

    one._channel.call = silent  # type: ignore[method-assign]
    submission = asyncio.ensure_future(
        one.submit_many([ORDER]) if many else one.submit_order(ORDER)
    )
    await asyncio.wait_for(asked.wait(), 60)
    await one.close()
    with pytest.raises(CallerError, match="closed while it submitted"):
        await asyncio.wait_for(submission, 60)


async def test_who_asks_a_closed_client_is_told_at_once() -> None:
    one = client()
    await one._channel.transport.start()
    await one.close()
    with pytest.raises(CallerError, match="this client is closed"):
        await asyncio.wait_for(one.qpus(), 60)  # an outage would be waited for longer
    with pytest.raises(CallerError, match="this client is closed"):
        await asyncio.wait_for(anext(one.events(after=0)), 60)


async def test_a_client_whose_closing_is_cancelled_is_closed_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    released: list[bool] = []
    one = AsyncClient(ADDRESS, on_close=lambda: released.append(True))
    waits = one._waits = Waits(one._channel, 0)
    await one._channel.transport.start()
    asked = asyncio.Event()

    async def silent(*_: Any, **__: Any) -> Any:
        asked.set()
        await asyncio.get_running_loop().create_future()

    one._channel.call = silent  # type: ignore[method-assign]
    monkeypatch.setattr(submitting, "REQUESTS_AT_ONCE", 1)
    wait = one.end_of(7, None, None)
    sent = asyncio.ensure_future(one.submit_order(ORDER))
    await asyncio.wait_for(asked.wait(), 60)
    waiting_behind = asyncio.ensure_future(one.submit_order(ORDER))
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(one.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait({closing})
    for submission in (sent, waiting_behind):
        with pytest.raises(CallerError, match="closed while it submitted"):
            await asyncio.wait_for(submission, 60)
    await asyncio.wait({wait}, timeout=60)
    assert wait.cancelled()
    assert waits._closed
    assert one._channel.transport._http is None
    assert released == [True]


async def test_waits_end_although_the_closing_of_their_stream_is_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def silent(*_: Any) -> AsyncGenerator[None, None]:
        await asyncio.get_running_loop().create_future()
        yield

    monkeypatch.setattr(waiting, "follow", silent)
    one = client()
    waits = one._waits
    assert waits is not None
    wait = one.end_of(7, None, None)
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(waits.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait({closing})
    await asyncio.wait({wait}, timeout=60)
    assert wait.cancelled()


def test_a_session_that_was_opened_while_its_client_closed_is_renewed_by_nobody() -> None:
    one = Keeper(ADDRESS, None)
    one.close()
    one.keep("s", 60.0)
    assert one._thread._thread is None
    one.forget("s")


async def test_an_order_that_can_t_be_sent_keeps_no_other_one_back() -> None:
    class Picky:
        """Doesn't like the first."""

        def __init__(self) -> None:
            self.asked = 0

        def post(self, order: TaskOrder) -> asyncio.Future[Any]:
            self.asked += 1
            if self.asked == 1:
                raise ZeroDivisionError
            answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            answer.cancel()
            return answer

    class Here:
        """Calls at once, on this loop."""

        def refuse_after_fork(self) -> None:
            """It is no fork."""

        def soon(self, callback: Any) -> None:
            asyncio.get_running_loop().call_soon(callback)

    orders, found = Orders(Picky()), [TaskFuture(None), TaskFuture(None)]  # type: ignore[arg-type]
    for one in found:
        orders.add(ORDER, one, Here())  # type: ignore[arg-type]
    first, second = (asyncio.wrap_future(one) for one in found)
    with pytest.raises(InternalError, match="ZeroDivisionError"):
        await asyncio.wait_for(first, 60)
    with pytest.raises(CallerError, match="closed while it waited"):
        await asyncio.wait_for(second, 60)


def test_a_callback_that_wants_to_end_the_process_ends_no_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def answer() -> int:
        return 7

    async def nothing() -> None:
        return None

    thread = LoopThread("careful")
    thread.start()
    thread.soon(sys.exit)
    answered: list[int] = []
    asking = threading.Thread(target=lambda: answered.append(thread.run(answer())), daemon=True)
    asking.start()
    asking.join(60)
    assert answered == [7]
    thread.stop(nothing)
    assert "tried to end the client's thread" in caplog.text


def test_a_future_of_another_process_says_so_instead_of_waiting_for_ever() -> None:
    future = TaskFuture(None)
    future._pid = -1
    for ask in (future.result, future.exception):
        with pytest.raises(CallerError, match="after a fork"):
            ask()
    future.set_exception(InternalError("x"))
    assert isinstance(future.exception(), InternalError)


def not_connected(monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client whose thread runs, as if it had said hello."""

    async def nothing(*_: Any) -> None:
        return None

    one = Client(ADDRESS)
    monkeypatch.setattr(one._client, "start", nothing)
    return one.start()


def test_an_order_after_a_fork_is_refused_although_others_wait_for_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = not_connected(monkeypatch)
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        let_go.wait()

    one._thread.soon(hold)
    held.wait()
    waits = one.run_future(ORDER)
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: -1)
        with pytest.raises(CallerError, match="can't be used after a fork"):
            one.run_future(ORDER).result(0)
    let_go.set()
    one.close()
    assert isinstance(waits.exception(60), CallerError)


def test_all_futures_end_although_callbacks_of_them_want_to_end_the_process(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one = not_connected(monkeypatch)
    futures = [TaskFuture(one) for _ in range(3)]
    for future in futures:
        one._orders._open.add(future)
        future.add_done_callback(sys.exit)
    one.close()
    for future in futures:
        assert isinstance(future.exception(60), CallerError)
    assert "tried to end the client's thread" in caplog.text


@pytest.mark.parametrize("cancelled", [True, False])
def test_ctrl_c_in_the_middle_of_a_stream_stays_ctrl_c_and_ends_the_stream(
    monkeypatch: pytest.MonkeyPatch, cancelled: bool
) -> None:
    one, waits, ended = not_connected(monkeypatch), threading.Event(), threading.Event()

    async def stream() -> AsyncGenerator[int, None]:
        yield 1
        try:
            waits.set()
            await asyncio.get_running_loop().create_future()
        finally:
            for _ in range(5):  # as a connection that is closed
                await asyncio.sleep(0)
            ended.set()

    def interrupted(work: Any) -> Any:
        monkeypatch.undo()
        step = asyncio.run_coroutine_threadsafe(work, one._thread.check())
        assert waits.wait(60)
        if cancelled:
            step.cancel()
        raise KeyboardInterrupt

    items = one.iterate(stream())
    assert next(items) == 1
    monkeypatch.setattr(one, "call", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(items)
    assert ended.is_set()
    one.close()


def test_futures_end_although_the_client_can_t_be_closed_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def wrong(*_: Any) -> None:
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    one = not_connected(monkeypatch)
    one._client.close = wrong  # type: ignore[method-assign]
    future = TaskFuture(one)
    one._orders._open.add(future)
    one.close()
    with pytest.raises(CallerError):
        future.result(60)


def test_a_renewal_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    renewed = threading.Event()
    attempts: list[int] = []

    class Connected:
        """Renews, from the second time on."""

        async def start(self) -> None:
            attempts.append(1)
            if len(attempts) == 1:
                raise OSError("no such file")

        async def close(self) -> None:
            """Nothing is open."""

    class Answers:
        def __init__(self, transport: Connected, wait_s: float) -> None:
            self.transport = transport

        async def call(self, *_: Any, **__: Any) -> HeartbeatOut:
            renewed.set()
            return HeartbeatOut(id="s", state="open", lease_s=0.05)

    monkeypatch.setattr(keeper, "Transport", lambda *_: Connected())
    monkeypatch.setattr(keeper, "Channel", Answers)
    one = Keeper(ADDRESS, None)
    one.keep("s", 0.05)
    try:
        assert renewed.wait(60)
    finally:
        one.close()


def test_a_dask_builder_that_ends_the_process_has_failed(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    from qpu_executor.dask.builders import build_programs
    from qpu_executor.errors import BuilderError

    with pytest.raises(BuilderError, match="SystemExit"):
        build_programs(sys.exit, (3,), {}, "task 'x'")
