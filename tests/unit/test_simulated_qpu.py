import asyncio
from collections import Counter

import pytest
import pytest_asyncio

from qpu_executor.errors import DeviceError, ProgramRefused, StoreError
from qpu_executor.model.states import QpuState
from qpu_executor.model.values import MICROSECONDS, ChunkId
from qpu_executor.programs.program import PULSER, Program
from qpu_executor.qpus.base import ChunkOrder, OutcomeKind
from qpu_executor.qpus.registry import build_adapter
from qpu_executor.qpus.sampling import Distribution, sample
from qpu_executor.qpus.simulated import SimulatedQpu
from qpu_executor.qpus.simulated_settings import SimulatedSettings
from qpu_executor.testing.virtual_clock import VirtualClock

COIN = Distribution(1, b"01", b"\0\0\0\0\0\0\xe0?" * 2)


class Coins:
    """Counts of fair coins, at once; `ready` holds them back, `error` refuses."""

    def __init__(self):
        self.device = {}
        self.device_json = "{}"
        self.versions = {"coins": "1"}
        self.ready = asyncio.Event()
        self.ready.set()
        self.error = None

    async def open(self):
        self.device = {"name": "Coin", "max_runs": 2000}

    async def close(self):
        self.device = {}

    def refuse(self, program, shots):
        if program.kind != PULSER:
            raise ProgramRefused("not of this kind", rule="kind")

    def too_many_atoms(self, atoms):
        return None

    async def prepare(self, program):
        await self.ready.wait()
        if self.error is not None:
            raise self.error
        return COIN

    async def draw(self, distribution, *, seed, first_shot, shots):
        return sample(distribution, seed=seed, first_shot=first_shot, shots=shots)


def program(layout="a"):
    return Program(PULSER, f'{{"layout": "{layout}"}}')


def order(task=1, n=0, *, shots=100, first=0, layout="a"):
    return ChunkOrder(ChunkId(task, n), program(layout), first, shots, 7)


class Rehearsal:
    """Opens simulated QPUs on one virtual clock and one directory."""

    def __init__(self, directory):
        self.clock = VirtualClock()
        self.directory = directory
        self.source = Coins()
        self.opened = []

    async def open(self, **settings):
        found = SimulatedSettings.read("sim", {"shot_rate_hz": 5, **settings})
        qpu = SimulatedQpu("sim", found, self.source)
        self.opened.append(qpu)
        await qpu.open(self.clock, self.directory)
        return qpu

    async def outcome(self, qpu, chunk, after_s):
        """The outcome, which comes after exactly so many seconds."""
        await self.clock.advance(after_s - 0.01)
        assert await qpu.ask(chunk) is None
        await self.clock.advance(0.01)
        return await asyncio.wait_for(qpu.wait(chunk), 10)


@pytest_asyncio.fixture
async def rehearsal(tmp_path):
    made = Rehearsal(tmp_path)
    yield made
    for qpu in made.opened:
        await qpu.close()


def counts(first, shots):
    return sample(COIN, seed=7, first_shot=first, shots=shots)


async def test_a_chunk_takes_its_set_up_and_its_shots_on_the_clock(rehearsal):
    qpu = await rehearsal.open(setup_s=2, switch_s=3, layout_s=20)
    began = rehearsal.clock.now()
    await qpu.start(order(shots=100))
    found = await rehearsal.outcome(qpu, ChunkId(1, 0), 25 + 20)
    assert found.kind is OutcomeKind.FINISHED
    assert found.counts == counts(0, 100)
    assert (found.setup_s, found.device_s) == (25, 20)
    assert found.started_at == began
    assert found.ended_at == began + 45 * MICROSECONDS == rehearsal.clock.now()
    assert found.versions["coins"] == "1"


async def test_the_next_chunk_of_a_task_costs_less_than_another_task_or_layout(rehearsal):
    qpu = await rehearsal.open(setup_s=2, switch_s=3, layout_s=20)
    expected = [("a", 1, 0, 25), ("a", 1, 1, 2), ("a", 2, 0, 5), ("b", 3, 0, 25), ("b", 3, 1, 2)]
    for layout, task, n, setup_s in expected:
        await qpu.start(order(task, n, shots=5, layout=layout))
        assert (await rehearsal.outcome(qpu, ChunkId(task, n), setup_s + 1)).setup_s == setup_s


async def test_one_chunk_at_a_time(rehearsal):
    qpu = await rehearsal.open()
    await qpu.start(order())
    with pytest.raises(DeviceError, match=r"chunk 1\.0 is running"):
        await qpu.start(order(2))
    with pytest.raises(DeviceError, match="already started"):
        await qpu.start(order())
    assert (await qpu.wait(ChunkId(2, 0))).kind is OutcomeKind.NOT_KNOWN


@pytest.mark.parametrize(("partial", "shots"), [(True, 40), (False, 0)])
async def test_a_stopped_chunk_gives_what_it_took_if_it_gives_partial_results(
    rehearsal, partial, shots
):
    qpu = await rehearsal.open(setup_s=2, partial_results=partial)
    assert qpu.capabilities.partial_results is partial
    await qpu.start(order(first=300))
    await rehearsal.clock.advance(10.1)
    await qpu.stop(ChunkId(1, 0))
    await qpu.start(order(2, shots=1))  # the QPU is free at once
    found = await qpu.wait(ChunkId(1, 0))
    assert found.kind is OutcomeKind.STOPPED
    assert found.counts == (counts(300, shots) if shots else {})
    assert found.setup_s == 2
    assert found.device_s == pytest.approx(8.1)
    await qpu.stop(ChunkId(1, 0))
    assert await qpu.ask(ChunkId(1, 0)) == found


async def test_a_slow_emulator_is_waited_for_and_changes_no_time(rehearsal):
    qpu = await rehearsal.open()
    rehearsal.source.ready.clear()
    await qpu.start(order(shots=10))
    await rehearsal.clock.advance(60)
    assert await qpu.ask(ChunkId(1, 0)) is None
    rehearsal.source.ready.set()
    found = await qpu.wait(ChunkId(1, 0))
    assert found.device_s == 2
    assert found.ended_at == rehearsal.clock.now() - 58 * MICROSECONDS


async def test_what_the_emulator_refuses_ends_at_once(rehearsal):
    qpu = await rehearsal.open()
    rehearsal.source.error = ProgramRefused("too odd", rule="odd")
    await qpu.start(order())
    found = await qpu.wait(ChunkId(1, 0))
    assert (found.kind, found.message) == (OutcomeKind.REFUSED, "too odd")
    rehearsal.source.error = ArithmeticError("no convergence")
    await qpu.start(order(2))
    found = await qpu.wait(ChunkId(2, 0))
    assert (found.kind, found.message) == (
        OutcomeKind.FAULT,
        "the simulation failed: no convergence",
    )


@pytest.mark.parametrize(("partial", "shots"), [(True, 50), (False, 0)])
async def test_a_planned_closing_stops_the_chunk_and_closes_the_qpu(rehearsal, partial, shots):
    qpu = await rehearsal.open(
        closed=[{"after_s": 10, "length_s": 600, "reason": "an inspection"}],
        partial_results=partial,
    )
    before = await qpu.health()
    assert before.state is QpuState.UP
    assert before.until == rehearsal.clock.now() + 10 * MICROSECONDS
    await qpu.start(order())
    found = await rehearsal.outcome(qpu, ChunkId(1, 0), 10)
    assert (found.kind, found.shots) == (OutcomeKind.STOPPED, shots)
    assert found.message == "the QPU closed for an inspection"
    closed = await qpu.health()
    assert found.health == closed
    assert closed.state is QpuState.DOWN
    assert closed.reason == "an inspection until 2027-01-15 08:10:10 UTC"
    with pytest.raises(DeviceError, match="an inspection until"):
        await qpu.start(order(2))
    await rehearsal.clock.advance(600)
    assert (await qpu.health()).state is QpuState.UP
    await qpu.start(order(3))


async def test_a_breakdown_is_a_fault_of_the_device_and_takes_its_repair(rehearsal):
    qpu = await rehearsal.open(breakdowns={"mean_between_s": 100, "repair_s": 900}, seed=1)
    at = (await qpu.health()).until
    assert at is not None
    left_s = (at - rehearsal.clock.now()) / MICROSECONDS
    await qpu.start(order(shots=2000))
    found = await rehearsal.outcome(qpu, ChunkId(1, 0), left_s)
    assert (found.kind, found.shots) == (OutcomeKind.FAULT, 0)
    assert found.device_s == pytest.approx(left_s)
    health = await qpu.health()
    assert health.state is QpuState.DOWN
    assert "under repair until" in health.reason
    await rehearsal.clock.advance(900)
    assert (await qpu.health()).state is QpuState.UP


async def test_a_device_calibrates_itself_after_the_chunk_in_which_it_was_due(rehearsal):
    qpu = await rehearsal.open(calibration={"every_s": 100, "length_s": 30, "quality": [0.9, 0.95]})
    first = (await qpu.health()).calibration
    assert first is not None
    assert first.due_at == rehearsal.clock.now() + 100 * MICROSECONDS
    await rehearsal.clock.advance(90)
    await qpu.start(order(shots=100))
    found = await rehearsal.outcome(qpu, ChunkId(1, 0), 20)
    assert found.kind is OutcomeKind.FINISHED
    assert found.epoch == first.epoch
    health = await qpu.health()
    assert (health.state, health.until) == (
        QpuState.DOWN,
        rehearsal.clock.now() + 30 * MICROSECONDS,
    )
    assert health.calibration is not None
    assert health.calibration.running
    with pytest.raises(DeviceError, match="calibrating until"):
        await qpu.start(order(2))
    await rehearsal.clock.advance(30)
    second = (await qpu.health()).calibration
    assert second is not None
    assert second.epoch not in (None, first.epoch)
    assert second.since == rehearsal.clock.now()
    assert second.quality is not None
    assert 0.9 <= second.quality <= 0.95
    await qpu.start(order(3, shots=5))
    assert (await rehearsal.outcome(qpu, ChunkId(3, 0), 1)).epoch == second.epoch


async def test_a_qpu_that_nobody_looked_at_for_a_day_is_where_it_would_have_been(rehearsal):
    settings = {
        "calibration": {"every_s": [1000, 2000], "length_s": [50, 90]},
        "breakdowns": {"mean_between_s": 7000, "repair_s": 300},
    }
    watched, left = await rehearsal.open(**settings), await rehearsal.open(**settings)
    seen = set()
    for _ in range(1440):
        await rehearsal.clock.advance(60)
        seen.add((await watched.health()).state)
    assert seen == {QpuState.UP, QpuState.DOWN}
    assert await left.health() == await watched.health()


async def test_the_manager_s_calibration_begins_when_it_asks_and_not_before(rehearsal):
    qpu = await rehearsal.open(
        calibration={"by": "manager", "every_s": 100, "length_s": 30}, setup_s=0
    )
    assert qpu.capabilities.can_calibrate
    await rehearsal.clock.advance(500)
    assert (await qpu.health()).state is QpuState.UP
    await qpu.start(order(shots=50))
    await qpu.calibrate()
    await qpu.calibrate()
    assert (await rehearsal.outcome(qpu, ChunkId(1, 0), 10)).kind is OutcomeKind.FINISHED
    assert (await qpu.health()).state is QpuState.DOWN
    await rehearsal.clock.advance(30)
    after = await qpu.health()
    assert after.state is QpuState.UP
    assert after.calibration is not None
    assert after.calibration.since == rehearsal.clock.now()


async def test_without_a_plan_there_is_nothing_to_calibrate(rehearsal):
    qpu = await rehearsal.open()
    assert not qpu.capabilities.can_calibrate
    with pytest.raises(DeviceError, match="no calibration in the site file"):
        await qpu.calibrate()


async def test_a_remembered_chunk_goes_on_without_its_manager(rehearsal):
    qpu = await rehearsal.open(memory="file", setup_s=2)
    await qpu.start(order(first=200))
    await rehearsal.clock.advance(5)
    waiting = asyncio.create_task(qpu.wait(ChunkId(1, 0)))
    await asyncio.sleep(0)
    await qpu.close()
    assert (await waiting).kind is OutcomeKind.UNANSWERED
    await rehearsal.clock.advance(5)
    again = await rehearsal.open(memory="file", setup_s=2)
    assert await again.ask(ChunkId(1, 0)) is None
    found = await rehearsal.outcome(again, ChunkId(1, 0), 12)
    assert found.counts == counts(200, 100)
    assert (found.setup_s, found.device_s) == (2, 20)


async def test_a_chunk_that_ended_while_nobody_was_there_is_told_to_the_next_manager(rehearsal):
    calibration = {"every_s": 30, "length_s": 1000}
    qpu = await rehearsal.open(memory="file", calibration=calibration)
    await qpu.start(order(shots=100))
    await qpu.close()
    await rehearsal.clock.advance(100)
    again = await rehearsal.open(memory="file", calibration=calibration)
    health = await again.health()
    assert health.state is QpuState.DOWN, "it went on to calibrate by itself"
    found = await asyncio.wait_for(again.wait(ChunkId(1, 0)), 10)
    assert found.counts == counts(0, 100)
    assert found.ended_at == rehearsal.clock.now() - 80 * MICROSECONDS


async def test_an_outcome_is_remembered_and_the_epoch_with_it(rehearsal):
    qpu = await rehearsal.open(memory="file", calibration={"every_s": 9999, "length_s": 10})
    await qpu.start(order(shots=10))
    found = await rehearsal.outcome(qpu, ChunkId(1, 0), 2)
    await qpu.close()
    await rehearsal.clock.advance(50)
    again = await rehearsal.open(memory="file", calibration={"every_s": 9999, "length_s": 10})
    assert await again.ask(ChunkId(1, 0)) == found
    with pytest.raises(DeviceError, match="already started"):
        await again.start(order())
    calibration = (await again.health()).calibration
    assert calibration is not None
    assert calibration.epoch == found.epoch


async def test_without_a_memory_a_chunk_of_an_earlier_manager_is_not_known(rehearsal):
    qpu = await rehearsal.open()
    await qpu.start(order())
    waiting = asyncio.create_task(qpu.wait(ChunkId(1, 0)))
    await asyncio.sleep(0)
    await qpu.close()
    assert (await waiting).kind is OutcomeKind.STOPPED
    again = await rehearsal.open()
    asked = await again.ask(ChunkId(1, 0))
    assert asked is not None
    assert asked.kind is OutcomeKind.NOT_KNOWN
    assert list(rehearsal.directory.iterdir()) == []


async def test_a_damaged_memory_is_told_with_what_to_do(rehearsal):
    (rehearsal.directory / "sim.simulated.json").write_text('{"format": 99}')
    with pytest.raises(StoreError, match=r"format 99.*remove the file"):
        await rehearsal.open(memory="file")


async def test_counts_of_partial_and_following_shots_add_up_to_an_undisturbed_run(rehearsal):
    qpu = await rehearsal.open(partial_results=True)
    await qpu.start(order(shots=100))
    await rehearsal.clock.advance(7)
    await qpu.stop(ChunkId(1, 0))
    first = await qpu.wait(ChunkId(1, 0))
    await qpu.start(order(n=1, first=first.shots, shots=100 - first.shots))
    rest = await rehearsal.outcome(qpu, ChunkId(1, 1), 13)
    assert Counter(first.counts) + Counter(rest.counts) == counts(0, 100)


def test_the_kind_is_found_by_its_entry_point():
    assert isinstance(build_adapter("simulated-qpu", "sim", {"shot_rate_hz": 2}), SimulatedQpu)
