"""What a session says and asks, at work in a manager: its end, its hints, what it keeps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.errors import QpuExecutorError, RequestRefused, UnknownTask
from qpu_executor.manager.auth.caller import Caller, Role
from qpu_executor.manager.service.admission import Admission
from qpu_executor.manager.service.clock import SystemClock
from qpu_executor.manager.service.fleet import Fleet, Qpu
from qpu_executor.manager.service.keeping_warm import KeepWarm
from qpu_executor.manager.service.manager import Manager
from qpu_executor.manager.service.new_session import NewSession
from qpu_executor.manager.service.operations import Operations
from qpu_executor.manager.service.orders import Accepted, NewTask
from qpu_executor.manager.service.site_policy import SitePolicy
from qpu_executor.manager.service.site_rules import SiteRules
from qpu_executor.manager.store.records import SessionRow, TaskRow
from qpu_executor.manager.store.sql import SqlStore
from qpu_executor.model.sessions import SessionHints, WorkShape
from qpu_executor.model.states import TaskState, WaitReason
from qpu_executor.model.values import JobClass
from qpu_executor.programs.program import Program
from qpu_executor.qpus.base import Capabilities
from qpu_executor.qpus.checking import ProgramChecker
from qpu_executor.scheduling.admission import Credit
from qpu_executor.testing.fake_qpu import FakeQpu

ALICE = Caller("alice", 1000, "test")
BOB = Caller("bob", 1001, "test")
ROOT = Caller("root", 0, "test", frozenset({Role.OPERATOR}))
PROGRAM = Program("opaque", "x")
HINTS = SessionHints(WorkShape.QPU_HEAVY, expected_tasks=200, think_s=5.0)


@dataclass
class Bench:
    """A manager with one scripted QPU that takes 10 shots a second."""

    manager: Manager
    store: SqlStore
    qpu: FakeQpu
    site: list[SitePolicy]

    async def answer(self, shots: int, caller: Caller = ALICE, **options: Any) -> Any:
        order = NewTask(PROGRAM, PROGRAM.hash, shots, **options)
        (answer,) = await self.manager.submit([order], caller)
        return answer

    async def submit(self, shots: int, caller: Caller = ALICE, **options: Any) -> TaskRow:
        answer = await self.answer(shots, caller, **options)
        assert isinstance(answer, Accepted), answer
        return answer.task

    async def refused(self, shots: int, **options: Any) -> QpuExecutorError:
        answer = await self.answer(shots, **options)
        assert isinstance(answer, QpuExecutorError), answer
        return answer

    async def open(self, caller: Caller = ALICE, **options: Any) -> SessionRow:
        return await self.manager.sessions.open(caller, NewSession(**options))

    async def run_one(self, session: SessionRow) -> None:
        """A task of ten shots, from its submission to its end."""
        task = await self.submit(10, session_id=session.id)
        self.qpu.finish((await self.qpu.next_order()).chunk, device_s=1.0)
        while self.manager.live.get(task.id) is not None:
            await self.manager.broadcast.wait_beyond(self.manager.broadcast.serial, 30)

    async def reason(self, task: TaskRow) -> WaitReason | None:
        return self.manager.scheduler.reason(task.id)

    async def journal(self, kind: str) -> list[Any]:
        return [row.data for row in await self.store.journal(0, limit=10_000) if row.kind == kind]


@asynccontextmanager
async def bench(
    path: Path, rules: SiteRules | None = None, site: SitePolicy | None = None, **policy: Any
) -> AsyncIterator[Bench]:
    can = {"kinds": frozenset({"opaque"}), "shot_rate_hz": 10.0, "can_ask": True}
    qpu = FakeQpu("q", capabilities=Capabilities(**can))
    classes = (JobClass("development", 100, chunk_s=10),)
    site = site or SitePolicy(classes, "development", **policy)
    store = SqlStore(path)
    fleet = Fleet([Qpu("q", "fake", qpu, rules=rules or SiteRules())])
    found = [site]
    manager = Manager(
        store=store,
        fleet=fleet,
        admission=Admission(
            fleet=fleet,
            classes=site.classes,
            default_class=site.default_class,
            checker=ProgramChecker(),
            store=store,
        ),
        scheduler=site.scheduler(),
        make_clock=SystemClock,
        health_every_s=3600,
        policy=site,
        read_policy=lambda: found[0],
    )
    await store.open()
    await fleet.open(await manager.recall(), path.parent)
    await manager.start()
    try:
        yield Bench(manager, store, qpu, found)
    finally:
        await manager.stop()
        await store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.sqlite"


KEEPS = SiteRules(max_linger_s=60.0, max_run_s=600.0)

# -- what it says -------------------------------------------------------------------------


async def test_task_that_cannot_end_before_its_sessions_allocation_is_refused_with_numbers(
    path: Path,
) -> None:
    async with bench(path) as one:
        session = await one.open(ends_in_s=100.0)
        refusal = await one.refused(1000, session_id=session.id)
        assert refusal.where == "session"
        assert "1000 shots need 120 s on q even alone" in str(refusal)
        assert "the session's allocation ends in 100 s" in str(refusal)
        task = await one.submit(100, session_id=session.id)
        assert task.wishes.session_ends_at == session.ends_at
        checked = await one.manager.check(
            NewTask(PROGRAM, PROGRAM.hash, 1000, session_id=session.id), ALICE
        )
        assert isinstance(checked, RequestRefused)


async def test_class_of_a_session_is_that_of_its_tasks_that_name_none_also_after_a_restart(
    path: Path,
) -> None:
    site = SitePolicy(
        (JobClass("production", 300, chunk_s=10), JobClass("development", 100, chunk_s=10)),
        "development",
    )
    async with bench(path, site=site) as one:
        session = await one.open(job_class="production")
        assert (await one.submit(10)).job_class == "development"
        named = await one.submit(10, session_id=session.id, job_class="development")
        assert named.job_class == "development"
    async with bench(path, site=site) as one:
        assert (await one.submit(10, session_id=session.id)).job_class == "production"
    async with bench(path) as one:
        refusal = await one.refused(10, session_id=session.id)
        assert "no job class 'production'" in str(refusal)


async def test_session_that_would_have_ended_already_is_not_opened(path: Path) -> None:
    async with bench(path) as one:
        with pytest.raises(RequestRefused, match="has ended already") as caught:
            await one.open(ends_in_s=0.0)
        assert caught.value.where == "ends_in_s"
        assert await one.store.sessions(None) == []


async def test_tasks_of_a_session_fail_when_its_allocation_ends_and_no_more_come_in(
    path: Path,
) -> None:
    async with bench(path) as one:
        running = await one.submit(100)
        await one.qpu.next_order()
        session = await one.open(ends_in_s=6.0, name="loop")  # its task needs one of them
        waiting = await one.submit(10, session_id=session.id)
        while waiting.id in one.manager.live:
            await one.manager.broadcast.wait_beyond(one.manager.broadcast.serial, 0.5)
        row = await one.manager.task(waiting.id, ALICE)
        assert row.state is TaskState.FAILED
        assert row.error is not None
        assert row.error.startswith("SessionEnding: its session's allocation has ended")
        refusal = await one.refused(10, session_id=session.id)
        assert "allocation of session loop has ended" in str(refusal)
        assert one.manager.live[running.id].state is TaskState.RUNNING


async def test_hints_reach_the_policy_and_survive_a_restart(path: Path) -> None:
    async with bench(path) as one:
        session = await one.open(hints=HINTS, account="physics")
        task = await one.submit(100, session_id=session.id, held=True)
        assert task.account == "physics", "a session's account is that of its tasks"
        (data,) = await one.journal("TaskSubmitted")
        assert data["task"]["session_hints"] == {
            "shape": "qpu-heavy",
            "expected_tasks": 200,
            "think_s": 5.0,
        }
    async with bench(path) as two:
        assert (await two.manager.sessions.get(session.id, ALICE)).hints == HINTS
        assert two.manager.sessions.hints(session.id) == HINTS


async def test_session_found_again_by_its_key_stays_as_it_was_opened(path: Path) -> None:
    async with bench(path, KEEPS) as one:
        first = await one.open(key="k", hints=HINTS)
        again = await one.open(key="k", ends_in_s=5.0, keep_warm=KeepWarm(1e6))
        assert again == first
        assert await one.open(BOB, key="k") != first


# -- what it keeps ------------------------------------------------------------------------


async def test_lingering_session_keeps_the_qpu_and_closing_it_lets_go(path: Path) -> None:
    async with bench(path, KEEPS) as one:
        session = await one.open(keep_warm=KeepWarm(30.0))
        await one.run_one(session)
        other = await one.submit(10, BOB)
        waiting = one.manager.scheduler.waiting(other.id)
        assert waiting is not None
        assert waiting.reason is WaitReason.RESERVATION
        assert waiting.detail == "q: kept warm for another session between its tasks"
        assert waiting.until is not None
        await one.manager.sessions.close(session.id, ALICE)
        assert (await one.qpu.next_order()).chunk.task_id == other.id
        (kept,) = await one.journal("SaveHold")
        assert kept["session_id"] == session.id
        assert one.manager.sessions.holds.of(session.id) == []


async def test_hold_beyond_the_sites_bound_is_refused_with_the_bound(path: Path) -> None:
    async with bench(path, KEEPS) as one:
        with pytest.raises(RequestRefused) as caught:
            await one.open(keep_warm=KeepWarm(61.0))
        assert caught.value.where == "keep_warm.linger_s"
        assert caught.value.expected == "at most 60"
        assert "for 60 s, not for 61 s" in str(caught.value)
        assert await one.store.sessions(None) == [], "and no session is left behind"
        session = await one.open()
        with pytest.raises(RequestRefused, match="there is no QPU 'p'"):
            await one.manager.sessions.holds.ask(
                session, KeepWarm(5.0, qpu="p"), one.manager.sessions.enter
            )
        with pytest.raises(RequestRefused) as caught:
            await one.manager.sessions.holds.ask(
                session, KeepWarm(601.0, contiguous=True), one.manager.sessions.enter
            )
        assert caught.value.where == "keep_warm.run_s"


async def test_site_without_bounds_says_that_it_keeps_nothing(path: Path) -> None:
    async with bench(path) as one:
        with pytest.raises(RequestRefused, match="no QPU of this site is kept between"):
            await one.open(keep_warm=KeepWarm(5.0))


async def test_run_of_another_session_is_not_ended_and_its_end_is_said(path: Path) -> None:
    async with bench(path, KEEPS) as one:
        hers = await one.open(keep_warm=KeepWarm(300.0, contiguous=True))
        his = await one.open(BOB)
        with pytest.raises(RequestRefused, match="kept for another session's run until"):
            await one.manager.sessions.holds.ask(
                his, KeepWarm(10.0, contiguous=True), one.manager.sessions.enter
            )
        ((name, hold),) = one.manager.sessions.holds.of(hers.id)
        assert (name, hold.contiguous) == ("q", True)


async def test_account_without_credit_keeps_nothing(path: Path) -> None:
    credits = (Credit("alice", qpu_s=100.0, period_s=86_400.0),)
    async with bench(path, KEEPS, credits=credits) as one:
        with pytest.raises(RequestRefused) as caught:
            await one.open(keep_warm=KeepWarm(101.0, contiguous=True))
        assert caught.value.where == "QuotaExceeded"
        await one.open(keep_warm=KeepWarm(100.0, contiguous=True))


async def test_restart_forgets_what_was_granted_and_a_reload_of_the_policy_does_not(
    path: Path,
) -> None:
    async with bench(path, KEEPS) as one:
        session = await one.open(keep_warm=KeepWarm(30.0))
        run = await one.open(keep_warm=KeepWarm(300.0, contiguous=True))
        ((_, before),) = one.manager.sessions.holds.of(run.id)
        old = one.manager.scheduler
        one.site[0] = SitePolicy((JobClass("development", 50, chunk_s=10),), "development")
        assert await Operations(one.manager, ROOT).reload_policy() == ["job classes"]
        assert one.manager.scheduler is not old
        await one.submit(10, held=True)
        ((_, after),) = one.manager.sessions.holds.of(run.id)
        assert (after.until_at, after.contiguous) == (before.until_at, True)
        ((_, linger),) = one.manager.sessions.holds.of(session.id)
        assert linger.linger_s == 30.0
    async with bench(path, KEEPS) as two:
        assert two.manager.sessions.holds.of(session.id) == []
        assert two.manager.sessions.holds.of(run.id) == []
        await two.run_one(session)
        other = await two.submit(10, BOB)
        assert (await two.qpu.next_order()).chunk.task_id == other.id


# -- operators ----------------------------------------------------------------------------


async def test_operator_holds_releases_and_cancels_anybodys_tasks_on_record(path: Path) -> None:
    async with bench(path) as one:
        task = await one.submit(10, held=True)
        for action in ("release", "hold", "cancel"):
            with pytest.raises(UnknownTask):
                await one.manager.ask(action, [task.id], BOB)
        operator = Operations(one.manager, ROOT)
        own = await one.submit(10, ROOT, held=True)
        (row, _) = await operator.ask("release", [task.id, own.id])
        assert row.state is TaskState.RUNNING
        (row,) = await operator.ask("cancel", [task.id])
        assert row.cancel_asked
        await operator.ask("cancel", [own.id])
        said = [
            (data["who"], data["what"], data["ids"]) for data in await one.journal("OperatorAsked")
        ]
        assert said == [("root", "release", [task.id]), ("root", "cancel", [task.id])]
        with pytest.raises(UnknownTask, match="there is no task 99"):
            await operator.ask("hold", [99])


async def test_operator_gives_back_what_anybodys_session_keeps_on_record(path: Path) -> None:
    async with bench(path, KEEPS) as one:
        session = await one.open(keep_warm=KeepWarm(300.0, contiguous=True))
        other = await one.submit(10, BOB)
        await Operations(one.manager, ROOT).give_back(session.id)
        assert (await one.qpu.next_order()).chunk.task_id == other.id
        (data,) = await one.journal("OperatorAsked")
        assert (data["what"], data["session"]) == ("give back", session.id)
