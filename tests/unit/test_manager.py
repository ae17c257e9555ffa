"""The manager around the core, in one process: a real store, a scripted QPU, no HTTP."""

from __future__ import annotations

import asyncio
import math
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.errors import ManagerBusy, QpuExecutorError, StoreError, UnknownTask
from qpu_executor.manager.auth.caller import Caller
from qpu_executor.manager.service import loop, store_patience
from qpu_executor.manager.service.admission import Admission
from qpu_executor.manager.service.clock import SystemClock
from qpu_executor.manager.service.fleet import Fleet, Qpu
from qpu_executor.manager.service.manager import Manager
from qpu_executor.manager.service.orders import Accepted, NewTask
from qpu_executor.manager.store.change_records import AddJournal, Change
from qpu_executor.manager.store.records import TaskRow
from qpu_executor.manager.store.sql import SqlStore
from qpu_executor.model.states import ChunkState, TaskState
from qpu_executor.model.values import JobClass
from qpu_executor.programs.program import Program
from qpu_executor.qpus.base import Capabilities, ChunkOrder
from qpu_executor.qpus.checking import ProgramChecker
from qpu_executor.scheduling.scheduler import Scheduler
from qpu_executor.testing.fake_qpu import FakeQpu

ALICE = Caller("alice", 1000, "test")
BOB = Caller("bob", 1001, "test")
PROGRAM = Program("opaque", "x")
CLASSES = (JobClass("production", 300, chunk_s=10), JobClass("development", 100, chunk_s=10))


class Bench:
    """A manager with one scripted QPU that takes 10 shots a second: 100 shots a chunk."""

    def __init__(self, path: Path, qpu: FakeQpu) -> None:
        self.store = SqlStore(path, busy_timeout_s=0.05)
        self.qpu = qpu
        self.fleet = Fleet([Qpu("q", "fake", qpu)])
        admission = Admission(
            fleet=self.fleet,
            classes=CLASSES,
            default_class="development",
            checker=ProgramChecker(),
            store=self.store,
        )
        self.manager = Manager(
            store=self.store,
            fleet=self.fleet,
            admission=admission,
            scheduler=Scheduler(),
            make_clock=SystemClock,
            health_every_s=3600,
        )

    async def submit(self, shots: int, caller: Caller = ALICE, **options: Any) -> TaskRow:
        order = NewTask(PROGRAM, PROGRAM.hash, shots, **options)
        (answer,) = await self.manager.submit([order], caller)
        assert isinstance(answer, Accepted), answer
        return answer.task

    async def until(self, task_id: int, *states: TaskState, caller: Caller = ALICE) -> TaskRow:
        """Wait for a state, by the broadcast that event streams live on."""
        while True:
            serial = self.manager.broadcast.serial
            row = await self.manager.task(task_id, caller)
            if row.state in states:
                return row
            assert self.manager.loop.failure is None, self.manager.loop.failure
            await self.manager.broadcast.wait_beyond(serial, 30)

    async def chunk_states(self, task_id: int) -> list[tuple[ChunkState, int]]:
        rows = (await self.store.chunks([task_id])).get(task_id, [])
        return [(row.state, row.shots_counted) for row in rows]


@asynccontextmanager
async def bench(path: Path, qpu: FakeQpu) -> AsyncIterator[Bench]:
    made = Bench(path, qpu)
    await made.store.open()
    clock = await made.manager.recall()
    await made.fleet.open(clock, path.parent)
    await made.manager.start()
    try:
        yield made
    finally:
        await made.manager.stop()
        await made.store.close()


async def stored_states(path: Path, task_id: int) -> list[ChunkState]:
    """What the next manager reads."""
    store = SqlStore(path)
    await store.open()
    try:
        return [row.state for row in (await store.chunks([task_id]))[task_id]]
    finally:
        await store.close()


def scripted(**changes: Any) -> FakeQpu:
    can = {"kinds": frozenset({"opaque"}), "shot_rate_hz": 10.0, "can_ask": True, **changes}
    return FakeQpu("q", capabilities=Capabilities(**can))


def take(qpu: FakeQpu, order: ChunkOrder) -> None:
    """Let the QPU take all shots of an order, at 10 shots a second."""
    qpu.finish(order.chunk, device_s=order.shots / 10)


async def test_production_takes_over_at_the_end_of_a_development_chunk(tmp_path: Path) -> None:
    qpu = scripted()
    async with bench(tmp_path / "s.sqlite", qpu) as one:
        slow = await one.submit(250, job_class="development")
        first = await qpu.next_order()
        assert (first.chunk.task_id, first.first_shot, first.shots) == (slow.id, 0, 100)
        urgent = await one.submit(10, job_class="production")
        take(qpu, first)
        second = await qpu.next_order()
        assert second.chunk.task_id == urgent.id
        waiting = await one.manager.task(slow.id, ALICE)
        assert (waiting.state, waiting.shots_done) == (TaskState.QUEUED, 100)
        take(qpu, second)
        for first_shot, shots in ((100, 100), (200, 50)):
            order = await qpu.next_order()
            assert (order.chunk.task_id, order.first_shot, order.shots) == (
                slow.id,
                first_shot,
                shots,
            )
            take(qpu, order)
        done = await one.until(slow.id, TaskState.COMPLETED)
        assert done.shots_done == 250
        counted = await one.chunk_states(slow.id)
        assert counted == [(ChunkState.FINISHED, n) for n in (100, 100, 50)]


async def test_cancel_of_a_running_task_is_confirmed_by_the_qpu(tmp_path: Path) -> None:
    qpu = scripted()
    async with bench(tmp_path / "s.sqlite", qpu) as one:
        task = await one.submit(100)
        await qpu.next_order()
        (row,) = await one.manager.ask("cancel", [task.id], ALICE)
        assert row.cancel_asked or row.state is TaskState.CANCELLED
        ended = await one.until(task.id, TaskState.CANCELLED)
        assert ended.ended_at is not None
        assert await one.chunk_states(task.id) == [(ChunkState.STOPPED, 0)]
        (again,) = await one.manager.ask("cancel", [task.id], ALICE)
        assert again.state is TaskState.CANCELLED


async def test_hold_takes_effect_at_the_chunks_end_and_release_goes_on(tmp_path: Path) -> None:
    qpu = scripted()
    async with bench(tmp_path / "s.sqlite", qpu) as one:
        task = await one.submit(150)
        order = await qpu.next_order()
        await one.manager.ask("hold", [task.id], ALICE)
        take(qpu, order)
        held = await one.until(task.id, TaskState.HELD)
        assert held.shots_done == 100
        await one.manager.ask("release", [task.id], ALICE)
        take(qpu, await qpu.next_order())
        assert (await one.until(task.id, TaskState.COMPLETED)).shots_done == 150


async def test_lost_chunk_counts_nothing_and_its_shots_are_taken_again(tmp_path: Path) -> None:
    qpu = scripted()
    async with bench(tmp_path / "s.sqlite", qpu) as one:
        task = await one.submit(100, seed=5)
        qpu.fail((await qpu.next_order()).chunk)
        again = await qpu.next_order()
        assert (again.chunk.n, again.first_shot, again.shots, again.seed) == (1, 0, 100, 5)
        take(qpu, again)
        await one.until(task.id, TaskState.COMPLETED)
        assert await one.chunk_states(task.id) == [(ChunkState.LOST, 0), (ChunkState.FINISHED, 100)]


async def test_three_faults_in_a_row_fail_the_task_and_the_next_one_runs(tmp_path: Path) -> None:
    qpu = scripted()
    async with bench(tmp_path / "s.sqlite", qpu) as one:
        task = await one.submit(100)
        other = await one.submit(10)
        for _ in range(3):
            qpu.fail((await qpu.next_order()).chunk)
        failed = await one.until(task.id, TaskState.FAILED)
        assert "laser" in str(failed.error)
        assert not failed.permanent
        take(qpu, await qpu.next_order())
        await one.until(other.id, TaskState.COMPLETED)


async def test_refused_by_the_device_fails_for_good(tmp_path: Path) -> None:
    qpu = scripted()
    async with bench(tmp_path / "s.sqlite", qpu) as one:
        task = await one.submit(100)
        qpu.refuse((await qpu.next_order()).chunk, "detuning out of range")
        failed = await one.until(task.id, TaskState.FAILED)
        assert failed.permanent
        assert failed.error_code == "program-refused"
        assert "detuning" in str(failed.error)


async def test_surplus_shots_are_cut_and_recorded(tmp_path: Path) -> None:
    qpu = scripted()
    async with bench(tmp_path / "s.sqlite", qpu) as one:
        task = await one.submit(10)
        qpu.finish((await qpu.next_order()).chunk, {"0": 9, "1": 4})
        await one.until(task.id, TaskState.COMPLETED)
        (row,) = (await one.store.chunks([task.id]))[task.id]
        assert (row.shots_counted, row.surplus, sum(row.counts.values())) == (10, 3, 10)


async def test_unanswered_chunk_keeps_its_slot_until_the_qpu_answers(tmp_path: Path) -> None:
    qpu = scripted()
    async with bench(tmp_path / "s.sqlite", qpu) as one:
        task = await one.submit(100)
        other = await one.submit(10)
        order = await qpu.next_order()
        qpu.hang(order.chunk)
        while await one.chunk_states(task.id) != [(ChunkState.UNKNOWN, 0)]:
            await one.manager.broadcast.wait_beyond(one.manager.broadcast.serial, 0.05)
        assert len(qpu.orders) == 1, "an unclear chunk is never repeated blindly"
        qpu.answer_again(order.chunk)
        take(qpu, order)
        await one.until(task.id, TaskState.COMPLETED)
        take(qpu, await qpu.next_order())
        await one.until(other.id, TaskState.COMPLETED)
        assert await one.chunk_states(task.id) == [(ChunkState.FINISHED, 100)]


async def test_store_locked_meanwhile_outcome_survives_and_submissions_are_refused(
    tmp_path: Path,
) -> None:
    qpu = scripted()
    path = tmp_path / "s.sqlite"
    async with bench(path, qpu) as one:
        task = await one.submit(200)
        order = await qpu.next_order()
        locker = sqlite3.connect(path, isolation_level=None)
        locker.execute("BEGIN EXCLUSIVE")
        take(qpu, order)
        while one.manager.loop.trouble is None:
            await one.chunk_states(task.id)
        with pytest.raises(ManagerBusy, match="can't save"):
            await one.submit(1)
        assert len(qpu.orders) == 1, "nothing reaches a device before it is saved"
        locker.execute("ROLLBACK")
        locker.close()
        take(qpu, await qpu.next_order())
        done = await one.until(task.id, TaskState.COMPLETED)
        assert done.shots_done == 200


async def test_who_waits_for_a_locked_store_is_told_so_and_finds_the_task_by_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.sqlite"
    async with bench(path, scripted()) as one:
        with closing(sqlite3.connect(path, isolation_level=None)) as locker:
            locker.execute("BEGIN EXCLUSIVE")
            with monkeypatch.context() as hasty:
                hasty.setattr("qpu_executor.manager.service.manager.ANSWER_WITHIN_S", 0.1)
                with pytest.raises(ManagerBusy, match="can't save this") as told:
                    await one.submit(10, key="once")
            assert "for a task with the same Idempotency-Key" in (told.value.next_step or "")
            locker.execute("ROLLBACK")
        while one.manager.loop.trouble is not None:
            await one.manager.broadcast.wait_beyond(one.manager.broadcast.serial, 0.05)
        assert (await one.submit(10, key="once")).id == 1
        assert len(one.manager.live) == 1


async def test_who_waits_for_a_store_that_says_nothing_is_told_so_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qpu_executor.manager.service.manager.ANSWER_WITHIN_S", 0.1)
    monkeypatch.setattr(loop, "LOOK_AGAIN_S", 0.05)
    monkeypatch.setattr(store_patience, "SILENT_S", 0.3)
    async with bench(tmp_path / "s.sqlite", scripted()) as one:
        answers, apply = asyncio.Event(), one.store.apply

        async def silent(changes: Sequence[Change]) -> None:
            await answers.wait()
            await apply(changes)

        monkeypatch.setattr(one.store, "apply", silent)
        async with asyncio.timeout(30):
            with pytest.raises(ManagerBusy, match="the store hasn't answered") as told:
                await one.submit(10, key="once")
        assert "same Idempotency-Key" in (told.value.next_step or "")
        with pytest.raises(ManagerBusy, match="nothing was lost"):
            await one.submit(10, key="once")
        answers.set()
        while one.manager.loop.trouble is not None:
            await one.manager.broadcast.wait_beyond(one.manager.broadcast.serial, 0.05)
        assert (await one.submit(10, key="once")).id == 1


async def test_restarted_manager_asks_about_the_chunk_and_takes_its_answer(tmp_path: Path) -> None:
    qpu = scripted()
    path = tmp_path / "s.sqlite"
    async with bench(path, qpu) as one:
        task = await one.submit(100)
        order = await qpu.next_order()
        while await one.chunk_states(task.id) != [(ChunkState.RUNNING, 0)]:
            await one.manager.broadcast.wait_beyond(one.manager.broadcast.serial, 0.05)
    async with bench(path, qpu) as two:
        take(qpu, order)
        await two.until(task.id, TaskState.COMPLETED)
        assert len(qpu.orders) == 1, "the chunk that ran on is not sent again"
        assert await two.chunk_states(task.id) == [(ChunkState.FINISHED, 100)]


async def test_an_acceptance_that_was_not_saved_before_the_kill_sends_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "ACCEPTED_S", 3600)
    qpu = scripted()
    path = tmp_path / "s.sqlite"
    async with bench(path, qpu) as one:
        task = await one.submit(100)
        order = await qpu.next_order()
    assert await stored_states(path, task.id) == [ChunkState.SENT]
    async with bench(path, qpu) as two:
        take(qpu, order)
        await two.until(task.id, TaskState.COMPLETED)
        assert len(qpu.orders) == 1
        assert await two.chunk_states(task.id) == [(ChunkState.FINISHED, 100)]


async def test_a_chunk_s_acceptance_end_and_successor_are_one_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "ACCEPTED_S", 3600)
    commits: list[list[str]] = []
    qpu = scripted()
    async with bench(tmp_path / "s.sqlite", qpu) as one:
        save = one.store.apply

        async def counted(changes: Sequence[Change]) -> None:
            rows = [change.row for change in changes if isinstance(change, AddJournal)]
            commits.append([row.kind for row in rows])
            await save(changes)

        monkeypatch.setattr(one.store, "apply", counted)
        task = await one.submit(300)
        for _ in range(3):
            take(qpu, await qpu.next_order())
        await one.until(task.id, TaskState.COMPLETED)
    commits = [kinds for kinds in commits if kinds != ["WokenUp"]]
    assert len(commits) == 4, commits
    assert commits[0][0] == "TaskState"
    assert all(kinds[:2] == ["ChunkStarted", "ChunkFinished"] for kinds in commits[1:])


async def test_nobody_sees_or_touches_another_callers_tasks(tmp_path: Path) -> None:
    qpu = scripted()
    async with bench(tmp_path / "s.sqlite", qpu) as one:
        task = await one.submit(10, ALICE, held=True)
        for action in ("cancel", "hold", "release"):
            with pytest.raises(UnknownTask):
                await one.manager.ask(action, [task.id], BOB)
        with pytest.raises(UnknownTask):
            await one.manager.task(task.id, BOB)
        assert (await one.manager.task(task.id, ALICE)).state is TaskState.HELD


async def test_same_key_of_two_callers_names_two_tasks(tmp_path: Path) -> None:
    async with bench(tmp_path / "s.sqlite", scripted()) as one:
        hers = await one.submit(10, ALICE, key="k", held=True)
        his = await one.submit(10, BOB, key="k", held=True)
        assert hers.id != his.id


async def test_same_key_twice_in_one_turn_makes_one_task(tmp_path: Path) -> None:
    async with bench(tmp_path / "s.sqlite", scripted()) as one:
        orders = [NewTask(PROGRAM, PROGRAM.hash, 5, key="k", held=True)] * 3
        answers: Sequence[Any] = await one.manager.submit(orders, ALICE)
        assert [answer.created for answer in answers] == [True, False, False]
        assert len({answer.task.id for answer in answers}) == 1


async def test_damaged_store_ends_the_manager_and_says_so_to_everybody(tmp_path: Path) -> None:
    async with bench(tmp_path / "s.sqlite", scripted()) as one:

        async def broken(changes: Any) -> None:
            raise StoreError("the store is damaged")

        one.store.apply = broken  # type: ignore[method-assign]
        with pytest.raises(StoreError):
            await one.submit(1)
        await one.manager.loop.ended()
        assert isinstance(one.manager.loop.failure, QpuExecutorError)
        with pytest.raises(StoreError):
            await one.submit(1)


async def test_manager_outlives_answers_of_an_adapter_that_no_store_can_keep(
    tmp_path: Path,
) -> None:
    qpu = scripted()
    async with bench(tmp_path / "s.sqlite", qpu) as one:
        first = await one.submit(5)
        odd: Any = Fraction(5)  # as numpy's numbers: not of the built-in types
        qpu.finish((await qpu.next_order()).chunk, {"0": odd})
        assert (await one.until(first.id, TaskState.COMPLETED)).shots_done == 5
        second = await one.submit(5)
        qpu.finish((await qpu.next_order()).chunk, {"0": 5}, device_s=math.nan)
        async with asyncio.timeout(60):
            while await one.chunk_states(second.id) != [(ChunkState.UNKNOWN, 0)]:
                await one.manager.loop.run(lambda ledger, now: None)
