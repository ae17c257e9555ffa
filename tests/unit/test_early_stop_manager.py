"""Early stops in a manager: judged on what is saved, in the turn that saves it, and again."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.errors import QpuExecutorError, RequestRefused
from qpu_executor.manager.auth.caller import Caller
from qpu_executor.manager.service.admission import Admission
from qpu_executor.manager.service.clock import SystemClock
from qpu_executor.manager.service.fleet import Fleet, Qpu
from qpu_executor.manager.service.judging import Judge
from qpu_executor.manager.service.manager import Manager
from qpu_executor.manager.service.orders import Accepted, NewTask
from qpu_executor.manager.store.records import TaskRow
from qpu_executor.manager.store.sql import SqlStore
from qpu_executor.manager.store.wishes import Wishes
from qpu_executor.model.events import CalibrationEnded, ChunkFinished, QpuReported, StoppingRuleMet
from qpu_executor.model.states import ChunkState, OnRecalibration, QpuState, TaskState
from qpu_executor.model.stopping import StopRule
from qpu_executor.model.values import ChunkId, JobClass
from qpu_executor.programs.program import Program, ProgramFacts
from qpu_executor.qpus.base import (
    Capabilities,
    ChunkOrder,
    ChunkOutcome,
    DeviceDescription,
    OutcomeKind,
)
from qpu_executor.qpus.checking import ProgramChecker
from qpu_executor.scheduling.commands import SaveChunk
from qpu_executor.scheduling.scheduler import Scheduler
from qpu_executor.testing.fake_qpu import FakeQpu

ALICE = Caller("alice", 1000, "test")
PROGRAM = Program("opaque", "x")
CLASSES = (JobClass("development", 100, chunk_s=10),)
TWO_SEEN = StopRule(50, distinct=2, seen=10)


class CheckedByHand(ProgramChecker):
    """Finds two qubits in every program."""

    async def check(self, program: Program, device: str) -> ProgramFacts:
        return ProgramFacts(2, 100, "layout", ("a", "b"))


class Bench:
    """A manager with one scripted QPU of 5 shots a second: 50 shots a chunk."""

    def __init__(self, path: Path, device: str | None = None) -> None:
        self.store = SqlStore(path)
        can = Capabilities(kinds=frozenset({"opaque"}), shot_rate_hz=5.0, can_ask=True)
        self.qpu = FakeQpu("q", capabilities=can, device=DeviceDescription("Fake", device))
        fleet = Fleet([Qpu("q", "fake", self.qpu)])
        admission = Admission(
            fleet=fleet,
            classes=CLASSES,
            default_class="development",
            checker=CheckedByHand(),
            store=self.store,
        )
        self.manager = Manager(
            store=self.store,
            fleet=fleet,
            admission=admission,
            scheduler=Scheduler(),
            make_clock=SystemClock,
            health_every_s=3600,
        )

    async def submit(self, shots: int, rule: StopRule | None, **wishes: Any) -> TaskRow:
        order = NewTask(
            PROGRAM, PROGRAM.hash, shots, wishes=Wishes(stop_when=rule, **wishes), seed=1
        )
        (answer,) = await self.manager.submit([order], ALICE)
        if isinstance(answer, QpuExecutorError):
            raise answer
        assert isinstance(answer, Accepted)
        return answer.task

    async def until(self, task_id: int, state: TaskState) -> TaskRow:
        while True:
            serial = self.manager.broadcast.serial
            row = await self.manager.task(task_id, ALICE)
            if row.state is state:
                return row
            assert self.manager.loop.failure is None, self.manager.loop.failure
            await self.manager.broadcast.wait_beyond(serial, 30)

    async def take(self, counts: dict[str, int]) -> ChunkOrder:
        """The QPU takes the next chunk, with these counts, at 5 shots a second."""
        order = await self.qpu.next_order()
        assert order.shots == sum(counts.values())
        self.qpu.finish(order.chunk, counts, device_s=order.shots / 5)
        return order

    async def counts(self, task_id: int) -> Counter[str]:
        """What counts, from the rows of the chunks."""
        found: Counter[str] = Counter()
        for chunk in (await self.store.chunks([task_id]))[task_id]:
            if chunk.shots_counted and not chunk.discarded:
                found.update(chunk.counts)
        return found

    async def kinds(self, task_id: int) -> list[str]:
        """What the journal tells of a task, in order, but for its states."""
        rows = await self.store.journal(0)
        return [row.kind for row in rows if row.task_id == task_id and row.state is None]


@asynccontextmanager
async def bench(path: Path, device: str | None = None) -> AsyncIterator[Bench]:
    made = Bench(path, device)
    await made.store.open()
    clock = await made.manager.recall()
    await made.manager.fleet.open(clock, path.parent)
    await made.manager.start()
    try:
        yield made
    finally:
        await made.manager.stop()
        await made.store.close()


async def test_task_ends_with_the_chunk_that_meets_its_rule(tmp_path: Path) -> None:
    async with bench(tmp_path / "s.sqlite") as one:
        task = await one.submit(1000, TWO_SEEN)
        await one.take({"00": 45, "01": 5})
        assert "1 distinct" in str(one.manager.judge.standing(await _counted(one, task.id, 50)))
        await one.take({"00": 40, "01": 10})
        done = await one.until(task.id, TaskState.COMPLETED)
        assert (done.shots, done.shots_done) == (1000, 100)
        assert done.stopped_early == (
            "2 distinct bitstrings seen 10 times or more after 100 shots (2 wanted)"
        )
        assert await one.counts(task.id) == {"00": 85, "01": 15}
        assert one.qpu.running == ()  # no chunk was sent in vain
        chunks = (await one.store.chunks([task.id]))[task.id]
        assert [chunk.charged_s for chunk in chunks] == [10.0, 10.0]
        assert (await one.kinds(task.id))[-2:] == ["StoppingRuleMet", "ChunkFinished"]
        assert one.manager.judge.standing(done) is None


async def _counted(one: Bench, task_id: int, shots: int) -> TaskRow:
    while True:
        serial = one.manager.broadcast.serial
        row = await one.manager.task(task_id, ALICE)
        if row.shots_done >= shots:
            return row
        await one.manager.broadcast.wait_beyond(serial, 30)


async def test_rule_isnt_looked_at_before_its_least_number_of_shots(tmp_path: Path) -> None:
    async with bench(tmp_path / "s.sqlite") as one:
        task = await one.submit(1000, StopRule(70, distinct=2))
        await one.take({"00": 25, "01": 25})
        second = await one.qpu.next_order()
        assert (second.first_shot, second.shots) == (50, 20)  # the first judgement is at 70
        one.qpu.finish(second.chunk, {"00": 20})
        done = await one.until(task.id, TaskState.COMPLETED)
        assert (done.shots_done, done.stopped_early is not None) == (70, True)


async def test_rule_that_is_never_met_takes_all_shots(tmp_path: Path) -> None:
    async with bench(tmp_path / "s.sqlite") as one:
        task = await one.submit(100, StopRule(10, stderr=1e-6, observable=(("1Z", 1.0),)))
        for _ in range(10):
            order = await one.qpu.next_order()
            one.qpu.finish(order.chunk, {"00": order.shots})
            if order.first_shot + order.shots == 100:
                break
        done = await one.until(task.id, TaskState.COMPLETED)
        assert (done.shots_done, done.stopped_early) == (100, None)
        assert "StoppingRuleMet" not in await one.kinds(task.id)


async def test_partial_shots_of_a_stopped_chunk_are_judged_too(tmp_path: Path) -> None:
    async with bench(tmp_path / "s.sqlite") as one:
        task = await one.submit(1000, StopRule(20, distinct=2))
        order = await one.qpu.next_order()
        assert order.shots == 20
        one.qpu.finish(order.chunk, {"00": 20})
        order = await one.qpu.next_order()
        one.qpu.stop_with(order.chunk, {"11": 1})
        done = await one.until(task.id, TaskState.COMPLETED)
        assert (done.shots_done, done.stopped_early is not None) == (21, True)
        assert await one.counts(task.id) == {"00": 20, "11": 1}


async def test_only_the_counts_that_are_kept_after_a_recalibration_are_judged(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path / "s.sqlite") as one:
        one.manager.loop.post(CalibrationEnded("q", "a"), None)
        task = await one.submit(
            1000, StopRule(50, distinct=2), on_recalibration=OnRecalibration.RESTART
        )
        first = await one.qpu.next_order()
        one.qpu.finish(first.chunk, {"00": 50})
        second = await one.qpu.next_order()
        one.manager.loop.post(CalibrationEnded("q", "b"), None)
        one.qpu.finish(second.chunk, {"00": 50})
        third = await one.qpu.next_order()
        assert third.first_shot == 0
        one.qpu.finish(third.chunk, {"11": 50})  # one bitstring again, of those that count
        fourth = await one.qpu.next_order()
        one.qpu.finish(fourth.chunk, {"00": 25, "11": 25})
        done = await one.until(task.id, TaskState.COMPLETED)
        assert (done.shots_done, done.stopped_early is not None) == (100, True)
        assert await one.counts(task.id) == {"00": 25, "11": 75}


async def test_restart_judges_again_what_is_saved(tmp_path: Path) -> None:
    """As if the chunk's end had been saved by a manager that didn't come to judge it."""
    path = tmp_path / "s.sqlite"
    async with bench(path) as one:
        task = await one.submit(1000, TWO_SEEN)
        await one.take({"00": 49, "01": 1})
        await _counted(one, task.id, 50)
        await one.qpu.next_order()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("update chunks set counts = ? where n = 0", ['{"00": 25, "01": 25}'])
    async with bench(path) as one:  # the QPU knows nothing of the chunk that was out
        done = await one.until(task.id, TaskState.COMPLETED)
        assert done.shots_done == 50
        assert done.stopped_early is not None
        states = [chunk.state for chunk in (await one.store.chunks([task.id]))[task.id]]
        assert states == [ChunkState.FINISHED, ChunkState.LOST]
        assert (await one.kinds(task.id)).count("StoppingRuleMet") == 1
    async with bench(path) as one:
        assert (await one.kinds(task.id)).count("StoppingRuleMet") == 1
        assert (await one.manager.task(task.id, ALICE)) == done


async def test_waiting_task_that_has_enough_gets_no_chunk_from_the_restart(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    async with bench(path) as one:
        task = await one.submit(1000, TWO_SEEN)
        first = await one.qpu.next_order()
        one.manager.loop.post(QpuReported("q", QpuState.DOWN, "a storm"), None)
        one.qpu.finish(first.chunk, {"00": 50})
        await one.until(task.id, TaskState.QUEUED)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("update chunks set counts = ?", ['{"00": 25, "01": 25}'])
    async with bench(path) as one:
        done = await one.until(task.id, TaskState.COMPLETED)
        assert done.stopped_early is not None
        assert len((await one.store.chunks([task.id]))[task.id]) == 1


async def test_discarded_chunks_are_no_evidence_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    async with bench(path) as one:
        task = await one.submit(1000, TWO_SEEN)
        await one.take({"00": 50})
        await one.take({"00": 50})
        await _counted(one, task.id, 100)
        await one.qpu.next_order()
        snapshot = await one.store.load()
    first, *others = snapshot.chunks[task.id]
    chunks = {task.id: (replace(first, counts={"01": 50}, discarded=True), *others)}
    assert Judge().recall(replace(snapshot, chunks=chunks)) == []
    counted = {task.id: (replace(first, counts={"01": 50}), *others)}
    (met,) = Judge().recall(replace(snapshot, chunks=counted))
    assert isinstance(met, StoppingRuleMet)
    assert met.shots == 100


async def test_chunks_end_that_comes_twice_is_judged_once(tmp_path: Path) -> None:
    judge = Judge()
    async with bench(tmp_path / "s.sqlite") as one:
        row = await one.submit(1000, StopRule(50, distinct=1, seen=60))
        outcome = ChunkOutcome(OutcomeKind.FINISHED, counts={"00": 50})
        event = ChunkFinished(ChunkId(row.id, 0), 50, 10.0)
        assert judge.before(event, outcome, row) is None
    judge.follow(SaveChunk(1, ChunkId(row.id, 0), ChunkState.FINISHED, 50), outcome)
    assert judge.before(event, outcome, row) is None
    met = judge.before(ChunkFinished(ChunkId(row.id, 1), 50, 10.0), outcome, row)
    assert met == StoppingRuleMet(
        row.id, 100, "1 distinct bitstrings seen 60 times or more after 100 shots (1 wanted)"
    )


async def test_rule_that_doesnt_fit_the_programs_qubits_is_refused(tmp_path: Path) -> None:
    async with bench(tmp_path / "s.sqlite", device="{}") as one:
        with pytest.raises(RequestRefused, match="'Z' has 1 characters for 2 qubits"):
            await one.submit(100, StopRule(10, stderr=0.1, observable=(("Z", 1.0),)))
        with pytest.raises(RequestRefused, match="5 distinct bitstrings of 2 bits"):
            await one.submit(100, StopRule(10, distinct=5))
        row = await one.submit(100, StopRule(10, distinct=4))
        assert row.wishes.stop_when == StopRule(10, distinct=4)


async def test_change_of_policy_keeps_what_was_judged(tmp_path: Path) -> None:
    async with bench(tmp_path / "s.sqlite") as one:
        task = await one.submit(1000, TWO_SEEN)
        await one.take({"00": 45, "01": 5})
        await _counted(one, task.id, 50)
        await asyncio.wait_for(one.manager.change_policy(one.manager.policy), 30)
        second = await one.qpu.next_order()
        one.qpu.finish(second.chunk, {"00": 45, "01": 5})
        done = await one.until(task.id, TaskState.COMPLETED)
        assert (done.shots_done, await one.counts(task.id)) == (100, {"00": 90, "01": 10})
