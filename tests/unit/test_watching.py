"""QPUs that weren't open, or have changed, are opened while the manager runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from qpu_executor.errors import OperatorError
from qpu_executor.manager.service import watching
from qpu_executor.manager.service.dispatcher import Dispatcher
from qpu_executor.manager.service.fleet import Fleet, Qpu
from qpu_executor.model.clock import Clock
from qpu_executor.model.events import (
    ChunkFinished,
    ChunkLost,
    ChunkStarted,
    Event,
    QpuRegistered,
    QpuReported,
)
from qpu_executor.model.states import QpuState
from qpu_executor.model.values import ChunkId
from qpu_executor.programs.program import Program
from qpu_executor.qpus.base import Capabilities, ChunkOrder, Health
from qpu_executor.testing.fake_qpu import FakeQpu
from qpu_executor.testing.virtual_clock import VirtualClock

CHUNK = ChunkId(1, 0)
LATE = ChunkId(1, 1)


class Locked(FakeQpu):
    """Can't be opened before the test says so. `limit`: shots a chunk, learnt when it is opened."""

    def __init__(self, name: str, *, locked: bool = True) -> None:
        super().__init__(name)
        self.locked = locked
        self.limit = 100
        self.attempts = 0
        self._planned_with = 0

    @property
    def capabilities(self) -> Capabilities:
        """Constant while it is open."""
        return Capabilities(
            kinds=frozenset({"fake"}), can_ask=True, max_chunk_shots=self._planned_with
        )

    async def open(self, clock: Clock, directory: Path) -> None:
        self.attempts += 1
        if self.locked:
            raise OperatorError("the key is missing", next_step="bring it")
        await super().open(clock, directory)
        self._planned_with = self.limit

    async def close(self) -> None:
        """Its chunks go on without us."""
        self.is_open = False

    async def health(self) -> Health:
        if self._planned_with != self.limit:
            return Health(QpuState.DOWN, "its limits have changed", outdated=True)
        return await super().health()


class Bench:
    """A QPU that may be locked, and one that is well."""

    def __init__(self, locked: Locked, answer_s: float) -> None:
        self.locked = locked
        self.fleet = Fleet([Qpu("q", "fake", locked), Qpu("good", "fake", FakeQpu("good"))])
        self.clock = VirtualClock()
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.dispatcher = Dispatcher(
            self.fleet,
            lambda event, outcome: self.events.put_nowait(event),
            self.clock,
            5.0,
            answer_s=answer_s,
        )

    @property
    def qpu(self) -> Qpu:
        """The one that may be locked."""
        return self.fleet.get("q")

    async def until(self, kind: type[Event]) -> Event:
        """The next event of this kind."""
        while not isinstance(event := await asyncio.wait_for(self.events.get(), 10), kind):
            pass
        return event


@asynccontextmanager
async def bench_with(locked: Locked, answer_s: float = 60.0) -> AsyncIterator[Bench]:
    bench = Bench(locked, answer_s)
    await bench.fleet.open(bench.clock, Path())
    bench.dispatcher.watch_health()
    yield bench
    await bench.dispatcher.close()
    await bench.fleet.close()
    assert not locked.is_open


async def test_it_is_tried_again_after_pauses_that_grow_and_joins_when_it_is_open() -> None:
    async with bench_with(Locked("q")) as bench:
        for n, pause_s in enumerate((*watching.OPEN_AGAIN_S, watching.OPEN_AGAIN_S[-1])):
            assert bench.locked.attempts == 1 + n
            await bench.clock.advance(pause_s - 0.001)
            assert bench.locked.attempts == 1 + n
            await bench.clock.advance(0.001)
        assert bench.qpu.closed
        assert "the key is missing; next: bring it" in bench.qpu.health.reason
        assert "qpu resume q" in bench.qpu.health.reason
        assert bench.events.empty(), "nothing has changed"
        bench.locked.locked = False
        await bench.clock.advance(watching.OPEN_AGAIN_S[-1])
        assert await bench.until(QpuRegistered) == QpuRegistered(bench.qpu.spec())
        assert bench.qpu.spec().max_chunk_shots == 100
        assert await bench.until(QpuReported) == QpuReported("q", QpuState.UP)
        bench.dispatcher.start("q", ChunkOrder(CHUNK, Program("fake", "x"), 0, 4, 7))
        await bench.until(ChunkStarted)


async def test_an_operator_who_resumes_it_waits_for_no_pause() -> None:
    async with bench_with(Locked("q")) as bench:
        await bench.clock.advance(0)
        bench.locked.locked = False
        bench.dispatcher.look_now("q")
        await bench.until(QpuRegistered)
        assert bench.locked.attempts == 2


async def test_a_chunk_of_an_earlier_manager_is_asked_about_once_it_is_open() -> None:
    locked = Locked("q", locked=False)
    async with bench_with(locked) as earlier:
        earlier.dispatcher.start("q", ChunkOrder(CHUNK, Program("fake", "x"), 0, 4, 7))
        await earlier.until(ChunkStarted)
    locked.locked = True
    async with bench_with(locked) as later:
        later.dispatcher.adopt("q", CHUNK)
        locked.locked = False
        later.dispatcher.look_now("q")
        await later.until(QpuRegistered)
        locked.finish(CHUNK, {"0": 4}, device_s=1.0)
        found = await later.until(ChunkFinished)
        assert isinstance(found, ChunkFinished)
        assert (found.chunk, found.shots) == (CHUNK, 4)


async def test_one_whose_limits_have_changed_is_opened_anew_and_planned_with_them() -> None:
    async with bench_with(Locked("q", locked=False)) as bench:
        bench.locked.limit = 7
        await bench.clock.advance(5)
        down = await bench.until(QpuReported)
        assert down == QpuReported("q", QpuState.DOWN, "its limits have changed")
        joined = await bench.until(QpuRegistered)
        assert isinstance(joined, QpuRegistered)
        assert (joined.qpu.max_chunk_shots, joined.qpu.state) == (7, QpuState.UP)
        assert bench.locked.attempts == 2


async def test_it_is_not_opened_anew_under_a_chunk_that_is_being_handed_over() -> None:
    locked = Locked("q", locked=False)
    async with bench_with(locked) as bench:
        inside, may_go_on = asyncio.Event(), asyncio.Event()
        hand_over = locked.start

        async def slow(order: ChunkOrder) -> None:
            inside.set()
            await may_go_on.wait()
            await hand_over(order)

        locked.start = slow  # type: ignore[method-assign]
        bench.dispatcher.start("q", ChunkOrder(CHUNK, Program("fake", "x"), 0, 4, 7))
        await asyncio.wait_for(inside.wait(), 10)
        locked.limit = 7
        await bench.clock.advance(5)
        await bench.until(QpuReported)
        bench.dispatcher.start("q", ChunkOrder(LATE, Program("fake", "x"), 4, 50, 7))
        await bench.clock.advance(0)
        assert (locked.attempts, locked.is_open) == (1, True)
        may_go_on.set()
        await bench.until(ChunkStarted)
        await bench.until(QpuRegistered)
        assert locked.attempts == 2
        lost = await bench.until(ChunkLost)
        assert lost == ChunkLost(LATE, "QPU q takes at most 7 shots a chunk now", fault=False)


async def test_a_hand_over_that_hangs_does_not_keep_it_from_being_opened_anew() -> None:
    locked = Locked("q", locked=False)
    async with bench_with(locked, answer_s=0.05) as bench:

        async def hangs(order: ChunkOrder) -> None:
            await asyncio.Event().wait()

        locked.start = hangs  # type: ignore[method-assign]
        bench.dispatcher.start("q", ChunkOrder(CHUNK, Program("fake", "x"), 0, 4, 7))
        locked.limit = 7
        await bench.clock.advance(5)
        await bench.until(QpuRegistered)
        assert locked.attempts == 2


@pytest.mark.parametrize("moment", ["open", "close", "health"])
async def test_an_adapter_that_breaks_its_contract_is_one_qpu_that_is_down(moment: str) -> None:
    locked = Locked("q", locked=False)
    async with bench_with(locked) as bench:

        async def wrong(*_: object) -> None:
            raise ZeroDivisionError

        right = getattr(locked, moment)
        setattr(locked, moment, wrong)
        locked.limit = 7
        if moment == "health":
            bench.dispatcher.look_now("q")
        await bench.clock.advance(5)
        if moment != "close":
            down = await bench.until(QpuReported)
            while not (isinstance(down, QpuReported) and "ZeroDivisionError" in down.reason):
                down = await bench.until(QpuReported)
        setattr(locked, moment, right)
        await bench.clock.advance(watching.OPEN_AGAIN_S[1])
        joined = await bench.until(QpuRegistered)
        assert isinstance(joined, QpuRegistered)
        assert joined.qpu.max_chunk_shots == 7


@pytest.mark.parametrize("changed", [True, False])
async def test_one_that_doesn_t_open_anew_is_closed_until_it_does(changed: bool) -> None:
    async with bench_with(Locked("q", locked=False)) as bench:
        bench.locked.limit = 7
        bench.locked.locked = True
        await bench.clock.advance(5)
        while not bench.qpu.closed:
            await bench.until(QpuReported)
        if not changed:
            bench.locked.limit = 100
        bench.locked.locked = False
        await bench.clock.advance(watching.OPEN_AGAIN_S[1])
        joined = await bench.until(QpuRegistered)
        assert isinstance(joined, QpuRegistered)
        assert joined.qpu.max_chunk_shots == (7 if changed else 100)
