"""The site's windows reach the core before anything is decided, and bind its chunks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from qpu_executor.manager.auth.caller import Caller
from qpu_executor.manager.service.admission import Admission
from qpu_executor.manager.service.clock import SystemClock
from qpu_executor.manager.service.fleet import Fleet, Qpu
from qpu_executor.manager.service.manager import Manager
from qpu_executor.manager.service.orders import Accepted, NewTask
from qpu_executor.manager.service.site_rules import SiteRules
from qpu_executor.manager.service.window_calendar import WindowRule
from qpu_executor.manager.store.sql import SqlStore
from qpu_executor.model.states import WaitReason, WindowKind
from qpu_executor.model.values import JobClass
from qpu_executor.programs.program import Program
from qpu_executor.qpus.base import Capabilities
from qpu_executor.qpus.checking import ProgramChecker
from qpu_executor.scheduling.scheduler import Scheduler
from qpu_executor.testing.fake_qpu import FakeQpu
from qpu_executor.wire.policy import WindowRequest

ALICE = Caller("alice", 1000, "test")
PROGRAM = Program("opaque", "x")


def maintenance(in_s: float, length_s: float) -> WindowRule:
    """A one-off window from now on, or from a while ago on."""
    start = datetime.now(UTC) + timedelta(seconds=in_s)
    return WindowRule(
        "cryostat", WindowKind.MAINTENANCE, start.time(), length_s, "UTC", on=start.date()
    )


@asynccontextmanager
async def a_manager(path: Path, qpu: FakeQpu, rule: WindowRule) -> AsyncIterator[Manager]:
    """A manager whose only QPU takes 10 shots a second and has one window."""
    store = SqlStore(path)
    fleet = Fleet([Qpu("q", "fake", qpu, rules=SiteRules(windows=(rule,)))])
    admission = Admission(
        fleet=fleet,
        classes=(JobClass("development", 100, chunk_s=60),),
        default_class="development",
        checker=ProgramChecker(),
        store=store,
    )
    manager = Manager(
        store=store,
        fleet=fleet,
        admission=admission,
        scheduler=Scheduler(),
        make_clock=SystemClock,
        health_every_s=3600,
    )
    await store.open()
    await fleet.open(await manager.recall(), path.parent)
    await manager.start()
    try:
        yield manager
    finally:
        await manager.stop()
        await fleet.close()
        await store.close()


def a_qpu() -> FakeQpu:
    can = Capabilities(kinds=frozenset({"opaque"}), shot_rate_hz=10.0)
    return FakeQpu("q", capabilities=can)


async def submit(manager: Manager, shots: int) -> int:
    (answer,) = await manager.submit([NewTask(PROGRAM, PROGRAM.hash, shots)], ALICE)
    assert isinstance(answer, Accepted), answer
    return answer.task.id


async def test_task_submitted_in_a_maintenance_window_waits_and_names_its_end(
    tmp_path: Path,
) -> None:
    async with a_manager(tmp_path / "s.sqlite", a_qpu(), maintenance(-60, 3600)) as manager:
        task_id = await submit(manager, 100)
        waiting = manager.scheduler.waiting(task_id)
        assert waiting is not None
        assert waiting.reason is WaitReason.MAINTENANCE
        assert waiting.until is not None
        assert waiting.until > manager.clock.now()


async def test_chunk_before_a_window_is_cut_so_that_it_ends_in_time(tmp_path: Path) -> None:
    qpu = a_qpu()
    async with a_manager(tmp_path / "s.sqlite", qpu, maintenance(48, 3600)) as manager:
        await submit(manager, 600)
        order = await qpu.next_order()
        # 48 s at 0.1 s a shot and a safety factor of 1.2, less the time that the test took.
        assert 300 < order.shots <= 400


def test_window_that_is_shorter_than_any_clock_can_tell_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"greater than or equal to 0\.001"):
        WindowRequest(name="w", at=time(12, 0), length_s=5e-324)
