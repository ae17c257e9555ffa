"""Whatever becomes of a client's inner parts, who waits for them is told, and nobody hangs."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.client import keeper, waiting
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
    submitting = asyncio.ensure_future(
        one.submit_many([ORDER]) if many else one.submit_order(ORDER)
    )
    await asyncio.wait_for(asked.wait(), 60)
    await one.close()
    with pytest.raises(CallerError, match="closed while it submitted"):
        await asyncio.wait_for(submitting, 60)


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


def test_futures_end_although_the_client_can_t_be_closed_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def nothing(*_: Any) -> None:
        return None

    async def wrong(*_: Any) -> None:
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    one = Client(ADDRESS)
    one._client.start = nothing  # type: ignore[method-assign,assignment]
    one.start()
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
