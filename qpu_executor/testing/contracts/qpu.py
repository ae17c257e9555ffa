"""What every QPU adapter has to pass. Yours, in a test file of your own:

    from qpu_executor.testing.contracts.qpu import *

    @pytest.fixture(scope="module")
    def make():
        def subject():
            return Subject(build("mine", {"url": URL}), (one, two), endless=slow, invalid=wrong)
        return subject

`make` is asked for new, closed adapters; most tests share one. What an adapter says that it
can't do (`Capabilities`) is skipped.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from qpu_executor.errors import DeviceError, ProgramError, ProgramRefused
from qpu_executor.manager.service.clock import SystemClock
from qpu_executor.model.states import QpuState
from qpu_executor.model.values import ChunkId
from qpu_executor.programs.program import ProgramFacts
from qpu_executor.qpus.base import OutcomeKind
from qpu_executor.qpus.registry import interface_mismatch
from qpu_executor.testing.contracts.qpu_closing import *  # noqa: F403
from qpu_executor.testing.contracts.qpu_subject import Subject, order, outcome_of

# Adapters are opened once for all tests, so these share an event loop.
pytestmark = pytest.mark.asyncio(loop_scope="module")

NEVER_STARTED = ChunkId(2**31 - 1, 0)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def subject(
    make: Callable[[], Subject], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Subject]:
    """What `make` makes, opened once for all tests."""
    subject, directory = make(), tmp_path_factory.mktemp("qpu")
    # Opened before, as at a site: what isn't in its files by now never happened.
    await subject.qpu.open(SystemClock(), directory)
    await subject.qpu.close()
    await subject.qpu.open(SystemClock(), directory)
    yield subject
    await subject.qpu.close()


async def test_it_fits_the_interface(subject: Subject) -> None:
    assert interface_mismatch(subject.qpu) is None


async def test_open_it_describes_itself_and_is_up(subject: Subject) -> None:
    assert subject.qpu.name
    assert subject.qpu.capabilities.kinds
    assert (await subject.qpu.describe()).device_name
    assert (await subject.qpu.health()).state is QpuState.UP


async def test_a_chunk_gives_as_many_shots_as_were_asked(subject: Subject) -> None:
    found = await outcome_of(subject, order(subject.programs[0], shots=37))
    assert found.kind is OutcomeKind.FINISHED
    assert found.shots == 37
    assert all(set(bits) <= {"0", "1"} for bits in found.counts)
    assert found.device_s >= 0
    assert found.setup_s >= 0
    assert found.epoch or "calibration" in subject.qpu.capabilities.limits
    assert found.versions


async def test_an_ended_chunk_can_be_waited_for_and_asked_about_again(subject: Subject) -> None:
    one = order(subject.programs[0])
    found = await outcome_of(subject, one)
    assert await subject.qpu.wait(one.chunk) == found
    assert await subject.qpu.ask(one.chunk) == found


async def test_a_running_chunk_is_asked_about_and_stopped(subject: Subject) -> None:
    one = subject.long_order()
    await subject.qpu.start(one)
    waiting = asyncio.create_task(subject.qpu.wait(one.chunk))
    assert await subject.qpu.ask(one.chunk) is None
    await subject.qpu.stop(one.chunk)
    found = await waiting
    assert found.kind is OutcomeKind.STOPPED
    assert found.shots == 0 or subject.qpu.capabilities.partial_results
    assert await subject.qpu.ask(one.chunk) == found


async def test_after_a_stop_the_next_chunk_runs(subject: Subject) -> None:
    one = subject.long_order()
    await subject.qpu.start(one)
    await subject.qpu.stop(one.chunk)
    found = await outcome_of(subject, order(subject.programs[0]))
    assert found.kind is OutcomeKind.FINISHED


async def test_a_stop_of_one_chunk_doesn_t_disturb_another(subject: Subject) -> None:
    if subject.qpu.capabilities.slots < 2:
        pytest.skip("one slot only")
    stopped, other = subject.long_order(), order(subject.programs[0])
    await subject.qpu.start(stopped)
    await subject.qpu.start(other)
    await subject.qpu.stop(stopped.chunk)
    assert (await subject.qpu.wait(other.chunk)).shots == 20
    assert (await subject.qpu.wait(stopped.chunk)).kind is OutcomeKind.STOPPED


async def test_two_chunks_run_at_once_where_there_are_slots(subject: Subject) -> None:
    if subject.qpu.capabilities.slots < 2:
        pytest.skip("one slot only")
    held, other = subject.long_order(), order(subject.programs[1])
    await subject.qpu.start(held)
    assert (await outcome_of(subject, other)).shots == 20
    assert await subject.qpu.ask(held.chunk) is None
    await subject.qpu.stop(held.chunk)


async def test_a_chunk_that_was_never_started_is_not_known(subject: Subject) -> None:
    assert (await subject.qpu.wait(NEVER_STARTED)).kind is OutcomeKind.NOT_KNOWN
    await subject.qpu.stop(NEVER_STARTED)
    if subject.qpu.capabilities.can_ask:
        asked = await subject.qpu.ask(NEVER_STARTED)
        assert asked is not None
        assert asked.kind is OutcomeKind.NOT_KNOWN


async def test_a_stopped_chunk_gives_the_shots_that_it_took_where_it_can(subject: Subject) -> None:
    if not subject.qpu.capabilities.partial_results:
        pytest.skip("no partial results")
    for patience_s in (0.2, 2.0, 20.0):  # a machine may be slow to take its first shot
        one = subject.long_order()
        await subject.qpu.start(one)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(subject.qpu.wait(one.chunk), patience_s)
        await subject.qpu.stop(one.chunk)
        found = await subject.qpu.wait(one.chunk)
        assert found.kind is OutcomeKind.STOPPED
        assert found.shots < one.shots
        if found.shots:
            return
    pytest.fail("a stopped chunk never has shots")


async def test_what_a_machine_can_t_do_names_the_limit_behind_it(subject: Subject) -> None:
    can = subject.qpu.capabilities
    if can.emulated:
        pytest.skip("no vendor to name")
    wanted = (
        "can_ask",
        "partial_results",
        "send_ahead",
        "seeded",
        "can_calibrate",
        "calibration",
    )
    lacking = {one for one in wanted if not getattr(can, one)}
    assert lacking <= set(can.limits)
    assert all(len(text.split()) > 2 for text in can.limits.values())
    assert not {one for one in can.limits if getattr(can, one, None)}


async def test_an_invalid_program_is_refused_and_never_runs(subject: Subject) -> None:
    one = order(subject.invalid)
    with pytest.raises(ProgramRefused) as caught:
        await subject.qpu.start(one)
    assert caught.value.rule
    assert isinstance(caught.value, ProgramError)
    assert (await subject.qpu.wait(one.chunk)).kind is OutcomeKind.NOT_KNOWN


async def test_a_limit_of_its_own_is_told_at_admission(subject: Subject) -> None:
    def facts(atoms: int) -> ProgramFacts:
        return ProgramFacts(atoms, 100, "layout", tuple(str(i) for i in range(atoms)))

    assert subject.qpu.refusal(facts(3), 100) is None
    if subject.too_many is None:
        pytest.skip("no limit but its device's")
    refusal = subject.qpu.refusal(facts(subject.too_many), 100)
    assert refusal is not None
    assert f"{subject.too_many} atoms" in str(refusal)


async def test_counts_don_t_depend_on_how_the_shots_were_cut(subject: Subject) -> None:
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


async def test_a_calibration_is_told_by_health_or_refused(
    make: Callable[[], Subject], tmp_path: Path
) -> None:
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


async def test_closing_ends_running_chunks_and_may_be_done_twice(
    make: Callable[[], Subject], tmp_path: Path
) -> None:
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
