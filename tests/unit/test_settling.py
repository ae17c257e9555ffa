"""An operator's word on a chunk that nobody answers for: what it does, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from qpu_executor.errors import NotAllowed, RequestRefused, UnknownTask
from qpu_executor.manager.auth.caller import Caller, Role
from qpu_executor.manager.service.admission import Admission
from qpu_executor.manager.service.clock import SystemClock
from qpu_executor.manager.service.fleet import Fleet, Qpu
from qpu_executor.manager.service.manager import Manager
from qpu_executor.manager.service.operations import Operations
from qpu_executor.manager.service.orders import Accepted, NewTask
from qpu_executor.manager.service.settling import Verdict
from qpu_executor.manager.service.site_rules import SiteRules
from qpu_executor.manager.store.records import ChunkRow, JournalRow, TaskRow
from qpu_executor.manager.store.sql import SqlStore
from qpu_executor.model.states import ChunkState, QpuState, TaskState
from qpu_executor.model.values import JobClass
from qpu_executor.programs.program import Program
from qpu_executor.qpus.base import Capabilities, ChunkOrder
from qpu_executor.qpus.checking import ProgramChecker
from qpu_executor.scheduling.scheduler import Scheduler
from qpu_executor.testing.fake_qpu import FakeQpu

ALICE = Caller("alice", 1000, "test")
OPERATOR = Caller("olga", 7, "test", frozenset({Role.OPERATOR}))
PROGRAM = Program("opaque", "x")
LOST = Verdict(None)
CAN = Capabilities(frozenset({"opaque"}), shot_rate_hz=10.0, can_ask=True)


class Bench:
    """A manager with one scripted QPU that takes 100 shots in a chunk."""

    def __init__(self, path: Path, qpu: FakeQpu, deadline_s: float) -> None:
        self.qpu = qpu
        self.store = SqlStore(path)
        rules = SiteRules(unknown_deadline_s=deadline_s)
        self.fleet = Fleet([Qpu(qpu.name, "fake", qpu, rules=rules)])
        classes = (JobClass("development", 100, chunk_s=10),)
        self.manager = Manager(
            store=self.store,
            fleet=self.fleet,
            admission=Admission(
                fleet=self.fleet,
                classes=classes,
                default_class="development",
                checker=ProgramChecker(),
                store=self.store,
            ),
            scheduler=Scheduler(),
            make_clock=SystemClock,
            health_every_s=3600,
        )
        self.operator = Operations(self.manager, OPERATOR)

    async def submit(self, shots: int) -> TaskRow:
        order = NewTask(PROGRAM, PROGRAM.hash, shots)
        (answer,) = await self.manager.submit([order], ALICE)
        assert isinstance(answer, Accepted), answer
        return answer.task

    async def unknown_chunk(self, shots: int = 150) -> ChunkOrder:
        """The first chunk of a new task; its QPU doesn't answer for it any more."""
        await self.submit(shots)
        order = await self.qpu.next_order()
        self.qpu.hang(order.chunk)
        await self.until_chunk(order.chunk.task_id, ChunkState.UNKNOWN)
        return order

    async def until_chunk(self, task_id: int, state: ChunkState) -> None:
        while True:
            serial = self.manager.broadcast.serial
            found = self.manager.scheduler.chunk_out(task_id)
            if found is not None and found.state is state and await self.saved(task_id, state):
                return
            await self.manager.broadcast.wait_beyond(serial, 30)

    async def saved(self, task_id: int, state: ChunkState) -> bool:
        return (await self.chunks(task_id))[-1].state is state

    async def chunks(self, task_id: int) -> list[ChunkRow]:
        return (await self.store.chunks([task_id]))[task_id]

    async def until(self, task_id: int, state: TaskState) -> TaskRow:
        while True:
            serial = self.manager.broadcast.serial
            row = await self.manager.task(task_id, ALICE)
            if row.state is state:
                return row
            await self.manager.broadcast.wait_beyond(serial, 30)

    async def until_qpu(self, state: QpuState) -> str:
        """Wait until the core sees the QPU so; the reason."""
        while True:
            serial = self.manager.broadcast.serial
            view = self.manager.scheduler.qpu("q")
            assert view is not None
            if view.state is state:
                return view.reason
            await self.manager.broadcast.wait_beyond(serial, 30)

    async def decisions(self) -> list[JournalRow]:
        return [row for row in await self.store.journal(0) if row.kind == "OperatorAsked"]


@asynccontextmanager
async def bench(path: Path, qpu: FakeQpu, deadline_s: float = 600.0) -> AsyncIterator[Bench]:
    made = Bench(path, qpu, deadline_s)
    await made.store.open()
    await made.fleet.open(await made.manager.recall(), path.parent)
    await made.manager.start()
    try:
        yield made
    finally:
        await made.manager.stop()
        await made.store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.sqlite"


async def test_lost_chunk_goes_into_a_new_one_and_the_decision_is_on_record(path: Path) -> None:
    qpu = FakeQpu("q", capabilities=CAN)
    async with bench(path, qpu) as one:
        first = await one.unknown_chunk()
        await one.operator.settle(first.chunk.task_id, LOST)
        again = await qpu.next_order()
        assert (again.chunk.n, again.first_shot, again.shots) == (1, 0, 100)
        qpu.finish(again.chunk, {"0": 100})
        qpu.finish((await qpu.next_order()).chunk, {"0": 50})
        row = await one.until(first.chunk.task_id, TaskState.COMPLETED)
        assert row.shots_done == 150
        lost, *counted = await one.chunks(row.id)
        assert lost.state is ChunkState.LOST
        assert lost.reason == "declared lost by olga: its shots may be taken a second time"
        assert [chunk.shots_counted for chunk in counted] == [100, 50]
        (decision,) = await one.decisions()
        assert decision.data == {
            "who": "olga",
            "uid": 7,
            "how": "test",
            "origin": "",
            "what": "settle as lost",
            "task": row.id,
            "chunk": 0,
            "qpu": "q",
        }
        # The QPU was told to stop it before the next one came, and is asked no more.
        said = [call for call in qpu.calls if call[0] in ("start", "stop")]
        assert said[:3] == [("start", first.chunk), ("stop", first.chunk), ("start", again.chunk)]


async def test_counts_read_off_the_machine_count_like_the_qpu_s(path: Path) -> None:
    qpu = FakeQpu("q", capabilities=CAN)
    async with bench(path, qpu) as one:
        first = await one.unknown_chunk()
        verdict = Verdict({"01": 60, "10": 30}, device_s=9.0, chunk=0)
        await one.operator.settle(first.chunk.task_id, verdict)
        rest = await qpu.next_order()
        assert (rest.first_shot, rest.shots) == (90, 60)
        qpu.finish(rest.chunk, {"01": 60})
        row = await one.until(first.chunk.task_id, TaskState.COMPLETED)
        entered = (await one.chunks(row.id))[0]
        assert (entered.state, entered.shots_counted) == (ChunkState.FINISHED, 90)
        assert entered.counts == {"01": 60, "10": 30}
        assert (entered.device_s, entered.reason) == (9.0, "counts entered by olga")
        (decision,) = await one.decisions()
        assert (decision.data["what"], decision.data["shots"]) == ("settle with counts", 90)


async def test_what_was_settled_stays_so_after_a_restart(path: Path) -> None:
    qpu = FakeQpu("q", capabilities=CAN)
    async with bench(path, qpu) as one:
        first = await one.unknown_chunk(100)
        await one.operator.settle(first.chunk.task_id, Verdict({"0": 100}))
        await one.until(first.chunk.task_id, TaskState.COMPLETED)
    qpu.answer_again(first.chunk)
    async with bench(path, qpu) as two:
        (chunk,) = await two.chunks(first.chunk.task_id)
        assert chunk.state is ChunkState.FINISHED
        assert two.manager.live == {}


async def test_chunk_of_a_qpu_that_left_the_site_file_waits_for_a_word(path: Path) -> None:
    async with bench(path, FakeQpu("gone", capabilities=CAN)) as one:
        await one.submit(100)
        order = await one.qpu.next_order()
        await one.until_chunk(order.chunk.task_id, ChunkState.RUNNING)
    task_id = order.chunk.task_id
    async with bench(path, FakeQpu("q", capabilities=CAN)) as two:
        await two.until_chunk(task_id, ChunkState.UNKNOWN)
        (chunk,) = await two.chunks(task_id)
        assert "put it back" in (chunk.reason or "")
        assert not two.qpu.orders  # nobody else takes shots that may have been taken
        await two.operator.settle(task_id, Verdict({"1": 100}))
        assert (await two.until(task_id, TaskState.COMPLETED)).shots_done == 100


@pytest.mark.parametrize(
    ("verdict", "message"),
    [
        (Verdict({"0": 1}, chunk=3), "chunk 3 isn't out"),
        (Verdict({"0": 1, "012": 1}), "'012' can't be an outcome"),
        (Verdict({"0": 1, "01": 1}), "'01' can't be an outcome"),
        (Verdict({"": 1}), "'' can't be an outcome"),
        (Verdict({"0": -1}), "was seen -1 times"),
        (Verdict({"0": 0}), "no shot"),
        (Verdict({}), "no shot"),
    ],
)
async def test_verdict_that_can_t_be_is_refused_and_changes_nothing(
    path: Path, verdict: Verdict, message: str
) -> None:
    async with bench(path, FakeQpu("q", capabilities=CAN)) as one:
        order = await one.unknown_chunk()
        with pytest.raises(RequestRefused, match=message):
            await one.operator.settle(order.chunk.task_id, verdict)
        (chunk,) = await one.chunks(order.chunk.task_id)
        assert chunk.state is ChunkState.UNKNOWN
        await one.manager.loop.run(lambda ledger, now: None)  # what came before is saved
        (told,) = await one.decisions()
        assert (told.data["what"], told.data["task_id"]) == ("settle", order.chunk.task_id)
        assert str(told.data["outcome"]).startswith("refused: ")
        assert "012" not in str(told.data["outcome"]), "the audit log has no counts"


async def test_only_operators_settle_and_only_what_nobody_answers_for(path: Path) -> None:
    qpu = FakeQpu("q", capabilities=CAN)
    async with bench(path, qpu) as one:
        with pytest.raises(NotAllowed):
            Operations(one.manager, ALICE)
        with pytest.raises(UnknownTask):
            await one.operator.settle(5, LOST)
        task = await one.submit(100)
        waiting = await one.submit(100)
        await one.until_chunk(task.id, ChunkState.RUNNING)
        with pytest.raises(RequestRefused, match="is RUNNING: its QPU answers"):
            await one.operator.settle(task.id, LOST)
        with pytest.raises(RequestRefused, match="has no chunk at a QPU"):
            await one.operator.settle(waiting.id, LOST)


async def test_qpu_is_down_after_the_deadline_until_the_chunk_is_settled(path: Path) -> None:
    qpu = FakeQpu("q", capabilities=CAN)
    async with bench(path, qpu, deadline_s=0.05) as one:
        order = await one.unknown_chunk(100)
        task_id = order.chunk.task_id
        reason = await one.until_qpu(QpuState.DOWN)
        assert reason == (
            f"nobody has said for 0.05 s what became of chunk {order.chunk}: `qpu settle {task_id}`"
        )
        assert one.fleet.get("q").health.reason == reason
        other = await one.submit(10)
        await one.operator.settle(task_id, LOST)
        again = await qpu.next_order()
        assert await one.until_qpu(QpuState.UP) == ""
        assert one.fleet.get("q").health.state is QpuState.UP
        qpu.finish(again.chunk)
        qpu.finish((await qpu.next_order()).chunk)
        await one.until(task_id, TaskState.COMPLETED)
        await one.until(other.id, TaskState.COMPLETED)


async def test_qpu_that_is_down_by_the_deadline_comes_back_with_its_own_answer(path: Path) -> None:
    qpu = FakeQpu("q", capabilities=CAN)
    async with bench(path, qpu, deadline_s=0.05) as one:
        order = await one.unknown_chunk(100)
        await one.until_qpu(QpuState.DOWN)
        qpu.answer_again(order.chunk)
        await one.until_qpu(QpuState.UP)
        qpu.finish(order.chunk)
        row = await one.until(order.chunk.task_id, TaskState.COMPLETED)
        assert [chunk.state for chunk in await one.chunks(row.id)] == [ChunkState.FINISHED]
