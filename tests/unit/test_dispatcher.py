import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from qpu_executor.errors import DeviceError
from qpu_executor.manager.service import dispatcher as dispatcher_module
from qpu_executor.manager.service import watching
from qpu_executor.manager.service.dispatcher import Dispatcher
from qpu_executor.manager.service.fleet import Fleet, Qpu
from qpu_executor.model.events import (
    CalibrationDue,
    CalibrationEnded,
    CalibrationStarted,
    ChunkFinished,
    ChunkLost,
    ChunkStarted,
    ChunkStopped,
    ChunkUnanswered,
    QpuReported,
)
from qpu_executor.model.states import QpuState
from qpu_executor.model.values import MICROSECONDS, ChunkId
from qpu_executor.programs.program import Program
from qpu_executor.qpus.base import (
    CalibrationStatus,
    ChunkOrder,
    ChunkOutcome,
    DeviceDescription,
    Health,
    OutcomeKind,
)
from qpu_executor.testing.fake_qpu import DEFAULT_CAPABILITIES, FakeQpu
from qpu_executor.testing.virtual_clock import VirtualClock

CHUNK = ChunkId(1, 0)
ORDER = ChunkOrder(CHUNK, Program("fake", "x"), 0, 4, 7)
ELSEWHERE = "CancelledElsewhereError('what it waited for was cancelled')"
CLOSED = Health(QpuState.DOWN, "an inspection")


class Bench:
    """A dispatcher with one fake QPU `q`, on a virtual clock; `events` holds what it posted."""

    def __init__(self):
        self.qpu = FakeQpu("q", capabilities=replace(DEFAULT_CAPABILITIES, can_calibrate=True))
        self.fleet = Fleet([Qpu("q", "fake", self.qpu)])
        self.clock = VirtualClock()
        self.events = asyncio.Queue()
        self.dispatcher = Dispatcher(
            self.fleet, lambda event, outcome: self.events.put_nowait(event), self.clock, 5.0
        )

    async def next(self, number):
        return [await asyncio.wait_for(self.events.get(), 60) for _ in range(number)]


@pytest_asyncio.fixture
async def bench():
    made = Bench()
    await made.fleet.open(made.clock, Path())
    yield made
    await made.dispatcher.close()
    await made.fleet.close()


async def cancelled(*_):
    """As of an adapter whose own future was cancelled under it."""
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def test_a_start_that_is_cancelled_by_the_adapter_itself_is_not_forgotten(bench):
    bench.qpu.start = cancelled
    bench.dispatcher.start("q", ORDER)
    assert await bench.next(1) == [ChunkUnanswered(CHUNK, f"the adapter failed: {ELSEWHERE}")]


class Doubtful:
    """Whether this manager leads is open until `answer` says."""

    def __init__(self):
        self.sure = True
        self.asked = asyncio.Event()
        self.answer = asyncio.get_running_loop().create_future()

    async def assure(self):
        if not self.sure:
            self.asked.set()
            self.sure = await self.answer
        return self.sure


@pytest.mark.parametrize("leads", [True, False])
async def test_a_chunk_that_waited_at_the_door_is_started_by_the_manager_that_leads_then(leads):
    bench = Bench()
    leading = Doubtful()
    post = lambda event, outcome: bench.events.put_nowait(event)  # noqa: E731
    dispatcher = Dispatcher(bench.fleet, post, bench.clock, leading=leading)
    await bench.fleet.open(bench.clock, Path())
    async with bench.fleet.get("q").hand_over.shut(0):
        dispatcher.start("q", ORDER)
        await asyncio.sleep(0)
        leading.sure = False  # the store has fallen silent meanwhile
    async with asyncio.timeout(60):
        await leading.asked.wait()
        assert not bench.qpu.orders
        following = dispatcher._followed[CHUNK]
        leading.answer.set_result(leads)
        if leads:
            assert await bench.next(1) == [ChunkStarted(CHUNK)]
            assert bench.qpu.orders == {CHUNK: ORDER}
        else:
            await asyncio.wait([following])
            assert not bench.qpu.orders
            assert bench.events.empty()
    await dispatcher.close()
    await bench.fleet.close()


async def test_a_chunk_that_is_stopped_at_the_door_is_never_handed_over(bench):
    async with bench.fleet.get("q").hand_over.shut(0):
        bench.dispatcher.start("q", ORDER)
        await asyncio.sleep(0)
        bench.dispatcher.stop("q", CHUNK)
    assert await bench.next(1) == [
        ChunkLost(CHUNK, "it was stopped before QPU q had it", fault=False)
    ]
    assert not bench.qpu.orders


async def test_a_chunk_that_waited_long_at_the_door_is_planned_anew(bench):
    async with bench.fleet.get("q").hand_over.shut(0):
        bench.dispatcher.start("q", ORDER)
        await asyncio.sleep(0)
        await bench.clock.advance(30)
    why = "it waited 30 s to be handed over, and is planned anew"
    assert await bench.next(1) == [ChunkLost(CHUNK, why, fault=False)]
    assert not bench.qpu.orders


async def test_a_stop_that_comes_while_a_chunk_is_handed_over_is_told_again(bench):
    begun, go = asyncio.Event(), asyncio.Event()
    start, stop, told = bench.qpu.start, bench.qpu.stop, asyncio.Event()

    async def slowly(order):
        begun.set()
        await go.wait()
        await start(order)

    async def stopping(chunk):
        await stop(chunk)
        told.set()

    bench.qpu.start, bench.qpu.stop = slowly, stopping
    bench.dispatcher.start("q", ORDER)
    await begun.wait()
    bench.dispatcher.stop("q", CHUNK)
    await told.wait()  # it doesn't know the chunk yet
    go.set()
    assert await bench.next(2) == [ChunkStarted(CHUNK), ChunkStopped(CHUNK, 0, 0.0, 0.0)]


async def test_a_qpu_that_falls_silent_a_thousand_times_under_a_chunk_is_asked_on(
    bench, monkeypatch
):
    monkeypatch.setattr(dispatcher_module, "ASK_AGAIN_S", (0.0,))
    wait, silences = bench.qpu.wait, iter(range(1000))

    async def falling_silent(chunk):
        if next(silences, None) is None:
            return await wait(chunk)
        return ChunkOutcome(OutcomeKind.UNANSWERED, message="the network")

    bench.qpu.wait = falling_silent
    bench.dispatcher.start("q", ORDER)
    again = [ChunkUnanswered(CHUNK, "the network"), ChunkStarted(CHUNK)]
    assert await bench.next(2001) == [ChunkStarted(CHUNK), *again * 1000]
    bench.qpu.finish(CHUNK, {"00": 4})
    assert await bench.next(1) == [ChunkFinished(CHUNK, 4, 1.0, 0.0)]


async def test_an_adapter_that_breaks_its_contract_is_looked_at_again(bench):
    well = bench.qpu.health
    bench.qpu.health = cancelled
    bench.dispatcher.watch_health()
    await bench.clock.advance(5)
    assert await bench.next(1) == [
        QpuReported("q", QpuState.DOWN, f"its adapter failed: {ELSEWHERE}")
    ]

    async def wrong():
        raise ZeroDivisionError

    bench.qpu.health = wrong
    await bench.clock.advance(5)
    assert await bench.next(1) == [
        QpuReported("q", QpuState.DOWN, "its adapter failed: ZeroDivisionError()")
    ]
    bench.qpu.health, bench.qpu.describe = well, wrong
    await bench.clock.advance(5)
    assert await bench.next(1) == [QpuReported("q", QpuState.UP)]
    bench.qpu.state = CLOSED
    await bench.clock.advance(5)
    assert await bench.next(1) == [QpuReported("q", QpuState.DOWN, "an inspection")]


async def test_a_calibration_on_which_an_adapter_breaks_has_not_worked(bench):
    async def wrong():
        raise ZeroDivisionError

    bench.qpu.calibrate = wrong
    bench.dispatcher.calibrate("q")
    assert await bench.next(1) == [CalibrationEnded("q", worked=False)]


async def test_a_calibration_that_an_adapter_doesn_t_answer_to_has_not_worked(bench):
    async def silent():
        await asyncio.get_running_loop().create_future()

    bench.qpu.calibrate = silent
    impatient = Dispatcher(
        bench.fleet, lambda event, _: bench.events.put_nowait(event), bench.clock, answer_s=0.01
    )
    impatient.calibrate("q")
    assert await bench.next(1) == [CalibrationEnded("q", worked=False)]


async def test_a_qpu_that_can_t_be_looked_at_is_down_and_is_looked_at_again(bench):
    well = bench.qpu.health

    async def wrong():
        return "fine"

    bench.qpu.health = wrong
    bench.dispatcher.watch_health()
    await bench.clock.advance(5)
    told = "its adapter failed: TypeError(\"its health is 'fine'\")"
    assert await bench.next(1) == [QpuReported("q", QpuState.DOWN, told)]
    bench.qpu.health = well
    await bench.clock.advance(5)
    assert await bench.next(1) == [QpuReported("q", QpuState.UP)]


async def test_a_watch_that_fails_over_a_qpu_goes_on_with_it_down(bench, monkeypatch):
    health_events, failures = watching.health_events, iter([ZeroDivisionError()])

    def failing_once(*asked):
        if error := next(failures, None):
            raise error
        return health_events(*asked)

    monkeypatch.setattr(watching, "health_events", failing_once)
    bench.dispatcher.watch_health()
    await bench.clock.advance(5)
    (found,) = await bench.next(1)
    assert (found.state, "can't be looked at" in found.reason) == (QpuState.DOWN, True)
    await bench.clock.advance(5)
    assert await bench.next(1) == [QpuReported("q", QpuState.UP)]


async def test_a_stop_that_an_adapter_cancelled_is_in_the_log(bench, caplog):
    bench.qpu.stop = cancelled
    bench.dispatcher.stop("q", CHUNK)
    for _ in range(5):
        await asyncio.sleep(0)
    assert f"stop of chunk {CHUNK} ended with" in caplog.text


async def test_a_stop_that_nobody_heard_is_told_again_once_the_chunk_is_found(bench):
    bench.dispatcher.start("q", ORDER)
    assert await bench.next(1) == [ChunkStarted(CHUNK)]
    bench.qpu.hang(CHUNK, "away")
    heard, bench.qpu.stop = bench.qpu.stop, cancelled
    assert await bench.next(2) == [ChunkUnanswered(CHUNK, "away")] * 2  # at its end, and asked
    bench.dispatcher.stop("q", CHUNK)
    await asyncio.sleep(0)
    bench.qpu.stop = heard
    bench.qpu.answer_again(CHUNK)
    events = await bench.next(2)
    assert [type(one) for one in events] == [ChunkStarted, ChunkStopped]


async def test_a_refusal_of_a_qpu_that_is_up_is_a_fault(bench):
    bench.qpu.refuse_start = DeviceError("out of lock")
    bench.dispatcher.start("q", ORDER)
    assert await bench.next(1) == [ChunkLost(CHUNK, "out of lock", fault=True)]


async def test_a_refusal_of_a_closed_qpu_is_no_fault_and_the_closing_is_told_first(bench):
    bench.qpu.refuse_start, bench.qpu.state = DeviceError("closed"), CLOSED
    bench.dispatcher.start("q", ORDER)
    assert await bench.next(2) == [
        QpuReported("q", QpuState.DOWN, "an inspection"),
        ChunkLost(CHUNK, "closed", fault=False),
    ]


async def test_a_fault_of_a_qpu_that_broke_down_is_told_after_the_breakdown(bench):
    bench.dispatcher.start("q", ORDER)
    assert await bench.next(1) == [ChunkStarted(CHUNK)]
    bench.qpu.state = CLOSED
    bench.qpu.fail(CHUNK)
    reported, lost = await bench.next(2)
    assert reported == QpuReported("q", QpuState.DOWN, "an inspection")
    assert isinstance(lost, ChunkLost)
    assert lost.fault


async def test_a_finished_chunk_is_told_with_its_times(bench):
    bench.dispatcher.start("q", ORDER)
    await bench.next(1)
    bench.qpu.finish(CHUNK, {"0": 4}, device_s=3.0)
    assert await bench.next(1) == [ChunkFinished(CHUNK, 4, 3.0, 0.0)]


@pytest.mark.parametrize(("until_s", "seen_after_s"), [(None, 5), (2, 2), (60, 5)])
async def test_health_is_looked_at_every_few_seconds_of_the_clock_and_when_it_says(
    bench, until_s, seen_after_s
):
    until = None if until_s is None else bench.clock.now() + until_s * MICROSECONDS
    bench.fleet.get("q").health = Health(QpuState.UP, until=until)
    bench.dispatcher.watch_health()
    await bench.clock.advance(0)
    bench.qpu.state = CLOSED
    await bench.clock.advance(seen_after_s - 0.001)
    assert bench.events.empty()
    await bench.clock.advance(0.001)
    assert await bench.next(1) == [QpuReported("q", QpuState.DOWN, "an inspection")]


async def test_a_calibration_is_asked_for_and_told_from_beginning_to_end(bench):
    bench.dispatcher.watch_health()
    bench.qpu.state = Health(
        QpuState.DOWN, "calibrating", calibration=CalibrationStatus(None, running=True)
    )
    bench.dispatcher.calibrate("q")
    assert await bench.next(1) == [CalibrationStarted("q")]
    assert bench.qpu.calls[-1] == ("calibrate", None)
    bench.qpu.state = Health(
        QpuState.UP, calibration=CalibrationStatus("e1", since=3, due_at=9, quality=0.9)
    )
    await bench.clock.advance(5)
    assert await bench.next(2) == [
        CalibrationEnded("q", "e1", 3, 0.9),
        CalibrationDue("q", "the QPU says so", 9),
    ]


async def test_a_calibration_that_the_qpu_refuses_is_told_as_one_that_didn_t_work():
    bench = Bench()
    bench.fleet = Fleet([Qpu("q", "fake", FakeQpu("q"))])
    dispatcher = Dispatcher(
        bench.fleet, lambda event, outcome: bench.events.put_nowait(event), bench.clock, 5.0
    )
    dispatcher.calibrate("q")
    assert await bench.next(1) == [CalibrationEnded("q", worked=False)]
    await dispatcher.close()


async def test_a_device_that_changed_is_described_again_and_one_that_can_t_be_stays(bench):
    qpu = bench.fleet.get("q")
    before, after = qpu.description, DeviceDescription("FakeDevice", '{"max_runs": 5}')
    answers = [DeviceError("nonsense"), after]

    async def describe():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    bench.qpu.describe = describe
    bench.dispatcher.watch_health()
    await bench.clock.advance(5)
    assert (qpu.description, len(answers)) == (before, 1)
    bench.qpu.state = CLOSED
    await bench.clock.advance(5)
    assert len(answers) == 1
    bench.qpu.state = Health(QpuState.UP)
    await bench.clock.advance(5)
    assert qpu.description == after
