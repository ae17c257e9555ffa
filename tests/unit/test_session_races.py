"""What comes for a session in the moment in which that closes, is lost, or runs out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.cli.server_parts import build_site_policy
from qpu_executor.errors import RequestRefused
from qpu_executor.manager.auth.caller import Caller, Role
from qpu_executor.manager.service.keeping_warm import KeepWarm
from qpu_executor.manager.service.new_session import NewSession
from qpu_executor.manager.service.orders import NewTask
from qpu_executor.manager.store.records import SessionRow, TaskRow
from qpu_executor.model.sessions import SlurmJob, TaskFate
from qpu_executor.model.states import TaskState
from qpu_executor.settings import parse_site
from qpu_executor.testing.coins import coin_program
from qpu_executor.testing.virtual_manager import VirtualManager, caller

SITE = """
default_class: production
policy: fifo
job_classes: {production: {priority: 1, chunk_s: 10}}
sessions: {lease_s: 60, grace_s: 600, idle_s: 7200, lifetime_s: 86400}
qpus: {q: {kind: simulated-qpu, shot_rate_hz: 1, jitter: 0, keep_warm: {max_run_s: 900}}}
"""
PROGRAM = coin_program("a")
ADA = caller("ada")
SERVICE = Caller("slurm", 0, "test", frozenset({Role.SERVICE}))


class Site(VirtualManager):
    """A manager with one QPU that takes a shot a second, and what tests ask of it."""

    async def open(self, **said: Any) -> SessionRow:
        session = await self.manager.sessions.open(ADA, NewSession(**said))
        await self.settle()
        return session

    async def close(self, session: SessionRow, fate: TaskFate | None = None) -> None:
        await self.manager.sessions.close(session.id, ADA, fate=fate)
        await self.settle()

    async def session(self, session: SessionRow) -> SessionRow:
        found = await self.manager.store.session(session.id)
        assert found is not None
        return found

    async def row(self, task_id: int) -> TaskRow:
        return await self.manager.task(task_id, ADA)

    @asynccontextmanager
    async def submitting(self, **options: Any) -> AsyncIterator[asyncio.Task[int]]:
        """A submission whose program is being checked for as long as the block lasts."""
        admission: Any = self.manager.admission
        admit, there, go = admission.admit, asyncio.Event(), asyncio.Event()

        async def slowly(*asked: Any) -> Any:
            admitted = await admit(*asked)
            there.set()
            await go.wait()
            return admitted

        admission.admit = slowly
        task = asyncio.create_task(self.submit(PROGRAM, 10, **options))
        await there.wait()
        admission.admit = admit
        yield task
        go.set()
        await asyncio.wait([task])


Make = Callable[[], Site]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    settings = parse_site(SITE, "site")
    return lambda: Site(settings, build_site_policy(settings), tmp_path)


# -- tasks and holds that come while a session closes --------------------------------------


async def test_task_whose_session_closed_while_it_was_checked_is_refused(make: Make) -> None:
    async with make() as site:
        session = await site.open()
        async with site.submitting(session_id=session.id, key="k") as submission:
            await site.close(session, TaskFate.CANCEL)
        with pytest.raises(RequestRefused, match="was closed a moment ago"):
            await submission
        assert site.manager.live == {}
        again = await site.open()
        assert (await site.row(await site.submit(PROGRAM, 10, session_id=again.id, key="k"))).shots


async def test_task_whose_session_was_lost_while_it_was_checked_brings_it_back(make: Make) -> None:
    async with make() as site:
        session = await site.open(leased=True)
        waiting = await site.submit(PROGRAM, 200, session_id=session.id)
        async with site.submitting(session_id=session.id) as submission:
            await site.pass_time(80)
            assert (await site.session(session)).lost_at is not None
            assert (await site.row(waiting)).state is TaskState.HELD
        await submission
        assert (await site.session(session)).lost_at is None
        assert (await site.row(waiting)).held_because == ""
        await site.pass_time(135)
        assert (await site.session(session)).lost_at is None, "its lease began anew with the task"


@pytest.mark.parametrize("ends_in_s", [100.0, 900.0])
async def test_task_whose_sessions_end_moved_while_it_was_checked_has_the_new_end(
    make: Make, ends_in_s: float
) -> None:
    async with make() as site:
        job = SlurmJob("hpc", 7)
        own = await site.open(kind="slurm", slurm=job, ends_in_s=400.0)
        async with site.submitting(session_id=own.id) as submission:
            again = NewSession(kind="slurm", slurm=job, ends_in_s=ends_in_s)
            moved = await site.manager.sessions.open(ADA, again, by=SERVICE)
            assert moved.ends_at != own.ends_at
        row = await site.row(await submission)
        assert row.wishes.session_ends_at == moved.ends_at


async def test_task_that_comes_while_its_session_seems_idle_keeps_it(make: Make) -> None:
    async with make() as site:
        session = await site.open(idle_s=100.0)
        store: Any = site.manager.store
        totals, looked = store.session_totals, asyncio.Event()

        async def meanwhile(ids: list[str]) -> Any:
            found = await totals(ids)
            store.session_totals = totals
            await site.manager.submit([order], ADA)
            looked.set()
            return found

        order = NewTask(PROGRAM, PROGRAM.hash, 30, session_id=session.id)
        store.session_totals = meanwhile
        await site.pass_time(102)
        await looked.wait()
        await site.settle()
        assert (await site.session(session)).closed_at is None
        (row,) = site.manager.live.values()
        assert (row.session_id, row.state) == (session.id, TaskState.RUNNING)


async def test_task_is_not_adopted_into_a_session_that_closes_in_the_same_turn(make: Make) -> None:
    async with make() as site:
        first = await site.open()
        task = await site.submit(PROGRAM, 50, session_id=first.id, key="k", qpu="q")
        await site.close(first, TaskFate.HOLD)
        second = await site.open()
        closing = asyncio.create_task(site.manager.sessions.close(second.id, ADA))
        await asyncio.sleep(0)
        # Where its store is slow to find the task, the session is closed before it is asked for.
        with pytest.raises(RequestRefused, match=r"(was|is) closed"):
            await site.submit(PROGRAM, 50, session_id=second.id, key="k", qpu="q")
        await closing
        await site.pass_time(20)
        row = await site.row(task)
        assert (row.session_id, row.state) == (first.id, TaskState.HELD)


async def test_session_that_closes_in_the_same_turn_keeps_no_qpu(make: Make) -> None:
    async with make() as site:
        session, sessions = await site.open(), site.manager.sessions
        closing = asyncio.create_task(sessions.close(session.id, ADA))
        await asyncio.sleep(0)
        with pytest.raises(RequestRefused, match="was closed a moment ago"):
            await sessions.holds.ask(session, KeepWarm(600.0, contiguous=True), sessions.enter)
        await closing
        assert sessions.holds.of(session.id) == []


# -- rules that change meanwhile -----------------------------------------------------------


async def test_session_that_new_rules_no_longer_grant_is_refused(make: Make) -> None:
    async with make() as site:
        manager, loading, go = site.manager, asyncio.Event(), asyncio.Event()
        store: Any = manager.store
        load = store.load

        async def slowly() -> Any:
            loading.set()
            await go.wait()
            return await load()

        store.load = slowly
        stricter = parse_site(SITE.replace("lease_s: 60", "lease_s: 30"), "site")
        reload = asyncio.create_task(manager.change_policy(build_site_policy(stricter)))
        await loading.wait()
        opening = asyncio.create_task(manager.sessions.open(ADA, NewSession(lease_s=50.0)))
        await asyncio.sleep(0)
        go.set()
        await reload
        with pytest.raises(RequestRefused, match="have 30 s, not 50 s"):
            await opening
        assert (await site.open(lease_s=20.0)).lease_s == 20.0, "the manager goes on"
