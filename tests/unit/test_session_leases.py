"""Leases and limits of sessions in a whole manager, on a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.cli.server_parts import build_site_policy
from qpu_executor.errors import KeyConflict, ManagerBusy, RequestRefused
from qpu_executor.manager.auth.caller import Caller, Role
from qpu_executor.manager.service.new_session import NewSession
from qpu_executor.manager.service.operations import Operations
from qpu_executor.manager.service.orders import NewTask
from qpu_executor.manager.store.records import SessionRow, TaskRow
from qpu_executor.model.sessions import SlurmJob, TaskFate
from qpu_executor.model.states import TaskState
from qpu_executor.settings import SiteSettings, parse_site
from qpu_executor.testing.coins import coin_program
from qpu_executor.testing.virtual_manager import START_AT, VirtualManager, caller

SITE = """
default_class: production
policy: fifo
job_classes: {production: {priority: 1, chunk_s: 10}}
sessions: {lease_s: 60, grace_s: 600, idle_s: 7200, lifetime_s: 86400, SESSIONS}
qpus: {q: {kind: simulated-qpu, shot_rate_hz: 1, jitter: 0}}
"""
PROGRAM = coin_program("a")
PROLOG = Caller("slurm", 64030, "test", frozenset({Role.SERVICE}))


class Site(VirtualManager):
    """A manager with one QPU that takes a shot a second, and what tests ask of it."""

    async def open(self, user: str = "ada", by: Caller | None = None, **said: Any) -> SessionRow:
        session = await self.manager.sessions.open(caller(user), NewSession(**said), by)
        await self.settle()
        return session

    async def row(self, task_id: int, user: str = "ada") -> TaskRow:
        return await self.manager.task(task_id, caller(user))

    async def session(self, session_id: str) -> SessionRow:
        found = await self.manager.store.session(session_id)
        assert found is not None
        return found

    async def until_closed(self, session: SessionRow) -> SessionRow:
        """The store is asked in a thread, which may take a moment."""
        async with asyncio.timeout(20):
            while (found := await self.session(session.id)).closed_at is None:
                await self.settle()
        return found

    async def beat(self, session: SessionRow, user: str = "ada") -> Any:
        renewal = await self.manager.sessions.heartbeat(session.id, caller(user))
        await self.settle()
        return renewal

    async def close(self, session: SessionRow, fate: TaskFate | None = None) -> None:
        await self.manager.sessions.close(session.id, caller("ada"), fate=fate)
        await self.settle()

    async def pass_beating(self, session: SessionRow, until_s: float, every_s: float) -> None:
        at_s = (self.clock.now() - START_AT) / 1e6
        while at_s + every_s < until_s:
            at_s += every_s
            await self.pass_time(at_s)
            await self.beat(session)
        await self.pass_time(until_s)

    async def journal(self, kind: str) -> list[Any]:
        rows = await self.manager.store.journal(0, limit=10_000)
        return [row for row in rows if row.kind == kind]


Make = Callable[..., Site]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def one(rules: str = "") -> Site:
        text = SITE.replace(", SESSIONS", f", {rules}" if rules else "")
        settings: SiteSettings = parse_site(text, "site")
        return Site(settings, build_site_policy(settings), tmp_path)

    return one


# -- leases -------------------------------------------------------------------------------


async def test_session_that_nobody_renews_is_lost_and_its_tasks_pause(make: Make) -> None:
    async with make() as site:
        session = await site.open(leased=True, name="vqe")
        running = await site.submit(PROGRAM, 100, session_id=session.id)
        waiting = await site.submit(PROGRAM, 10, session_id=session.id)
        other = await site.submit(PROGRAM, 10, user="bob")
        await site.pass_time(61)
        lost = await site.session(session.id)
        assert lost.lost_at == START_AT + 60_000_000
        assert (await site.row(waiting)).state is TaskState.HELD
        row = await site.row(running)
        assert row.state is TaskState.RUNNING, "its chunk is finished first"
        await site.pass_time(120)
        row = await site.row(running)
        assert (row.state, row.shots_done) == (TaskState.HELD, 70)
        assert "session vqe lost its lease at 2027-01-15 08:01:00 UTC" in row.held_because
        assert f"qpu session heartbeat {session.id}" in row.held_because
        assert (await site.row(other, "bob")).state is TaskState.COMPLETED
        (told,) = await site.journal("SessionLost")
        assert (told.session_id, told.owner, told.data) == (session.id, "ada", {"tasks": "hold"})


async def test_heartbeat_brings_a_lost_session_back_and_frees_what_it_held_alone(
    make: Make,
) -> None:
    async with make() as site:
        session = await site.open(leased=True)
        task = await site.submit(PROGRAM, 20, session_id=session.id)
        hers = await site.submit(PROGRAM, 200, session_id=session.id, held=True)
        later = await site.submit(PROGRAM, 500, session_id=session.id)
        await site.pass_time(70)
        await site.ask("hold", later)  # from now on it is hers to release
        renewal = await site.beat(session)
        assert renewal.was_lost
        assert renewal.released == ()
        assert (await site.row(task)).state is TaskState.COMPLETED
        assert (await site.row(later)).held_because == ""
        await site.pass_time(100)
        for held in (hers, later):
            assert (await site.row(held)).state is TaskState.HELD
        await site.ask("release", hers)
        await site.pass_time(200)
        assert (await site.row(hers)).state is TaskState.HELD, "lost again, at 130 s"
        renewal = await site.beat(session)
        assert renewal.released == (hers,)
        await site.pass_beating(session, 400, every_s=50)
        assert (await site.row(hers)).state is TaskState.COMPLETED
        assert (await site.row(later)).state is TaskState.HELD


async def test_heartbeats_and_uses_keep_a_session(make: Make) -> None:
    async with make() as site:
        session = await site.open(leased=True)
        task = await site.submit(PROGRAM, 300, session_id=session.id)
        await site.pass_beating(session, 200, every_s=40)
        await site.submit(PROGRAM, 1, session_id=session.id)
        await site.pass_time(259)
        await site.manager.sessions.get(session.id, caller("ada"))
        await site.pass_time(310)
        assert (await site.row(task)).state is TaskState.COMPLETED
        assert (await site.session(session.id)).lost_at is None
        with pytest.raises(RequestRefused, match="no session"):
            await site.manager.sessions.heartbeat(session.id, caller("bob"))


async def test_session_without_a_lease_needs_no_heartbeat(make: Make) -> None:
    async with make() as site:
        session = await site.open()
        task = await site.submit(PROGRAM, 500, session_id=session.id)
        await site.pass_time(600)
        assert (await site.row(task)).state is TaskState.COMPLETED
        assert (await site.session(session.id)).lost_at is None


async def test_submission_brings_a_lost_session_back(make: Make) -> None:
    async with make() as site:
        session = await site.open(leased=True)
        task = await site.submit(PROGRAM, 200, session_id=session.id)
        await site.pass_time(100)
        assert (await site.row(task)).state is TaskState.HELD
        await site.submit(PROGRAM, 1, session_id=session.id)
        assert (await site.row(task)).state in (TaskState.RUNNING, TaskState.QUEUED)
        assert (await site.session(session.id)).lost_at is None


@pytest.mark.parametrize(
    ("rules", "asked", "state"),
    [
        ("on_lost: finish", None, TaskState.COMPLETED),
        ("on_lost: cancel", None, TaskState.CANCELLED),
        ("on_lost: cancel", TaskFate.HOLD, TaskState.HELD),
        ("", TaskFate.FINISH, TaskState.COMPLETED),
    ],
)
async def test_what_a_loss_means_is_the_sites_say_and_the_sessions(
    make: Make, rules: str, asked: TaskFate | None, state: TaskState
) -> None:
    async with make(rules) as site:
        session = await site.open(leased=True, on_lost=asked)
        task = await site.submit(PROGRAM, 100, session_id=session.id)
        await site.pass_time(150)
        assert (await site.row(task)).state is state


async def test_lost_session_ends_after_its_grace_as_the_site_says(make: Make) -> None:
    async with make("on_end: cancel") as site:
        session = await site.open(leased=True)
        task = await site.submit(PROGRAM, 100, session_id=session.id)
        await site.pass_time(655)
        assert (await site.row(task)).state is TaskState.HELD
        await site.pass_time(665)
        assert (await site.row(task)).state is TaskState.CANCELLED
        ended = await site.session(session.id)
        assert ended.closed_because == "nobody renewed its lease"
        with pytest.raises(RequestRefused, match="is closed: nobody renewed its lease"):
            await site.beat(session)
        (told,) = await site.journal("SessionClosed")
        assert told.data == {"tasks": "cancel", "because": "nobody renewed its lease"}


async def test_loss_survives_a_restart_and_its_end_comes_later_by_the_time_away(
    make: Make,
) -> None:
    async with make() as site:
        session = await site.open(leased=True)
        kept = await site.open(leased=True)
        await site.open(ends_in_s=900.0)  # while nobody is there
        task = await site.submit(PROGRAM, 100, session_id=session.id)
        await site.pass_beating(kept, 300, every_s=50)
    again = make()
    await again.clock.advance(3000)
    async with again as site:
        row = await site.row(task)
        assert row.state is TaskState.HELD
        assert "lost its lease" in row.held_because
        assert (await site.session(session.id)).closed_at is None, "nobody was there to hear her"
        assert (await site.session(kept.id)).lost_at is None
        await site.pass_time(3059)
        assert (await site.session(kept.id)).lost_at is None
        assert (await site.beat(session)).released == (task,)
        await site.pass_time(3062)
        assert (await site.session(kept.id)).lost_at is not None
        await site.pass_time(3110)
        assert (await site.row(task)).state is TaskState.COMPLETED


async def test_time_in_which_the_manager_stood_still_counts_against_nobody(make: Make) -> None:
    async with make() as site:
        session = await site.open(leased=True)
        gone = await site.open(leased=True)
        await site.pass_beating(session, 100, every_s=30)
        assert (await site.session(gone.id)).lost_at is not None
        site.clock._now += 700_000_000  # it was stopped; nobody could reach it
        await site.pass_time(810)
        assert (await site.session(session.id)).lost_at is None
        assert (await site.session(gone.id)).closed_at is None
        await site.pass_time(870)
        assert (await site.session(session.id)).lost_at is not None


async def test_lost_session_keeps_no_qpu_warm(make: Make) -> None:
    async with make() as site:
        session = await site.open(leased=True)
        await site.pass_time(61)
        assert site.manager.sessions.holds.of(session.id) == []
        assert (await site.session(session.id)).lost_at is not None


# -- limits -------------------------------------------------------------------------------


async def test_session_may_ask_for_less_than_the_site_and_not_for_more(make: Make) -> None:
    async with make() as site:
        assert (await site.open(lease_s=10.0)).lease_s == 10.0
        assert (await site.open(leased=True)).lease_s == 60.0
        assert (await site.open()).lease_s is None
        for key in ("lease_s", "idle_s", "lifetime_s"):
            with pytest.raises(RequestRefused) as caught:
                await site.open(**{key: 1e6})
            assert caught.value.where == key
            assert "at most" in str(caught.value)


async def test_session_without_a_task_for_its_idle_time_ends(make: Make) -> None:
    async with make() as site:
        session = await site.open(idle_s=1000.0)
        await site.submit(PROGRAM, 900, session_id=session.id)
        await site.pass_time(1850)
        assert (await site.session(session.id)).closed_at is None, "its task ended at 900 s"
        await site.pass_time(1910)
        while (ended := await site.session(session.id)).closed_at is None:
            await site.settle()
        assert ended.closed_because == "it had no task for too long"
        assert 1900 <= (ended.closed_at - START_AT) / 1e6 <= 1910


async def test_idle_time_goes_on_after_a_restart_but_for_the_time_away(make: Make) -> None:
    async with make() as site:
        idle = await site.open(idle_s=1000.0)
        await site.submit(PROGRAM, 100, session_id=idle.id)
        busy = await site.open(idle_s=1000.0)
        await site.submit(PROGRAM, 900, session_id=busy.id)
        await site.pass_time(700)
        await site.open()  # the last that is on record of this manager
    again = make()
    await again.clock.advance(5000)
    async with again as site:
        await site.pass_time(5390)
        assert (await site.session(idle.id)).closed_at is None, "600 s, and 390 s"
        await site.pass_time(5400)
        ended = await site.until_closed(idle)
        assert ended.closed_because == "it had no task for too long"
        await site.pass_time(6290)
        assert (await site.session(busy.id)).closed_at is None, "its task ended at 5301 s"


async def test_store_that_is_busy_for_a_moment_ends_no_watch(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make() as site:
        idle = await site.open(idle_s=100.0)
        leased = await site.open(leased=True, lease_s=50.0)
        store, asked = site.manager.store, asyncio.Event()

        async def busy(ids: list[str]) -> Any:
            asked.set()
            monkeypatch.undo()
            raise ManagerBusy("the database doesn't answer")

        await site.pass_beating(leased, 95, every_s=40)
        monkeypatch.setattr(store, "session_totals", busy)
        await site.pass_time(101)
        await asked.wait()
        await site.pass_time(200)
        await site.until_closed(idle)
        assert (await site.session(leased.id)).lost_at is not None


async def test_reload_changes_what_sessions_get_and_what_their_end_means(make: Make) -> None:
    async with make() as site:
        lost = await site.open(leased=True)
        task = await site.submit(PROGRAM, 300, session_id=lost.id)
        await site.pass_time(100)
        assert (await site.row(task)).state is TaskState.HELD
        before = site.manager.policy
        rules = replace(before.sessions, grace_s=200.0, on_end=TaskFate.CANCEL, lease_s=30.0)
        site.manager.read_policy = lambda: replace(before, sessions=replace(rules, time_scale=7.0))
        root = Caller("root", 0, "test", frozenset({Role.OPERATOR}))
        assert await Operations(site.manager, root).reload_policy() == ["sessions"]
        assert site.manager.sessions.rules == rules, "its clock is as fast as before"
        assert (await site.open(leased=True)).lease_s == 30.0
        assert (await site.session(lost.id)).lease_s == 60.0
        await site.pass_time(255)
        assert (await site.row(task)).state is TaskState.HELD
        await site.pass_time(265)
        assert (await site.row(task)).state is TaskState.CANCELLED


async def test_session_ends_with_its_lifetime_and_its_tasks_are_held(make: Make) -> None:
    async with make() as site:
        session = await site.open(lifetime_s=100.0)
        task = await site.submit(PROGRAM, 500, session_id=session.id)
        await site.pass_time(130)
        row = await site.row(task)
        assert row.state is TaskState.HELD
        assert "its lifetime is over" in row.held_because
        assert "qpu release" in row.held_because


async def test_session_ends_with_its_allocation_which_fails_its_tasks(make: Make) -> None:
    async with make("on_end: cancel") as site:
        session = await site.open(ends_in_s=100.0)
        first = await site.submit(PROGRAM, 60, session_id=session.id)
        await site.submit(PROGRAM, 60, user="bob")
        second = await site.submit(PROGRAM, 60, session_id=session.id)
        await site.pass_time(101)
        assert (await site.row(first)).state is TaskState.COMPLETED
        row = await site.row(second)
        assert row.state is TaskState.FAILED
        assert str(row.error).startswith("SessionEnding")
        assert (await site.session(session.id)).closed_because == "its allocation has ended"


@pytest.mark.parametrize(
    ("rules", "session_says", "close_says", "state"),
    [
        ("", None, None, TaskState.COMPLETED),
        ("on_close: cancel", None, None, TaskState.CANCELLED),
        ("on_close: cancel", TaskFate.HOLD, None, TaskState.HELD),
        ("on_close: cancel", TaskFate.HOLD, TaskFate.FINISH, TaskState.COMPLETED),
    ],
)
async def test_what_closing_means_is_said_by_the_site_the_session_or_who_closes(
    make: Make,
    rules: str,
    session_says: TaskFate | None,
    close_says: TaskFate | None,
    state: TaskState,
) -> None:
    async with make(rules) as site:
        session = await site.open(on_close=session_says)
        task = await site.submit(PROGRAM, 50, session_id=session.id)
        await site.close(session, close_says)
        await site.pass_time(60)
        assert (await site.row(task)).state is state


async def test_what_is_said_of_the_tasks_of_a_closed_session_is_done(make: Make) -> None:
    async with make() as site:
        session = await site.open()
        task = await site.submit(PROGRAM, 50, session_id=session.id)
        await site.close(session)
        closed = await site.session(session.id)
        await site.pass_time(5)
        await site.close(session)
        assert (await site.row(task)).state is TaskState.RUNNING, "twice is once"
        await site.close(session, TaskFate.HOLD)
        await site.pass_time(12)
        row = await site.row(task)
        assert (row.state, row.shots_done) == (TaskState.HELD, 10)
        assert "was closed at 2027-01-15 08:00:00 UTC" in row.held_because
        await site.close(session, TaskFate.FINISH)
        assert (await site.row(task)).state is TaskState.RUNNING
        await site.close(session, TaskFate.CANCEL)
        await site.pass_time(15)
        assert (await site.row(task)).state is TaskState.CANCELLED
        assert await site.session(session.id) == closed


async def test_key_of_a_closed_session_names_a_new_one(make: Make) -> None:
    async with make() as site:
        first = await site.open(key="k")
        assert await site.open(key="k") == first
        await site.close(first)
        second = await site.open(key="k")
        assert second.id != first.id
        assert await site.open(key="k") == second
        assert await site.manager.store.session_by_key("ada", "k") == second


async def test_users_key_names_the_same_task_in_another_session(make: Make) -> None:
    async with make() as site:
        first, second = await site.open(), await site.open()
        task = await site.submit(PROGRAM, 100, key="k", session_id=first.id)
        assert await site.submit(PROGRAM, 100, key="k", session_id=second.id) == task
        assert (await site.row(task)).session_id == first.id, "its session is open"
        with pytest.raises(KeyConflict):
            await site.submit(PROGRAM, 99, key="k", session_id=first.id)
        order = NewTask(PROGRAM, PROGRAM.hash, 100, key="k", session_id="s")
        before = order.hash_in_session()
        assert order.names(before, "s")
        assert replace(order, session_id="t").names(before, "s")
        assert not replace(order, shots=99).names(before, "s")


async def test_counts_of_a_session_are_those_of_its_rows(make: Make) -> None:
    async with make() as site:
        session = await site.open()
        await site.submit(PROGRAM, 30, session_id=session.id)
        await site.submit(PROGRAM, 20, session_id=session.id)
        await site.submit(PROGRAM, 20)
        await site.pass_time(35)
        store = site.manager.store
        totals = (await store.session_totals([session.id, "none"]))[session.id]
        assert (totals.tasks, totals.shots, totals.charged_s) == (2, 30, 30.0)
        await site.pass_time(100)
        totals = (await store.session_totals([session.id]))[session.id]
        assert (totals.shots, totals.device_s) == (50, 50.0)
        assert (await store.session_totals(["none"]))["none"].tasks == 0


# -- Slurm jobs ---------------------------------------------------------------------------


def job(number: int = 17, restart: int = 0) -> SlurmJob:
    return SlurmJob("qtest", number, restart)


async def test_incarnation_of_a_job_has_one_session_whoever_opens_it(make: Make) -> None:
    async with make() as site:
        first = await site.open(by=PROLOG, kind="slurm", slurm=job(), uid=1000)
        assert first.uid == 1000
        again = await site.open(by=PROLOG, kind="slurm", slurm=job())
        own = await site.open(kind="slurm", slurm=job())
        assert first.id == again.id == own.id
        assert (await site.open(kind="slurm", slurm=job(18))).id != first.id


async def test_requeued_job_takes_the_place_of_its_earlier_incarnation(make: Make) -> None:
    async with make() as site:
        first = await site.open(by=PROLOG, kind="slurm", slurm=job())
        run = await site.open(key="run", slurm=job())
        second = await site.open(by=PROLOG, kind="slurm", slurm=job(restart=1))
        for old in (first, run):
            ended = await site.session(old.id)
            assert ended.closed_because == "Slurm job qtest/17 restart 1 takes its place"
        with pytest.raises(RequestRefused, match="was requeued"):
            await site.open(kind="slurm", slurm=job())
        assert (await site.session(second.id)).closed_at is None


async def test_services_move_the_end_of_a_jobs_allocation_and_of_what_has_it_from_there(
    make: Make,
) -> None:
    async with make() as site:
        own = await site.open(by=PROLOG, kind="slurm", slurm=job(), ends_in_s=300.0)
        run = await site.open(key="run", slurm=job(), ends_in_s=299.0)
        brief = await site.open(key="brief", slurm=job(), ends_in_s=200.0)
        first = await site.submit(PROGRAM, 250, session_id=own.id)
        second = await site.submit(PROGRAM, 100, session_id=run.id)
        await site.submit(PROGRAM, 150, session_id=brief.id)
        with pytest.raises(RequestRefused, match="allocation"):
            await site.submit(PROGRAM, 500, session_id=own.id)
        await site.pass_time(50)
        moved = await site.open(by=PROLOG, kind="slurm", slurm=job(), ends_in_s=600.0)
        assert (moved.id, moved.ends_at) == (own.id, START_AT + 650_000_000)
        for one in (own, run):
            assert (await site.session(one.id)).ends_at == moved.ends_at
        assert (await site.session(brief.id)).ends_at == brief.ends_at, "it has an end of its own"
        assert await site.open(by=PROLOG, kind="slurm", slurm=job(), ends_in_s=600.5) == moved
        assert (await site.open(kind="slurm", slurm=job(), ends_in_s=900.0)) == moved
        assert (await site.open(key="run", slurm=job(), ends_in_s=900.0)).ends_at == moved.ends_at
        site.manager.scheduler.check()
        told = await site.journal("SessionOpenedFor")
        assert [row.data.get("ends_at") for row in told] == [None, moved.ends_at]
    again = make()
    await again.clock.advance(60)
    async with again as site:
        await site.pass_time(640)
        for task in (first, second):
            assert (await site.row(task)).state is TaskState.COMPLETED, "after its first end"
        await site.pass_time(651)
        for one in (own, run):
            ended = await site.session(one.id)
            assert ended.closed_because == "its allocation has ended"


async def test_allocation_that_is_shortened_ends_its_tasks_sooner(make: Make) -> None:
    async with make() as site:
        own = await site.open(by=PROLOG, kind="slurm", slurm=job(), ends_in_s=600.0)
        task = await site.submit(PROGRAM, 400, session_id=own.id)
        await site.pass_time(50)
        with pytest.raises(RequestRefused, match="has ended already"):
            await site.open(by=PROLOG, kind="slurm", slurm=job(), ends_in_s=-1.0)
        await site.open(by=PROLOG, kind="slurm", slurm=job(), ends_in_s=75.0)
        await site.pass_time(126)
        row = await site.row(task)
        assert row.state is TaskState.FAILED
        assert str(row.error).startswith("SessionEnding")
        assert 110 <= row.shots_done <= 125
        assert (await site.session(own.id)).closed_at == START_AT + 125_000_000


async def test_task_is_adopted_into_the_session_of_the_requeued_job(make: Make) -> None:
    async with make() as site:
        first = await site.open(by=PROLOG, kind="slurm", slurm=job(), ends_in_s=300.0)
        options = {"key": "run/1"}
        task = await site.submit(PROGRAM, 250, session_id=first.id, **options)
        forgotten = await site.submit(PROGRAM, 1, session_id=first.id, key="run/0")
        await site.pass_time(55)
        second = await site.open(by=PROLOG, kind="slurm", slurm=job(restart=1), ends_in_s=900.0)
        await site.pass_time(200)
        row = await site.row(task)
        assert (row.state, row.session_id) == (TaskState.HELD, first.id)
        assert await site.submit(PROGRAM, 250, session_id=second.id, **options) == task
        row = await site.row(task)
        assert (row.state, row.session_id) == (TaskState.RUNNING, second.id)
        assert row.wishes.session_ends_at == second.ends_at
        assert row.shots_done == 60, "nothing is taken twice"
        site.manager.scheduler.check()
        await site.pass_time(450)
        row = await site.row(task)
        assert (row.state, row.shots_done) == (TaskState.COMPLETED, 250), "the first end is past"
        assert str((await site.row(forgotten)).error).startswith("SessionEnding")


async def test_session_of_a_job_takes_the_jobs_others_with_it(make: Make) -> None:
    async with make() as site:
        own = await site.open(by=PROLOG, kind="slurm", slurm=job())
        run = await site.open(key="run", slurm=job())
        elsewhere = await site.open(key="other", slurm=job(18))
        await site.close(own)
        assert (await site.session(run.id)).closed_because == "its Slurm job has ended"
        assert (await site.session(elsewhere.id)).closed_at is None


async def test_run_that_is_resumed_after_its_allocation_gets_a_new_session(make: Make) -> None:
    async with make() as site:
        first = await site.open(key="run", slurm=job(), ends_in_s=100.0)
        again = await site.open(key="run", slurm=job(), ends_in_s=500.0)
        assert again == first, "found again as it was opened"
        await site.pass_time(100)
        second = await site.open(key="run", slurm=job(18), ends_in_s=100.0)
        assert second.id != first.id


async def test_job_of_somebody_else_is_taken_by_services_only(make: Make) -> None:
    async with make() as site:
        claimed = await site.open("eve", kind="slurm", slurm=job())
        with pytest.raises(RequestRefused, match="another user"):
            await site.open("bob", kind="slurm", slurm=job(restart=1))
        real = await site.open(by=PROLOG, kind="slurm", slurm=job(), uid=1000)
        assert real.owner == "ada"
        assert (await site.session(claimed.id)).closed_at is not None
