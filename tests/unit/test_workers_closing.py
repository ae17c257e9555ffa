"""A pool of workers that is closed under a call says so; nobody's own cancellation is meant."""

from __future__ import annotations

import asyncio
import time

import pytest

from qpu_executor.errors import DeviceError
from qpu_executor.programs.pulser_sequence import to_program
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
        await asyncio.wait_for(call, 10)
    with pytest.raises(WorkersClosedError, match="are closed"):
        await pool.run(time.sleep, None, 0)


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
            await asyncio.wait_for(one, 10)
