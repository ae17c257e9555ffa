"""The site's rules at work in a manager: wishes, limits, operators, restarts, reloads."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.errors import ConfigError, NotAllowed, QpuExecutorError, RequestRefused
from qpu_executor.manager.api.policy_views import why_out
from qpu_executor.manager.api.views import result_out, task_out
from qpu_executor.manager.auth.caller import Caller, Role
from qpu_executor.manager.auth.rights import Rights
from qpu_executor.manager.auth.roles import Members
from qpu_executor.manager.service.admission import Admission
from qpu_executor.manager.service.clock import SystemClock
from qpu_executor.manager.service.estimating import estimate, usable
from qpu_executor.manager.service.fleet import Fleet, Qpu
from qpu_executor.manager.service.forecast import expected_end, expected_start
from qpu_executor.manager.service.manager import Manager
from qpu_executor.manager.service.new_session import NewSession
from qpu_executor.manager.service.operations import Operations
from qpu_executor.manager.service.orders import Accepted, NewTask
from qpu_executor.manager.service.privacy import Sight
from qpu_executor.manager.service.site_policy import SitePolicy
from qpu_executor.manager.service.site_rules import SiteRules
from qpu_executor.manager.store.records import JournalRow, TaskRow
from qpu_executor.manager.store.sql import SqlStore
from qpu_executor.manager.store.wishes import Wishes
from qpu_executor.model.events import (
    CalibrationEnded,
    CalibrationStarted,
    QpuRegistered,
    WarmHoldAsked,
)
from qpu_executor.model.states import DependencyKind, OnRecalibration, TaskState, WaitReason
from qpu_executor.model.timing import Dependency, after
from qpu_executor.model.values import JobClass
from qpu_executor.programs.program import Program
from qpu_executor.qpus.base import Capabilities, ChunkOrder
from qpu_executor.qpus.checking import ProgramChecker
from qpu_executor.scheduling.admission import Credit
from qpu_executor.scheduling.policies.fifo import Fifo
from qpu_executor.testing.fake_qpu import FakeQpu

ALICE = Caller("alice", 1000, "test")
BOB = Caller("bob", 1001, "test")
ROOT = Caller("root", 0, "test", frozenset({Role.OPERATOR}))
PROGRAM = Program("opaque", "x")
NOW = 1_800_000_000_000_000
PRODUCTION = JobClass("production", 300, chunk_s=10)
DEVELOPMENT = JobClass("development", 100, chunk_s=10)


def rules(*classes: JobClass, **changes: Any) -> SitePolicy:
    return SitePolicy(classes or (PRODUCTION, DEVELOPMENT), "development", **changes)


class Bench:
    """A manager with one scripted QPU that takes 10 shots a second: 100 shots a chunk."""

    def __init__(
        self,
        path: Path,
        qpu: FakeQpu,
        policy: SitePolicy,
        read_policy: Callable[[], SitePolicy] | None = None,
    ) -> None:
        self.store = SqlStore(path)
        self.qpu = qpu
        self.fleet = Fleet([Qpu("q", "fake", qpu)])
        admission = Admission(
            fleet=self.fleet,
            classes=policy.classes,
            default_class=policy.default_class,
            checker=ProgramChecker(),
            store=self.store,
            rights=policy.rights,
        )
        self.manager = Manager(
            store=self.store,
            fleet=self.fleet,
            admission=admission,
            scheduler=policy.scheduler(),
            make_clock=SystemClock,
            health_every_s=3600,
            policy=policy,
            read_policy=read_policy,
        )

    async def answer(self, shots: int, caller: Caller, **options: Any) -> Any:
        (answer,) = await self.manager.submit(
            [NewTask(PROGRAM, PROGRAM.hash, shots, **options)], caller
        )
        return answer

    async def submit(self, shots: int, caller: Caller = ALICE, **options: Any) -> TaskRow:
        answer = await self.answer(shots, caller, **options)
        assert isinstance(answer, Accepted), answer
        return answer.task

    async def refused(self, shots: int, caller: Caller = ALICE, **options: Any) -> QpuExecutorError:
        answer = await self.answer(shots, caller, **options)
        assert isinstance(answer, QpuExecutorError), answer
        return answer

    async def until(self, task_id: int, *states: TaskState, caller: Caller = ALICE) -> TaskRow:
        while True:
            serial = self.manager.broadcast.serial
            row = await self.manager.task(task_id, caller)
            if row.state in states:
                return row
            assert self.manager.loop.failure is None, self.manager.loop.failure
            await self.manager.broadcast.wait_beyond(serial, 30)

    async def journal(self, kind: str) -> list[JournalRow]:
        return [row for row in await self.store.journal(0, limit=10_000) if row.kind == kind]

    async def told(self, event: Any) -> None:
        """Let the core know of something, and wait until that is saved."""
        self.manager.loop.post(event, None)
        await self.manager.loop.run(lambda ledger, now: None)

    def operator(self) -> Operations:
        return Operations(self.manager, ROOT)


@asynccontextmanager
async def bench(
    path: Path,
    qpu: FakeQpu,
    policy: SitePolicy | None = None,
    read_policy: Callable[[], SitePolicy] | None = None,
) -> AsyncIterator[Bench]:
    made = Bench(path, qpu, policy or rules(), read_policy)
    await made.store.open()
    clock = await made.manager.recall()
    await made.fleet.open(clock, path.parent)
    await made.manager.start()
    try:
        yield made
    finally:
        await made.manager.stop()
        await made.store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.sqlite"


def scripted(**changes: Any) -> FakeQpu:
    can = {"kinds": frozenset({"opaque"}), "shot_rate_hz": 10.0, "can_ask": True, **changes}
    return FakeQpu("q", capabilities=Capabilities(**can))


def take(qpu: FakeQpu, order: ChunkOrder) -> None:
    qpu.finish(order.chunk, device_s=order.shots / 10)


async def test_a_task_waits_for_the_one_that_it_depends_on(path: Path) -> None:
    qpu = scripted()
    async with bench(path, qpu) as one:
        first = await one.submit(10, held=True)
        wishes = Wishes(depends_on=(Dependency(first.id),))
        second = await one.submit(10, wishes=wishes)
        assert one.manager.scheduler.reason(second.id) is WaitReason.DEPENDENCY
        await one.manager.ask("release", [first.id], ALICE)
        take(qpu, await qpu.next_order())
        order = await qpu.next_order()
        assert order.chunk.task_id == second.id


async def test_dependency_on_somebody_elses_or_failed_task_is_refused(path: Path) -> None:
    async with bench(path, scripted()) as one:
        his = await one.submit(10, BOB, held=True)
        refusal = await one.refused(10, wishes=Wishes(depends_on=(Dependency(his.id),)))
        assert f"no task {his.id} of alice" in str(refusal)
        hers = await one.submit(10, held=True)
        await one.manager.ask("cancel", [hers.id], ALICE)
        refusal = await one.refused(10, wishes=Wishes(depends_on=(Dependency(hers.id),)))
        assert "CANCELLED" in str(refusal)
        any_end = Dependency(hers.id, DependencyKind.AFTER_ANY)
        await one.submit(10, held=True, wishes=Wishes(depends_on=(any_end,)))


async def test_time_limit_that_cant_be_kept_is_refused_unless_nobody_knows(path: Path) -> None:
    limit = Wishes(time_limit_s=5.0)
    async with bench(path, scripted()) as one:
        refusal = await one.refused(100, wishes=limit)
        assert "limit is 5 s" in str(refusal)
        await one.submit(10, held=True, wishes=limit)
    async with bench(path.with_name("t.sqlite"), scripted(shot_rate_hz=None)) as two:
        await two.submit(100, held=True, wishes=limit)


async def test_begin_time_and_dependency_survive_a_restart(path: Path) -> None:
    qpu = scripted()
    async with bench(path, qpu) as one:
        later = after(one.manager.clock.now(), 3600)
        early = await one.submit(10, wishes=Wishes(begin_at=later))
        first = await one.submit(10, held=True)
        waits = await one.submit(10, wishes=Wishes(depends_on=(Dependency(first.id),)))
    async with bench(path, qpu) as two:
        await two.manager.loop.run(lambda ledger, now: None)
        assert two.manager.scheduler.reason(early.id) is WaitReason.BEGIN_TIME
        assert two.manager.scheduler.reason(waits.id) is WaitReason.DEPENDENCY
        row = await two.manager.task(early.id, ALICE)
        assert row.wishes == Wishes(begin_at=later)


async def test_key_of_a_request_without_wishes_is_what_it_always_was(path: Path) -> None:
    plain = NewTask(PROGRAM, PROGRAM.hash, 10)
    assert plain.body_hash() == "1cb5ed365424d107d3b0aa559adb4c3e83accefaf251afdae5637237a43c7991"
    assert NewTask(PROGRAM, PROGRAM.hash, 10, wishes=Wishes()).body_hash() == plain.body_hash()
    late = NewTask(PROGRAM, PROGRAM.hash, 10, wishes=Wishes(begin_at=1))
    later = NewTask(PROGRAM, PROGRAM.hash, 10, wishes=Wishes(begin_at=2))
    assert len({plain.body_hash(), late.body_hash(), later.body_hash()}) == 3


async def test_recalibration_discards_shots_which_stay_on_record(path: Path) -> None:
    qpu = scripted()
    async with bench(path, qpu) as one:
        wishes = Wishes(on_recalibration=OnRecalibration.RESTART)
        task = await one.submit(200, wishes=wishes)
        first = await qpu.next_order()
        await one.told(CalibrationStarted("q"))
        qpu.finish(first.chunk, {"0": 100}, device_s=10.0)
        await one.until(task.id, TaskState.QUEUED)
        await one.told(CalibrationEnded("q", "e2"))
        again = await qpu.next_order()
        assert (again.first_shot, again.shots) == (0, 100)
        assert (await one.manager.task(task.id, ALICE)).shots_done == 0
        qpu.finish(again.chunk, {"1": 100}, device_s=10.0)
        qpu.finish((await qpu.next_order()).chunk, {"1": 100}, device_s=10.0)
        done = await one.until(task.id, TaskState.COMPLETED)
        chunks = (await one.store.chunks([task.id]))[task.id]
        assert [(row.shots_counted, row.discarded) for row in chunks] == [
            (100, True),
            (100, False),
            (100, False),
        ]
        result = result_out(task_out(done, None), None, chunks, [])
        assert (result.shots, result.counts) == (200, {"1": 200})


async def test_budget_refuses_with_its_numbers_and_survives_a_restart(path: Path) -> None:
    qpu = scripted()
    policy = rules(credits=(Credit("alice", 20.0, 365 * 86_400.0),))
    async with bench(path, qpu, policy) as one:
        refusal = await one.refused(300)
        assert "20" in str(refusal)
        task = await one.submit(150)
        take(qpu, await qpu.next_order())
        take(qpu, await qpu.next_order())
        await one.until(task.id, TaskState.COMPLETED)
        (chunk, last) = (await one.store.chunks([task.id]))[task.id]
        assert (chunk.charged_s, last.charged_s) == (10.0, 5.0)
    async with bench(path, qpu, policy) as two:
        refusal = await two.refused(100)
        assert refusal.where == "QuotaExceeded"
        assert "15" in str(refusal)
        await two.submit(40)


async def test_usage_of_a_share_survives_a_restart(path: Path) -> None:
    qpu = scripted()
    async with bench(path, qpu) as one:
        task = await one.submit(100)
        take(qpu, await qpu.next_order())
        await one.until(task.id, TaskState.COMPLETED)
        before = {(s.account, s.user): s.usage_s for s in one.manager.scheduler.shares()}
    async with bench(path, qpu) as two:
        found = {(s.account, s.user): s.usage_s for s in two.manager.scheduler.shares()}
        assert before["alice", "alice"] == pytest.approx(10.0, rel=1e-3)
        assert found == pytest.approx(before, rel=1e-2)


async def test_qpu_kept_for_a_session_is_charged_also_after_a_restart(path: Path) -> None:
    qpu = scripted()
    async with bench(path, qpu) as one:
        one.fleet.get("q").rules = SiteRules(max_linger_s=60.0)
        await one.told(QpuRegistered(one.fleet.get("q").spec()))
        session = await one.manager.sessions.open(ALICE, NewSession(name="loop", account="physics"))
        until = after(one.manager.clock.now(), 3600)
        hold = WarmHoldAsked(session.id, "q", "physics", "alice", 0.2, until)
        await one.told(hold)
        task = await one.submit(10, session_id=session.id, account="physics")
        take(qpu, await qpu.next_order())
        await one.until(task.id, TaskState.COMPLETED)
        other = await one.submit(10, BOB)
        qpu.finish((await qpu.next_order()).chunk)
        await one.until(other.id, TaskState.COMPLETED, caller=BOB)
        (row,) = await one.journal("SaveHold")
        assert row.data["session_id"] == session.id
        charged_s = row.data["charged_s"]
        assert isinstance(charged_s, float)
        assert charged_s >= 0.2
    async with bench(path, qpu) as two:
        lines = {(one.account, one.user): one for one in two.manager.scheduler.shares()}
        assert lines["physics", "alice"].usage_s == pytest.approx(1.0 + charged_s, rel=0.01)


async def test_limit_of_waiting_tasks_is_told_with_its_number(path: Path) -> None:
    limited = JobClass("development", 100, chunk_s=10, max_queued=2)
    async with bench(path, scripted(), rules(PRODUCTION, limited)) as one:
        for _ in range(2):
            await one.submit(10, held=True)
        refusal = await one.refused(10, held=True)
        assert isinstance(refusal, RequestRefused)
        assert refusal.expected == "at most 2"


async def test_only_operators_drain_and_a_drain_survives_a_restart(path: Path) -> None:
    qpu = scripted()
    async with bench(path, qpu) as one:
        if os.getuid() != BOB.uid:
            with pytest.raises(NotAllowed, match="bob is no operator"):
                Operations(one.manager, BOB)
        await one.operator().drain("q", "laser service")
        (row,) = await one.journal("OperatorAsked")
        assert (row.data["who"], row.data["what"], row.data["qpu"]) == ("root", "drain", "q")
    async with bench(path, qpu) as two:
        task = await two.submit(10)
        assert two.manager.scheduler.reason(task.id) is WaitReason.QPU_DRAINING
        await two.operator().resume("q")
        take(qpu, await qpu.next_order())
        await two.until(task.id, TaskState.COMPLETED)


async def test_requeued_task_waits_again_with_its_shots(path: Path) -> None:
    qpu = scripted(partial_results=True)
    async with bench(path, qpu) as one:
        task = await one.submit(150)
        take(qpu, await qpu.next_order())
        second = await qpu.next_order()
        await one.operator().requeue([task.id])
        again = await qpu.next_order()
        assert again.chunk.n == second.chunk.n + 1
        take(qpu, again)
        assert (await one.until(task.id, TaskState.COMPLETED)).shots_done == 150


async def test_reload_changes_the_rules_and_keeps_the_queue(path: Path) -> None:
    qpu = scripted()
    site: list[SitePolicy] = [rules()]
    async with bench(path, qpu, site[0], lambda: site[0]) as one:
        assert await one.operator().reload_policy() == []
        running = await one.submit(200)
        order = await qpu.next_order()
        waiting = await one.submit(10)
        urgent = await one.submit(10, job_class="production", held=True)
        site[0] = rules(ordering=Fifo(), kind="fifo")
        assert await one.operator().reload_policy() == ["policy"]
        await one.manager.ask("release", [urgent.id], ALICE)
        take(qpu, order)
        rest = await qpu.next_order()
        assert rest.chunk.task_id == running.id, "first in, first out: nobody overtakes"
        take(qpu, rest)
        assert (await qpu.next_order()).chunk.task_id == waiting.id
        one.manager.scheduler.check()


async def test_what_was_asked_before_a_reload_still_comes_about(path: Path) -> None:
    qpu = scripted()
    site = [rules()]
    async with bench(path, qpu, site[0], lambda: site[0]) as one:
        await one.operator().drain("q", "service")
        waiting = await one.submit(10)
        await one.operator().resume("q")
        order = await qpu.next_order()
        second = await one.submit(200)
        await one.operator().drain("q", "service")
        site[0] = rules(share_horizon_s=60.0)
        assert await one.operator().reload_policy() == ["minimum share horizon"]
        take(qpu, order)
        await one.until(waiting.id, TaskState.COMPLETED)
        assert one.manager.scheduler.reason(second.id) is WaitReason.QPU_DRAINING
        await one.operator().resume("q")
        running = await qpu.next_order()
        await one.manager.ask("hold", [second.id], ALICE)
        site[0] = rules()
        await one.operator().reload_policy()
        take(qpu, running)
        held = await one.until(second.id, TaskState.HELD)
        assert held.shots_done == 100
        kinds = [row.data["what"] for row in await one.journal("OperatorAsked")]
        assert kinds.count("reload policy") == 2


async def test_reload_of_a_bad_file_changes_nothing(path: Path) -> None:
    def broken() -> SitePolicy:
        raise ConfigError("site.yaml: line 3: no such policy")

    async with bench(path, scripted(), None, broken) as one:
        core = one.manager.scheduler
        with pytest.raises(ConfigError, match="line 3"):
            await one.operator().reload_policy()
        assert one.manager.scheduler is core
    elsewhere = JobClass("development", 100, qpus=("other",))
    async with bench(path, scripted(), None, lambda: rules(elsewhere)) as two:
        with pytest.raises(ConfigError, match="'other'"):
            await two.operator().reload_policy()


async def test_why_names_nobody_elses_task_and_agrees_with_itself(path: Path) -> None:
    qpu = scripted()
    async with bench(path, qpu) as one:
        his = await one.submit(300, BOB, job_class="production")
        await qpu.next_order()
        first = await one.submit(50)
        mine = await one.submit(40)
        core = one.manager.scheduler
        line, found = core.lineup(mine.id), core.why(mine.id)
        assert line is not None
        assert found is not None
        qpus = usable(one.manager, ("q",))
        start = expected_start(line, core.waiting(mine.id), qpus, one.manager.clock.now())
        spans = (start, expected_end(start, line.own_s, qpus, one.manager.clock.now()))
        out = why_out(task_out(mine, None), found, line, spans, Sight("alice"), NOW)
        assert (out.reason, out.rank, out.ahead_total) == ("Priority", 2, 2)
        running, waiting = out.ahead
        assert (running.task, running.owner, running.remaining_s) == (None, None, 30.0)
        assert "runs" in running.why_first
        assert (waiting.task, waiting.owner, waiting.remaining_shots) == (first.id, "alice", 50)
        assert waiting.why_first == "it has waited longer"
        assert out.expected_start is not None
        assert out.expected_end is not None
        assert (out.expected_start.likely - out.as_of).total_seconds() == 35.0
        assert (out.expected_end.likely - out.as_of).total_seconds() == 39.0
        assert out.expected_start.latest > out.expected_start.likely
        assert his.id not in {ahead.task for ahead in out.ahead}


async def test_start_is_unknown_where_a_rate_is(path: Path) -> None:
    qpu = scripted(shot_rate_hz=None)
    async with bench(path, qpu) as one:
        await one.submit(300)
        await qpu.next_order()
        mine = await one.submit(40)
        core = one.manager.scheduler
        line = core.lineup(mine.id)
        assert line is not None
        assert (line.ahead_s, line.total) == (None, 1)
        qpus = usable(one.manager, ("q",))
        assert expected_start(line, core.waiting(mine.id), qpus, NOW) is None
        found = await estimate(one.manager, NewTask(PROGRAM, PROGRAM.hash, 5), ALICE)
        assert (found.qpu_s, found.wait) == (None, None)


async def test_estimate_submits_nothing_and_says_what_a_submission_would(path: Path) -> None:
    qpu = scripted()
    async with bench(path, qpu) as one:
        await one.submit(300, BOB, job_class="production")
        await qpu.next_order()
        order = NewTask(PROGRAM, PROGRAM.hash, 50)
        found = await estimate(one.manager, order, ALICE)
        assert (found.qpus, found.qpu_s, found.refusal) == (("q",), 5.0, None)
        assert found.wait is not None
        assert found.wait.earliest_s == pytest.approx(30.0)
        bad = await estimate(one.manager, NewTask(PROGRAM, PROGRAM.hash, 5, job_class="x"), ALICE)
        assert isinstance(bad.refusal, RequestRefused)
        assert len(one.manager.live) == 1


# -- rights -------------------------------------------------------------------

ONLY_ALICE = Members(frozenset({"alice"}))
GUARDED = Rights({"production": ONLY_ALICE}, {"physics": ONLY_ALICE, "open": None}, True)


async def test_class_and_account_are_for_their_members(path: Path) -> None:
    async with bench(path, scripted(), rules(rights=GUARDED)) as one:
        assert (await one.submit(10, job_class="production")).account == "physics"
        refused = await one.refused(10, BOB, job_class="production", account="open")
        assert isinstance(refused, NotAllowed)
        assert "bob may not use job class 'production'" in str(refused)
        refused = await one.refused(10, BOB, account="physics")
        assert "bob may not charge account 'physics'" in str(refused)
        refused = await one.refused(10, BOB)
        assert "bob may charge no account" in str(refused)
        answer = await one.answer(10, BOB, account="open")
        assert answer.task.account == "open"


async def test_session_has_an_account_of_its_owner_or_one_that_somebody_vouches_for(
    path: Path,
) -> None:
    async with bench(path, scripted(), rules(rights=GUARDED)) as one:
        for wanted in (NewSession(account="physics"), NewSession(job_class="production")):
            with pytest.raises(NotAllowed):
                await one.manager.sessions.open(BOB, wanted, by=BOB)
        wanted = NewSession(account="physics", job_class="production")
        session = await one.manager.sessions.open(BOB, wanted, by=ROOT)
        answer = await one.answer(10, BOB, session_id=session.id)
        assert (answer.task.account, answer.task.job_class) == ("physics", "production")
        refused = await one.refused(10, BOB, session_id=session.id, account="chemistry")
        assert isinstance(refused, NotAllowed)


async def test_reloaded_rights_count_for_what_comes_next(path: Path) -> None:
    async with bench(path, scripted(), rules(), lambda: rules(rights=GUARDED)) as one:
        before = await one.answer(10, BOB, job_class="production")
        assert isinstance(before, Accepted)
        await one.operator().reload_policy()
        assert isinstance(await one.refused(10, BOB, job_class="production"), NotAllowed)
        assert (await one.manager.task(before.task.id, BOB)).state is not TaskState.CANCELLED
