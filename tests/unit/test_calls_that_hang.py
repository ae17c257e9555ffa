"""An adapter whose calls never come back: the other QPUs work, and the manager ends."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, NoReturn

import pytest

from qpu_executor.errors import DeviceError
from qpu_executor.manager.service.dispatcher import Dispatcher
from qpu_executor.manager.service.fleet import Fleet, Qpu
from qpu_executor.model.events import (
    ChunkFinished,
    ChunkLost,
    ChunkStarted,
    ChunkUnanswered,
    Event,
    QpuReported,
)
from qpu_executor.model.states import QpuState
from qpu_executor.model.values import ChunkId
from qpu_executor.programs.program import Program
from qpu_executor.qpus.base import ChunkOrder
from qpu_executor.testing.fake_qpu import FakeQpu
from qpu_executor.testing.virtual_clock import VirtualClock

STUCK, WELL = ChunkId(1, 0), ChunkId(2, 0)
SOON_S = 0.05
"""Seconds of patience where the test is about its end; else it mustn't matter."""


def order(chunk: ChunkId) -> ChunkOrder:
    return ChunkOrder(chunk, Program("fake", "x"), 0, 4, 7)


class HangingQpu(FakeQpu):
    """`hangs`: calls that never come back. `caught`: how many of them were cancelled."""

    def __init__(self, name: str, *hangs: str) -> None:
        super().__init__(name)
        self.hangs = set(hangs)
        self.caught = 0
        for call in ("start", "wait", "ask", "stop", "health", "describe", "open", "close"):
            setattr(self, call, self._maybe(call, getattr(self, call)))

    def _maybe(self, name: str, call: Any) -> Any:
        async def called(*arguments: Any) -> Any:
            if name in self.hangs:
                await self._for_ever()
            return await call(*arguments)

        return called

    async def _for_ever(self) -> NoReturn:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.caught += 1
        raise AssertionError("a future that nobody has was set")


class Bench:
    """A dispatcher with a QPU whose calls hang, and one that is well."""

    def __init__(self, *hangs: str, answer_s: float = 60.0) -> None:
        self.bad, self.good = HangingQpu("bad"), FakeQpu("good")
        self.hangs = hangs
        self.fleet = Fleet([Qpu("bad", "fake", self.bad), Qpu("good", "fake", self.good)])
        self.clock = VirtualClock()
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.dispatcher = Dispatcher(
            self.fleet,
            lambda event, outcome: self.events.put_nowait(event),
            self.clock,
            5.0,
            answer_s,
        )

    async def open(self) -> None:
        await self.fleet.open(self.clock, Path())
        self.bad.hangs.update(self.hangs)

    async def until(self, event: Event) -> None:
        while await asyncio.wait_for(self.events.get(), 10) != event:
            pass


@pytest.mark.parametrize("call", ["start", "wait", "stop", "health", "describe"])
async def test_the_other_qpu_works_and_the_end_comes_whatever_hangs(call: str) -> None:
    bench = Bench(call)
    await bench.open()
    bench.dispatcher.watch_health()
    bench.dispatcher.start("bad", order(STUCK))
    await asyncio.sleep(0)  # what is stopped before isn't handed over
    bench.dispatcher.stop("bad", STUCK)
    await bench.clock.advance(5)
    bench.dispatcher.start("good", order(WELL))
    await bench.until(ChunkStarted(WELL))
    bench.good.finish(WELL, {"0": 4}, device_s=3.0)
    await bench.until(ChunkFinished(WELL, 4, 3.0, 0.0))
    await asyncio.wait_for(bench.dispatcher.close(), 10)
    assert bench.bad.caught == 1


async def test_adopted_chunk_whose_qpu_never_answers_the_question_takes_it_down() -> None:
    bench = Bench("ask")
    await bench.open()
    bench.dispatcher.adopt("bad", STUCK)
    bench.dispatcher.adopt("good", WELL)
    (lost,) = [await asyncio.wait_for(bench.events.get(), 10)]
    assert isinstance(lost, ChunkLost)
    assert lost.chunk == WELL
    await bench.clock.advance(bench.fleet.get("bad").rules.unknown_deadline_s)
    reason = f"nobody has said for 600 s what became of chunk {STUCK}: `qpu settle 1`"
    await bench.until(QpuReported("bad", QpuState.DOWN, reason))
    bench.dispatcher.settled("bad", STUCK)
    await bench.until(QpuReported("bad", QpuState.UP))
    await asyncio.wait_for(bench.dispatcher.close(), 10)
    assert bench.bad.caught == 1


async def test_handing_over_that_never_ends_is_unknown_after_the_deadline_and_can_be_settled() -> (
    None
):
    bench = Bench("start")
    await bench.open()
    bench.dispatcher.start("bad", order(STUCK))
    await bench.clock.advance(bench.fleet.get("bad").rules.unknown_deadline_s)
    said = f"nobody has said for 600 s what became of chunk {STUCK}"
    await bench.until(ChunkUnanswered(STUCK, said))
    await bench.until(QpuReported("bad", QpuState.DOWN, f"{said}: `qpu settle 1`"))
    bench.dispatcher.settled("bad", STUCK)
    await bench.until(QpuReported("bad", QpuState.UP))
    await bench.dispatcher.close()
    assert bench.bad.caught == 1


async def test_end_that_an_adapter_doesn_t_tell_is_asked_for() -> None:
    bench = Bench("wait")
    await bench.open()
    bench.dispatcher.start("bad", order(STUCK))
    await bench.until(ChunkStarted(STUCK))
    deadline_s = bench.fleet.get("bad").rules.unknown_deadline_s
    await bench.clock.advance(deadline_s)
    assert bench.events.empty(), "it runs, by its adapter's word"
    bench.bad.finish(STUCK, {"0": 4}, device_s=3.0)
    await bench.clock.advance(deadline_s)
    await bench.until(ChunkFinished(STUCK, 4, 3.0, 0.0))
    await bench.dispatcher.close()
    assert bench.bad.caught == 1


async def test_adapter_that_says_nothing_of_a_running_chunk_leaves_it_unknown() -> None:
    bench = Bench("wait", "ask")
    await bench.open()
    bench.dispatcher.start("bad", order(STUCK))
    await bench.until(ChunkStarted(STUCK))
    deadline_s = bench.fleet.get("bad").rules.unknown_deadline_s
    await bench.clock.advance(2 * deadline_s)
    said = f"nobody has said for 600 s what became of chunk {STUCK}"
    await bench.until(ChunkUnanswered(STUCK, said))
    bench.dispatcher.settled("bad", STUCK)
    await bench.until(QpuReported("bad", QpuState.UP))
    await bench.dispatcher.close()


async def test_health_that_is_never_told_is_down_until_it_is() -> None:
    bench = Bench("health", answer_s=SOON_S)
    await bench.open()
    bench.dispatcher.watch_health()
    await bench.clock.advance(5)
    await bench.until(
        QpuReported("bad", QpuState.DOWN, "its adapter hasn't said for 0.05 s how it is")
    )
    bench.bad.hangs.clear()
    await bench.clock.advance(5)
    await bench.until(QpuReported("bad", QpuState.UP))
    await bench.dispatcher.close()


async def test_refused_chunk_is_told_also_where_health_hangs() -> None:
    bench = Bench("health", answer_s=SOON_S)
    await bench.open()
    bench.bad.refuse_start = DeviceError("out of lock")
    bench.dispatcher.start("bad", order(STUCK))
    await bench.until(ChunkLost(STUCK, "out of lock", fault=False))
    await bench.dispatcher.close()


@pytest.mark.parametrize("call", ["open", "describe"])
async def test_only_qpu_that_doesn_t_open_is_named_after_a_while(call: str) -> None:
    fleet = Fleet([Qpu("bad", "fake", HangingQpu("bad", call))], open_s=SOON_S)
    with pytest.raises(DeviceError, match="hasn't opened for") as caught:
        await fleet.open(VirtualClock(), Path())
    assert caught.value.where == "QPU bad"
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("open", "hasn't opened for"),
        ("describe", "hasn't opened for"),
        ("health", "hasn't said how it is for"),
    ],
)
async def test_qpu_that_doesn_t_open_is_down_and_the_others_go_on(call: str, said: str) -> None:
    bad, good = Qpu("bad", "fake", HangingQpu("bad", call)), Qpu("good", "fake", FakeQpu("good"))
    fleet = Fleet([bad, good], open_s=SOON_S)
    await fleet.open(VirtualClock(), Path())
    assert (bad.health.state, said in bad.health.reason) == (QpuState.DOWN, True)
    assert good.health.state is QpuState.UP
    await fleet.close()


async def test_qpu_that_doesn_t_close_keeps_no_other_from_closing() -> None:
    good = FakeQpu("good")
    bad = HangingQpu("bad", "close")
    fleet = Fleet([Qpu("bad", "fake", bad), Qpu("good", "fake", good)], close_s=SOON_S)
    await fleet.open(VirtualClock(), Path())
    await fleet.close()
    assert not good.is_open
    assert bad.caught == 1
