import asyncio

import pytest

from qpu_executor.errors import DeviceError, ProgramRefused
from qpu_executor.model.states import QpuState
from qpu_executor.model.values import ChunkId
from qpu_executor.programs.program import Program, ProgramFacts
from qpu_executor.qpus.base import ChunkOrder, Health, OutcomeKind
from qpu_executor.testing.fake_qpu import FakeQpu

CHUNK = ChunkId(1, 0)


def order(n=0):
    return ChunkOrder(ChunkId(1, n), Program("fake", "x"), 0, 10, 3)


@pytest.fixture
async def qpu():
    qpu = FakeQpu()
    await qpu.open()
    return qpu


async def test_a_test_waits_for_an_order_and_finishes_it(qpu):
    waiting = asyncio.create_task(qpu.next_order())
    await qpu.start(order())
    assert (await waiting).chunk == CHUNK
    assert qpu.running == (CHUNK,)
    qpu.finish(CHUNK, {"00": 4, "11": 6}, device_s=2.5)
    found = await qpu.wait(CHUNK)
    assert (found.kind, found.shots, found.device_s) == (OutcomeKind.FINISHED, 10, 2.5)
    assert qpu.delivered == {CHUNK: 10}
    assert qpu.calls == [("open", None), ("start", CHUNK), ("wait", CHUNK)]


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (FakeQpu.fail, OutcomeKind.FAULT),
        (FakeQpu.refuse, OutcomeKind.REFUSED),
        (FakeQpu.lose, OutcomeKind.NOT_KNOWN),
        (FakeQpu.hang, OutcomeKind.UNANSWERED),
        (lambda qpu, chunk: qpu.stop_with(chunk, {"01": 2}), OutcomeKind.STOPPED),
    ],
)
async def test_every_end_reaches_who_waits(qpu, end, kind):
    await qpu.start(order())
    waiting = asyncio.create_task(qpu.wait(CHUNK))
    await asyncio.sleep(0)
    end(qpu, CHUNK)
    assert (await waiting).kind is kind
    asked = await qpu.ask(CHUNK)
    assert asked is not None
    assert asked.kind is kind


async def test_a_chunk_that_hung_runs_on_when_the_qpu_answers_again(qpu):
    await qpu.start(order())
    qpu.hang(CHUNK)
    assert (await qpu.wait(CHUNK)).kind is OutcomeKind.UNANSWERED
    qpu.answer_again(CHUNK)
    assert await qpu.ask(CHUNK) is None
    qpu.finish(CHUNK)
    assert (await qpu.wait(CHUNK)).shots == 10


async def test_what_the_test_wants_refused_is_refused(qpu):
    qpu.refuse_start = ProgramRefused("no", rule="test")
    with pytest.raises(ProgramRefused):
        await qpu.start(order())
    qpu.refuse_start = None
    await qpu.start(order())
    with pytest.raises(DeviceError, match="slots"):
        await qpu.start(order(1))
    qpu.atom_limit = 2
    assert qpu.refusal(ProgramFacts(3, 1, "l", ("a", "b", "c")), 1) is not None
    qpu.state = Health(QpuState.DOWN, "maintenance")
    assert (await qpu.health()).reason == "maintenance"


async def test_ending_a_chunk_that_doesn_t_run_is_the_test_s_mistake(qpu):
    with pytest.raises(AssertionError, match=r"chunk 1\.0 doesn't run"):
        qpu.finish(CHUNK, {})
