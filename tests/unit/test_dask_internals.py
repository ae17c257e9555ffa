"""Pins what distributed doesn't document and `qpu_executor.dask` relies on."""

import asyncio
import threading

import pytest
from distributed import Client, Scheduler, Worker, get_worker

from qpu_executor.dask import distributed_internals as internals

pytestmark = pytest.mark.timeout(180)


class Cluster:
    def __init__(self, nthreads=1, resources=None):
        self._nthreads, self._resources = nthreads, resources

    async def __aenter__(self):
        self.scheduler = await Scheduler(port=0, dashboard=False, validate=True)
        self.worker = await Worker(
            self.scheduler.address,
            nthreads=self._nthreads,
            validate=True,
            resources=self._resources,
        )
        self.client = await Client(self.scheduler.address, asynchronous=True)
        return self

    async def __aexit__(self, *_):
        await self.client.close()
        await self.worker.close()
        await self.scheduler.close()


class Awaited:
    """A callable object that Dask takes for a coroutine function, and a test can look into."""

    __name__ = "awaited"
    __tornado_coroutine__ = True
    seen = {}

    async def __call__(self, name):
        worker = get_worker()
        ts = internals.running_task(worker)
        self.seen[name] = (ts.key, internals.function_of(ts) is self)
        return await asyncio.create_task(self.elsewhere(worker))

    async def elsewhere(self, worker):
        return internals.running_task(worker)


@pytest.mark.parametrize("key", ["plain", ("a tuple", 3), "quo\"te's", None])
async def test_a_coroutine_finds_its_own_task_and_function(key):
    async with Cluster() as c:
        future = c.client.submit(Awaited(), repr(key), key=key)
        assert await future is None
        assert Awaited.seen[repr(key)] == (future.key, True)


async def test_outside_of_a_dask_task_there_is_none():
    async with Cluster() as c:
        assert internals.running_task(c.worker) is None


async def test_a_task_that_seceded_gives_its_slot_to_others_and_still_returns():
    async with Cluster(nthreads=1) as c:
        go_on = asyncio.Event()

        class Waits(Awaited):
            async def __call__(self):
                worker = get_worker()
                internals.secede(worker, internals.running_task(worker), 0.0)
                assert internals.running_task(worker) is not None
                await go_on.wait()
                return "waited"

        gates["secede"] = Waits()
        future = c.client.submit(_call_gate, "secede")
        assert await c.client.submit(pow, 2, 3) == 8
        go_on.set()
        assert await future == "waited"


gates = {}


async def _call_gate(name):
    return await gates[name]()


async def test_an_offer_keeps_count_of_what_tasks_hold_on_both_sides():
    async with Cluster(nthreads=2, resources={"QPU": 2, "GPU": 1}) as c:
        started, go_on = threading.Event(), threading.Event()
        gates["hold"] = (started, go_on)
        future = c.client.submit(_hold, "hold", resources={"QPU": 2})
        assert await asyncio.to_thread(started.wait, 60)
        ws = c.scheduler.workers[c.worker.address]
        internals.offer_on_worker(c.worker, "QPU", 10.0)
        internals.offer_on_scheduler(c.scheduler, ws, "QPU", 10.0)
        assert c.worker.state.available_resources == {"QPU": 8.0, "GPU": 1}
        assert ws.used_resources == {"QPU": 2, "GPU": 0}
        go_on.set()
        await future
        del future
        assert c.worker.state.available_resources["QPU"] == 10.0
        assert ws.used_resources == {"QPU": 0, "GPU": 0}


def _hold(name):
    started, go_on = gates[name]
    started.set()
    return go_on.wait(60)


async def test_an_offer_and_a_start_free_a_task_that_found_no_worker():
    async with Cluster() as c:
        future = c.client.submit(pow, 2, 3, resources={"QPU": 1})
        async with asyncio.timeout(60):
            while not c.scheduler.unrunnable:  # noqa: ASYNC110 (no event tells)
                await asyncio.sleep(0.01)
        ws = c.scheduler.workers[c.worker.address]
        internals.offer_on_worker(c.worker, "QPU", 1.0)
        internals.offer_on_scheduler(c.scheduler, ws, "QPU", 1.0)
        internals.start_stuck_tasks(c.scheduler, ws)
        assert await future == 8


async def test_a_scheduler_is_found_on_its_own_loop_only_and_while_it_runs():
    async with Cluster() as c:
        assert list(internals.schedulers_on_this_loop()) == [c.scheduler]
        assert await asyncio.to_thread(lambda: list(internals.schedulers_on_this_loop())) == []
    assert list(internals.schedulers_on_this_loop()) == []


async def test_a_worker_that_ends_says_so():
    async with Cluster() as c:
        assert not internals.is_closing(c.worker)
        await c.worker.close()
        assert internals.is_closing(c.worker)
