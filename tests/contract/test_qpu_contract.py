"""What every adapter has to pass, the fake first."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import pytest_asyncio

from qpu_executor.errors import DeviceError, ProgramError, ProgramRefused
from qpu_executor.manager.service.clock import SystemClock
from qpu_executor.model.states import QpuState
from qpu_executor.model.values import ChunkId
from qpu_executor.programs.program import Program, ProgramFacts
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.qpus.base import (
    Capabilities,
    ChunkOrder,
    DeviceDescription,
    OutcomeKind,
    QpuAdapter,
)
from qpu_executor.qpus.pulser_emulator import build
from qpu_executor.qpus.registry import interface_mismatch
from qpu_executor.qpus.simulated import build as build_simulated
from qpu_executor.testing.fake_qpu import DEFAULT_CAPABILITIES, FakeQpu, seeded_counts
from qpu_executor.testing.sequences import line, small_sequence

# Adapters are opened once for all tests, so these share an event loop.
pytestmark = pytest.mark.asyncio(loop_scope="module")

NEVER_STARTED = ChunkId(2**31 - 1, 0)
TASK_IDS = itertools.count(1)


@dataclass
class Subject:
    """An opened adapter with what it can run, what takes long there, and what it refuses.

    `survives`: its chunks go on when the adapter is closed, as on hardware.
    """

    qpu: QpuAdapter
    programs: tuple[Program, Program]
    endless: Program
    invalid: Program
    endless_shots: int = 20
    survives: bool = False

    def long_order(self) -> ChunkOrder:
        return order(self.endless, shots=self.endless_shots)


def make_fake() -> Subject:
    capabilities = Capabilities(
        kinds=DEFAULT_CAPABILITIES.kinds, slots=2, can_ask=True, emulated=True, seeded=True
    )
    endless = Program("fake", "endless")
    qpu = FakeQpu(
        capabilities=capabilities,
        device=DeviceDescription("FakeDevice"),
        answer=lambda order: None if order.program == endless else seeded_counts(order),
    )
    qpu.atom_limit = 10
    programs = (Program("fake", "one"), Program("fake", "two"))
    return Subject(qpu, programs, endless, Program("unheard-of", "x"))


def make_emulator() -> Subject:
    def program(**settings: object) -> Program:
        return to_program(small_sequence(**settings))

    return Subject(
        build("emu", {"workers": 2, "max_atoms": 14}),
        (program(), program(duration_ns=160)),
        # Not endless, but far longer than the test needs to stop it.
        program(atoms=line(14, spacing_um=5.0), duration_ns=5000),
        program(atoms=line(15, spacing_um=5.0)),
    )


def make_simulated(memory: str = "none", **troubles: object) -> Subject:
    def program(**settings: object) -> Program:
        return to_program(small_sequence(**settings))

    settings = {
        "shot_rate_hz": 200,
        "partial_results": True,
        "memory": memory,
        "calibration": {"by": "manager", "every_s": 3600, "length_s": 60},
        **troubles,
    }
    return Subject(
        build_simulated("sim", settings),
        (program(), program(duration_ns=160)),
        program(duration_ns=240),
        program(atoms=line(15, spacing_um=5.0)),
        endless_shots=2000,
        survives=memory == "file",
    )


def make_remembering() -> Subject:
    return make_simulated(memory="file")


def make_noisy() -> Subject:
    loading = {"retry_s": 0.01, "atom_success": 0.99}
    noise = {"preset": "rough", "realisations": 2}
    faults = {"preset": "gentle", "chunk": 0}
    return make_simulated(memory="file", loading=loading, noise=noise, faults=faults)


@pytest.fixture(
    params=[make_fake, make_emulator, make_simulated, make_remembering, make_noisy],
    ids=["fake", "pulser-emulator", "simulated-qpu", "simulated-qpu-with-memory", "noisy-machine"],
    scope="module",
)
def make(request: pytest.FixtureRequest) -> Callable[[], Subject]:
    return request.param


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def subject(make, tmp_path_factory):
    subject = make()
    await subject.qpu.open(SystemClock(), tmp_path_factory.mktemp("qpu"))
    yield subject
    await subject.qpu.close()


def order(program: Program, *, first: int = 0, shots: int = 20, seed: int = 7):
    return ChunkOrder(ChunkId(next(TASK_IDS), 0), program, first, shots, seed)


async def outcome_of(subject: Subject, one: ChunkOrder):
    await subject.qpu.start(one)
    return await subject.qpu.wait(one.chunk)


async def test_it_fits_the_interface(subject):
    assert interface_mismatch(subject.qpu) is None


async def test_open_it_describes_itself_and_is_up(subject):
    assert subject.qpu.name
    assert subject.qpu.capabilities.kinds
    assert (await subject.qpu.describe()).device_name
    assert (await subject.qpu.health()).state is QpuState.UP


async def test_a_chunk_gives_as_many_shots_as_were_asked(subject):
    found = await outcome_of(subject, order(subject.programs[0], shots=37))
    assert found.kind is OutcomeKind.FINISHED
    assert found.shots == 37
    assert all(set(bits) <= {"0", "1"} for bits in found.counts)
    assert found.device_s >= 0
    assert found.setup_s >= 0
    assert found.epoch
    assert found.versions


async def test_an_ended_chunk_can_be_waited_for_and_asked_about_again(subject):
    one = order(subject.programs[0])
    found = await outcome_of(subject, one)
    assert await subject.qpu.wait(one.chunk) == found
    assert await subject.qpu.ask(one.chunk) == found


async def test_a_running_chunk_is_asked_about_and_stopped(subject):
    one = subject.long_order()
    await subject.qpu.start(one)
    waiting = asyncio.create_task(subject.qpu.wait(one.chunk))
    assert await subject.qpu.ask(one.chunk) is None
    await subject.qpu.stop(one.chunk)
    found = await waiting
    assert found.kind is OutcomeKind.STOPPED
    assert found.shots == 0 or subject.qpu.capabilities.partial_results
    assert await subject.qpu.ask(one.chunk) == found


async def test_after_a_stop_the_next_chunk_runs(subject):
    one = subject.long_order()
    await subject.qpu.start(one)
    await subject.qpu.stop(one.chunk)
    found = await outcome_of(subject, order(subject.programs[0]))
    assert found.kind is OutcomeKind.FINISHED


async def test_a_stop_of_one_chunk_doesn_t_disturb_another(subject):
    if subject.qpu.capabilities.slots < 2:
        pytest.skip("one slot only")
    stopped, other = subject.long_order(), order(subject.programs[0])
    await subject.qpu.start(stopped)
    await subject.qpu.start(other)
    await subject.qpu.stop(stopped.chunk)
    assert (await subject.qpu.wait(other.chunk)).shots == 20
    assert (await subject.qpu.wait(stopped.chunk)).kind is OutcomeKind.STOPPED


async def test_two_chunks_run_at_once_where_there_are_slots(subject):
    if subject.qpu.capabilities.slots < 2:
        pytest.skip("one slot only")
    held, other = subject.long_order(), order(subject.programs[1])
    await subject.qpu.start(held)
    assert (await outcome_of(subject, other)).shots == 20
    assert await subject.qpu.ask(held.chunk) is None
    await subject.qpu.stop(held.chunk)


async def test_a_chunk_that_was_never_started_is_not_known(subject):
    assert (await subject.qpu.wait(NEVER_STARTED)).kind is OutcomeKind.NOT_KNOWN
    await subject.qpu.stop(NEVER_STARTED)
    if subject.qpu.capabilities.can_ask:
        asked = await subject.qpu.ask(NEVER_STARTED)
        assert asked is not None
        assert asked.kind is OutcomeKind.NOT_KNOWN


async def test_an_invalid_program_is_refused_and_never_runs(subject):
    one = order(subject.invalid)
    with pytest.raises(ProgramRefused) as caught:
        await subject.qpu.start(one)
    assert caught.value.rule
    assert isinstance(caught.value, ProgramError)
    assert (await subject.qpu.wait(one.chunk)).kind is OutcomeKind.NOT_KNOWN


async def test_a_limit_of_its_own_is_told_at_admission(subject):
    def facts(atoms: int) -> ProgramFacts:
        return ProgramFacts(atoms, 100, "layout", tuple(str(i) for i in range(atoms)))

    assert subject.qpu.refusal(facts(3), 100) is None
    refusal = subject.qpu.refusal(facts(60), 100)
    assert refusal is not None
    assert "60 atoms" in str(refusal)


async def test_counts_don_t_depend_on_how_the_shots_were_cut(subject):
    if not subject.qpu.capabilities.seeded:
        pytest.skip("not seeded")
    program = subject.programs[0]
    whole = await outcome_of(subject, order(program, shots=100))
    parts = [
        await outcome_of(subject, order(program, first=first, shots=shots))
        for first, shots in [(0, 33), (33, 1), (34, 66)]
    ]
    assert sum((Counter(part.counts) for part in parts), Counter()) == Counter(whole.counts)
    other = await outcome_of(subject, order(program, shots=100, seed=8))
    assert other.counts != whole.counts


async def test_a_calibration_is_told_by_health_or_refused(make, tmp_path):
    qpu = make().qpu
    await qpu.open(SystemClock(), tmp_path)
    try:
        if not qpu.capabilities.can_calibrate:
            with pytest.raises(DeviceError):
                await qpu.calibrate()
            return
        await qpu.calibrate()
        calibration = (await qpu.health()).calibration
        assert calibration is not None
        assert calibration.running
    finally:
        await qpu.close()


async def test_closing_ends_running_chunks_and_may_be_done_twice(make, tmp_path):
    subject = make()
    await subject.qpu.open(SystemClock(), tmp_path)
    one = subject.long_order()
    await subject.qpu.start(one)
    waiting = asyncio.create_task(subject.qpu.wait(one.chunk))
    await asyncio.sleep(0)
    await subject.qpu.close()
    ended = OutcomeKind.UNANSWERED if subject.survives else OutcomeKind.STOPPED
    assert (await waiting).kind is ended
    await subject.qpu.close()
    assert (await subject.qpu.health()).state is QpuState.DOWN
