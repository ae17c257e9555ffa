"""A pool of workers that is closed under a call says so; nobody's own cancellation is meant."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from pebble import ProcessFuture

from qpu_executor.errors import DeviceError, ManagerBusy
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.qpus import workers
from qpu_executor.qpus.checking import ProgramChecker
from qpu_executor.qpus.pasqal_controller.preparing import Preparing
from qpu_executor.qpus.workers import WorkerPool, WorkersClosedError
from qpu_executor.testing.sequences import small_sequence


async def test_a_call_under_which_the_pool_is_closed_ends_with_that() -> None:
    pool = WorkerPool(1)
    await pool.open()
    call = asyncio.create_task(pool.run(time.sleep, None, 3600))
    await asyncio.sleep(0)
    await pool.close()
    with pytest.raises(WorkersClosedError, match="are closed"):
        await asyncio.wait_for(call, 60)
    with pytest.raises(WorkersClosedError, match="are closed"):
        await pool.run(time.sleep, None, 0)


class Pool:
    """Of the library's kind; one that is `active` answers every call at once."""

    def __init__(self, active: bool) -> None:
        self.active = active
        self.ended = False

    def schedule(self, *_: Any, **__: Any) -> ProcessFuture[str]:
        future: ProcessFuture[str] = ProcessFuture()
        if self.active:
            future.set_result("here")
        return future

    def stop(self) -> None:
        self.ended = True

    def join(self) -> None:
        """Nothing runs."""


async def test_calls_that_a_broken_pool_has_forgotten_are_made_again_in_one_other_pool(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "LOOK_EVERY_S", 0.01)
    broken, well = Pool(active=False), Pool(active=True)
    made = [broken, well]
    pool = WorkerPool(1)
    monkeypatch.setattr(pool, "_new_pool", lambda: made.pop(0))
    await pool.open()
    calls = [asyncio.create_task(pool.run(time.sleep, None, 0)) for _ in range(2)]
    assert await asyncio.wait_for(asyncio.gather(*calls), 60) == ["here", "here"]
    assert (broken.ended, well.ended) == (True, False)
    await pool.close()


async def test_a_program_is_not_to_blame_for_a_manager_that_stops_while_it_is_checked() -> None:
    checker = ProgramChecker()
    await checker.open()
    checking = asyncio.create_task(checker.check(to_program(small_sequence()), "{}"))
    for _ in range(3):
        await asyncio.sleep(0)
    await checker.close()
    with pytest.raises(ManagerBusy, match="is stopping"):
        await asyncio.wait_for(checking, 60)


async def test_a_call_that_its_caller_gives_up_is_cancelled() -> None:
    pool = WorkerPool(1)
    await pool.open()
    call = asyncio.create_task(pool.run(time.sleep, None, 3600))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await pool.close()


async def test_a_program_is_not_to_blame_for_an_adapter_that_is_closed_under_it() -> None:
    preparing = Preparing()
    await preparing.open()
    program, device = to_program(small_sequence()), "{}"
    rebuilt = [asyncio.create_task(preparing.prepare(program, device)) for _ in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await preparing.close()
    for one in rebuilt:
        with pytest.raises(DeviceError, match="was closed before the program was sent"):
            await asyncio.wait_for(one, 60)
