"""A manager of which a part has died ends; it doesn't go on answering that all is well."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.cli.server_parts import build_site_policy
from qpu_executor.errors import InternalError, ManagerBusy, QpuExecutorError, StoreError
from qpu_executor.manager.auth.caller import Caller
from qpu_executor.manager.service.alarm import Alarm
from qpu_executor.manager.service.new_session import NewSession
from qpu_executor.manager.service.retention import Retention
from qpu_executor.manager.service.session_watch import SessionWatch
from qpu_executor.manager.service.vital import vital
from qpu_executor.manager.service.window_calendar import WindowCalendar
from qpu_executor.settings import SiteSettings, parse_site
from qpu_executor.testing.virtual_clock import VirtualClock
from qpu_executor.testing.virtual_manager import VirtualManager

SITE = """
manager: {health_every_s: 3600}
default_class: production
policy: fifo
job_classes: {production: {priority: 1, chunk_s: 10}}
sessions: {lease_s: 60, grace_s: 600, idle_s: 7200, lifetime_s: 86400}
qpus: {q: {kind: simulated-qpu, shot_rate_hz: 1, jitter: 0}}
"""
ADA = Caller("ada", 1000, "test")
DAY_S = 86_400.0


@pytest.fixture
def site(tmp_path: Path) -> VirtualManager:
    settings: SiteSettings = parse_site(SITE, "site")
    return VirtualManager(settings, build_site_policy(settings), tmp_path)


def broken(*_: Any) -> Any:
    raise ZeroDivisionError("by nothing")


async def cancelled_elsewhere(*_: Any) -> Any:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


@pytest.mark.parametrize(
    ("part", "method", "name"),
    [
        (SessionWatch, "next_of", "sessions"),
        (WindowCalendar, "tell", "windows"),
        (Retention, "sweep", "retention"),
    ],
)
async def test_a_part_that_dies_ends_the_manager(
    site: VirtualManager, monkeypatch: pytest.MonkeyPatch, part: type, method: str, name: str
) -> None:
    async with site:
        await site.manager.sessions.open(ADA, NewSession())
        monkeypatch.setattr(part, method, broken)
        with pytest.raises(InternalError, match=f"part for {name} failed.*by nothing"):
            await site.pass_time(DAY_S + 1)
        await asyncio.wait_for(site.manager.loop.ended(), 60)
        assert site.manager.loop.failure is not None
        with pytest.raises(InternalError):
            await site.manager.sessions.open(ADA, NewSession())


async def test_an_alarm_that_can_t_ring_is_told() -> None:
    told: asyncio.Queue[QpuExecutorError] = asyncio.Queue()
    clock = VirtualClock()
    alarm = Alarm(clock, broken, told.put_nowait)
    alarm.set(5_000_000)
    await clock.advance(5)
    assert "alarm" in str(await asyncio.wait_for(told.get(), 60))
    alarm.set(6_000_000)
    alarm.cancel()
    await clock.advance(5)
    assert told.empty(), "who cancels it knows"


async def test_a_part_that_is_cancelled_by_what_it_waits_for_has_died() -> None:
    told: asyncio.Queue[QpuExecutorError] = asyncio.Queue()
    vital(cancelled_elsewhere(), "x", told.put_nowait)
    assert "part for x failed" in str(await asyncio.wait_for(told.get(), 60))


async def test_a_loop_that_is_cancelled_by_what_it_waits_for_says_that_it_failed(
    site: VirtualManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site:
        monkeypatch.setattr(site.manager.store, "apply", cancelled_elsewhere)
        with pytest.raises(InternalError):
            await asyncio.wait_for(site.manager.sessions.open(ADA, NewSession()), 60)
        await asyncio.wait_for(site.manager.loop.ended(), 60)
        assert isinstance(site.manager.loop.failure, InternalError)


async def test_who_waits_for_a_turn_under_which_the_manager_stops_is_told(
    site: VirtualManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing = asyncio.Event()

    async def endless(*_: Any) -> None:
        writing.set()
        await asyncio.get_running_loop().create_future()

    async with site:
        monkeypatch.setattr(site.manager.store, "apply", endless)
        waiting = asyncio.create_task(site.manager.sessions.open(ADA, NewSession()))
        await asyncio.wait_for(writing.wait(), 60)
        await site.manager.stop()
        with pytest.raises(ManagerBusy, match="is stopping"):
            await asyncio.wait_for(waiting, 60)
        with pytest.raises(ManagerBusy, match="is stopping"):
            await asyncio.wait_for(site.manager.sessions.open(ADA, NewSession()), 60)


async def test_sessions_run_out_although_one_of_them_couldn_t_be_ended_at_first(
    site: VirtualManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site:
        manager = site.manager
        first = await manager.sessions.open(ADA, NewSession(idle_s=30.0))
        second = await manager.sessions.open(ADA, NewSession(lifetime_s=40.0))
        well, failures = manager.store.session_totals, []

        async def away(*_: Any) -> Any:
            failures.append(1)
            raise StoreError("the database is away")

        monkeypatch.setattr(manager.store, "session_totals", away)
        await site.pass_time(35)
        assert failures
        monkeypatch.setattr(manager.store, "session_totals", well)
        await site.pass_time(45)
        async with asyncio.timeout(60):
            while manager.sessions.is_open(first.id) or manager.sessions.is_open(second.id):
                await site.settle()  # a thread reads for the watch meanwhile
