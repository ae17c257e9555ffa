"""Quantum tasks on an in-process Dask cluster, in front of a manager that the test plays."""

import asyncio
import pickle
import threading
from dataclasses import dataclass, field

import dask
import pytest
from distributed import Client, Scheduler, Worker

from qpu_executor.dask import QPUPlugin, cancel, orphans, quantum_task
from qpu_executor.dask.address import ManagerAddress, this_host
from qpu_executor.dask.scheduler_plugin import QPUSchedulerPlugin
from qpu_executor.errors import (
    BuilderError,
    ManagerUnreachable,
    RequestRefused,
    TaskFailed,
)
from qpu_executor.programs.program import Program

pytestmark = pytest.mark.timeout(180)

QPU = {"QPU": 1}
managers: dict[str, "PlayedManager"] = {}


@dataclass
class PlayedTask:
    """A task at the played manager; the test decides when and how it ends."""

    id: int
    order: object
    end: asyncio.Future

    @property
    def info(self):
        return self.order

    async def result(self):
        return await asyncio.shield(self.end)


@dataclass
class PlayedManager:
    """Keys adopt live and completed tasks, as the manager's law 5 says."""

    automatic: bool = True
    submitted: list = field(default_factory=list)
    adopted: list = field(default_factory=list)
    cancelled: list = field(default_factory=list)
    opened: int = 0
    unreachable: bool = False
    refuse: dict = field(default_factory=dict)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def submit_each(self, orders):
        answers = [self._submit(order) for order in orders]
        async with self.changed:
            self.changed.notify_all()
        return answers

    def _submit(self, order):
        if order.program.content in self.refuse:
            return self.refuse[order.program.content]
        for task in self.submitted:
            dead = task.end.done() and (task.end.cancelled() or task.end.exception())
            if task.order.key == order.key and not dead:
                self.adopted.append(task.id)
                return task
        task = PlayedTask(
            len(self.submitted) + 1, order, asyncio.get_running_loop().create_future()
        )
        self.submitted.append(task)
        if self.automatic:
            task.end.set_result((order.program.content, order.shots))
        return task

    async def tasks(self, *, states, session):
        return [task for task in self.submitted if not task.end.done()]

    async def cancel_tasks(self, ids):
        self.cancelled.extend(ids)
        for task in self.submitted:
            if task.id in ids and not task.end.done():
                task.end.set_exception(TaskFailed("cancelled"))
                task.end.exception()
        async with self.changed:
            self.changed.notify_all()

    async def until(self, condition):
        """Wait until `condition(self)` holds."""
        async with asyncio.timeout(60), self.changed:
            await self.changed.wait_for(lambda: condition(self))

    def finish_all(self):
        for task in self.submitted:
            if not task.end.done():
                task.end.set_result((task.order.program.content, task.order.shots))

    async def close(self):
        self.opened -= 1


class PlayedAddress(ManagerAddress):
    """Opens the played manager of this name."""

    async def open(self, wait_s=None):
        manager = managers[self.url]
        if manager.unreachable:
            raise ManagerUnreachable("nobody answers", where=self.url)
        manager.opened += 1
        return manager


def plugin(name="one"):
    return QPUSchedulerPlugin(PlayedAddress(name, this_host()))


@pytest.fixture(autouse=True)
def _workers_cancel_on_their_own(monkeypatch):
    """The scheduler's search for forgotten tasks would hide a worker that doesn't cancel."""
    monkeypatch.setattr(orphans, "GATHER_S", 3600)


class Cluster:
    """A scheduler, workers and an asynchronous client on the test's own loop."""

    def __init__(self, workers=1, nthreads=1, registered=True):
        self._count, self._nthreads, self._registered = workers, nthreads, registered

    async def __aenter__(self):
        managers.clear()
        self.manager = managers["one"] = PlayedManager()
        self.scheduler = await Scheduler(port=0, dashboard=False, validate=True)
        self.workers = [await self.new_worker() for _ in range(self._count)]
        self.client = await Client(self.scheduler.address, asynchronous=True)
        if self._registered:
            await self.client.register_plugin(plugin())
        return self

    async def new_worker(self):
        return await Worker(self.scheduler.address, nthreads=self._nthreads, validate=True)

    async def __aexit__(self, *_):
        self.manager.finish_all()
        await self.client.close()
        for worker in self.workers:
            await worker.close()
        await self.scheduler.close()
        managers.clear()

    async def settled(self, condition):
        """Wait for a condition on Dask's own state, which announces nothing."""
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110 (no event tells)
                await asyncio.sleep(0.01)


def build(value):
    return Program("test", str(value))


def build_many(count):
    return [Program("test", str(n)) for n in range(count)]


def broken(value):
    raise ZeroDivisionError(f"no {value}")


async def test_a_quantum_task_gives_its_result_to_the_future():
    async with Cluster() as c:
        future = c.client.submit(quantum_task(build, shots=300), 7, resources=QPU)
        assert await future == ("7", 300)
        order = c.manager.submitted[0].order
        assert (order.name, order.key_origin) == ("build", "engine")
        assert order.key.startswith("dask:")


async def test_500_tasks_wait_on_one_thread_and_classical_tasks_go_on():
    async with Cluster(nthreads=1) as c:
        c.manager.automatic = False
        futures = c.client.map(quantum_task(build, shots=1), range(500), resources=QPU)
        await c.manager.until(lambda m: len(m.submitted) == 500)
        assert await c.client.submit(pow, 2, 5) == 32
        c.manager.finish_all()
        assert await c.client.gather(futures) == [(str(n), 1) for n in range(500)]
        assert c.manager.opened == 1
        assert c.workers[0].state.available_resources["QPU"] == 1e9
        ws = c.scheduler.workers[c.workers[0].address]
        assert ws.used_resources["QPU"] == 0


async def test_without_the_resource_a_quantum_task_runs_as_well():
    async with Cluster() as c:
        assert await c.client.submit(quantum_task(build, shots=2), 1) == ("1", 2)


async def test_every_submission_is_a_task_of_its_own():
    async with Cluster() as c:
        task = quantum_task(build, shots=3)
        first = c.client.submit(task, 1, resources=QPU)
        second = c.client.submit(task, 1, resources=QPU)
        mapped = c.client.map(task, [1], resources=QPU) + c.client.map(task, [1], resources=QPU)
        await c.client.gather([first, second, *mapped])
        assert len(c.manager.submitted) == 4
        assert len({one.order.key for one in c.manager.submitted}) == 4


async def test_equal_values_in_one_map_need_pure_false():
    async with Cluster() as c:
        task = quantum_task(build, shots=3)
        await c.client.gather(c.client.map(task, [1, 1], resources=QPU))
        assert len(c.manager.submitted) == 1
        await c.client.gather(c.client.map(task, [1, 1], resources=QPU, pure=False))
        assert len(c.manager.submitted) == 3


async def test_with_cache_equal_submissions_are_one_task_and_options_count():
    async with Cluster() as c:
        same = [
            c.client.submit(quantum_task(build, shots=3, cache=True), 1, resources=QPU)
            for _ in range(2)
        ]
        other = c.client.submit(quantum_task(build, shots=4, cache=True), 1, resources=QPU)
        await c.client.gather([*same, other])
        assert sorted(task.order.shots for task in c.manager.submitted) == [3, 4]


async def test_delayed_and_annotate_and_dependencies_work():
    async with Cluster() as c:
        with dask.annotate(resources=QPU):
            a = dask.delayed(quantum_task(build, shots=5))(1)
        b = dask.delayed(lambda result: result[1] + 1)(a)
        assert await c.client.compute(b, optimize_graph=False) == 6
        x = c.client.submit(pow, 2, 3)
        assert await c.client.submit(quantum_task(build, shots=1), x, resources=QPU) == ("8", 1)


async def test_a_list_of_programs_gives_a_list_of_results():
    async with Cluster() as c:
        results = await c.client.submit(quantum_task(build_many, shots=1), 3, resources=QPU)
        assert results == [("0", 1), ("1", 1), ("2", 1)]
        names = [task.order.name for task in c.manager.submitted]
        assert names == ["build_many[0]", "build_many[1]", "build_many[2]"]
        keys = [task.order.key for task in c.manager.submitted]
        assert [key.rpartition("#")[2] for key in keys] == ["0", "1", "2"]


async def test_one_refused_program_of_a_list_cancels_the_others_and_is_raised():
    async with Cluster() as c:
        c.manager.automatic = False
        c.manager.refuse["1"] = RequestRefused("too many atoms")
        with pytest.raises(RequestRefused, match="too many atoms"):
            await c.client.submit(quantum_task(build_many, shots=1), 3, resources=QPU)
        assert c.manager.cancelled == [1, 2]


async def test_a_builder_that_raises_shows_the_users_traceback_and_names_the_task():
    async with Cluster() as c:
        future = c.client.submit(quantum_task(broken, shots=1), 4, resources=QPU)
        with pytest.raises(BuilderError, match="ZeroDivisionError: no 4") as caught:
            await future
        assert caught.value.where == f"task {future.key!r}"
        assert 'raise ZeroDivisionError(f"no {value}")' in caught.value.traceback_text
        assert "build_programs" not in caught.value.traceback_text


async def test_a_builder_that_returns_something_else_is_a_builder_error():
    async with Cluster() as c:
        with pytest.raises(BuilderError, match="empty list"):
            await c.client.submit(quantum_task(build_many, shots=1), 0, resources=QPU)
        with pytest.raises(BuilderError) as caught:
            await c.client.submit(quantum_task(abs, shots=1), 3, resources=QPU)
        assert "task 'abs-" in str(caught.value)


async def test_retries_submit_again_under_the_same_key():
    async with Cluster() as c:
        c.manager.automatic = False
        future = c.client.submit(quantum_task(build, shots=1), 1, resources=QPU, retries=1)
        await c.manager.until(lambda m: len(m.submitted) == 1)
        c.manager.submitted[0].end.set_exception(TaskFailed("laser"))
        await c.manager.until(lambda m: len(m.submitted) == 2)
        c.manager.finish_all()
        assert await future == ("1", 1)
        assert c.manager.submitted[0].order.key == c.manager.submitted[1].order.key


async def test_cancel_reaches_the_manager_and_frees_the_worker():
    async with Cluster() as c:
        c.manager.automatic = False
        future = c.client.submit(quantum_task(build, shots=1), 1, resources=QPU)
        await c.manager.until(lambda m: len(m.submitted) == 1)
        await cancel(future)
        await c.manager.until(lambda m: m.cancelled == [1])
        await c.settled(lambda: not c.workers[0].state.tasks)
        assert c.workers[0].state.available_resources["QPU"] == 1e9


async def test_forgetting_the_future_cancels_at_the_manager():
    async with Cluster() as c:
        c.manager.automatic = False
        future = c.client.submit(quantum_task(build, shots=1), 1, resources=QPU)
        await c.manager.until(lambda m: len(m.submitted) == 1)
        del future
        await c.manager.until(lambda m: m.cancelled == [1])


async def test_cancelled_while_it_builds_it_is_never_submitted():
    async with Cluster() as c:
        started, go_on = threading.Event(), threading.Event()
        gates["one"] = (started, go_on)
        future = c.client.submit(quantum_task(slow, shots=1), "one", resources=QPU)
        assert await asyncio.to_thread(started.wait, 60)
        key = future.key
        await cancel(future)
        await c.settled(lambda: c.workers[0].state.tasks[key].state == "cancelled")
        go_on.set()
        await c.settled(lambda: not c.workers[0].state.tasks)
        assert c.manager.submitted == []


def slow(name):
    started, go_on = gates[name]
    started.set()
    assert go_on.wait(60)
    return Program("test", name)


@pytest.mark.parametrize("after", ["scheduler", "manager"])
async def test_a_key_submitted_again_after_its_cancellation_gives_its_result(after):
    async with Cluster() as c:
        c.manager.automatic = False
        task = quantum_task(build, shots=1)
        first = c.client.submit(task, 1, resources=QPU, key="mine")
        await c.manager.until(lambda m: len(m.submitted) == 1)
        await cancel(first)
        await c.settled(lambda: "mine" not in c.scheduler.tasks)
        if after == "manager":
            await c.manager.until(lambda m: m.cancelled == [1])
        c.manager.automatic = True
        second = c.client.submit(task, 1, resources=QPU, key="mine")
        assert await second == ("1", 1)
        assert c.manager.cancelled == [1]
        assert c.manager.submitted[0].order.key != c.manager.submitted[1].order.key


async def test_a_worker_that_closes_cancels_nothing_and_the_next_one_adopts():
    async with Cluster(workers=2) as c:
        c.manager.automatic = False
        futures = c.client.map(quantum_task(build, shots=1), range(6), resources=QPU)
        await c.manager.until(lambda m: len(m.submitted) == 6)
        moved = len(c.scheduler.workers[c.workers[0].address].processing)
        assert moved
        await c.workers[0].close()
        await c.manager.until(lambda m: len(m.adopted) == moved)
        c.manager.finish_all()
        assert await c.client.gather(futures) == [(str(n), 1) for n in range(6)]
        assert (len(c.manager.submitted), c.manager.cancelled) == (6, [])


async def test_forgotten_while_no_worker_has_it_the_scheduler_cancels_it(monkeypatch):
    monkeypatch.setattr(orphans, "GATHER_S", 0)
    async with Cluster() as c:
        c.manager.automatic = False
        other = c.client.submit(quantum_task(build, shots=1), 1, resources=QPU)
        future = c.client.submit(quantum_task(build_many, shots=1), 2, resources=QPU)
        await c.manager.until(lambda m: len(m.submitted) == 3)
        await c.workers[0].close()
        await c.settled(lambda: len(c.scheduler.unrunnable) == 2)
        await cancel(future)
        await c.manager.until(lambda m: len(m.cancelled) == 2)
        kept = [task for task in c.manager.submitted if not task.end.done()]
        assert [task.order.name for task in kept] == ["build"]
        assert other.status == "pending"


async def test_a_scheduler_that_closes_cancels_what_waits_at_the_manager():
    async with Cluster() as c:
        c.manager.automatic = False
        ended = c.client.submit(quantum_task(build, shots=1), 1, resources=QPU)
        await c.manager.until(lambda m: len(m.submitted) == 1)
        c.manager.finish_all()
        await ended
        waits = c.client.submit(quantum_task(build, shots=1), 2, resources=QPU)
        await c.manager.until(lambda m: len(m.submitted) == 2)
        assert waits.status == "pending"
        await c.scheduler.close()
        assert c.manager.cancelled == [2]


async def test_a_result_lost_with_its_worker_is_adopted_and_not_measured_again():
    async with Cluster(workers=2) as c:
        future = c.client.submit(quantum_task(build, shots=1), 1, resources=QPU)
        await future
        (holder,) = (await c.client.who_has(future))[future.key]
        await next(w for w in c.workers if w.address == holder).close()
        assert await future == ("1", 1)
        assert len(c.manager.submitted) == 1


async def test_tasks_that_waited_for_the_plugin_start_when_it_is_registered():
    async with Cluster(registered=False) as c:
        future = c.client.submit(pow, 2, 3, resources=QPU)
        await c.settled(lambda: bool(c.scheduler.unrunnable))
        await c.client.register_plugin(plugin())
        assert await future == 8


async def test_workers_that_join_later_and_none_at_first_are_served():
    async with Cluster(workers=0) as c:
        future = c.client.submit(quantum_task(build, shots=1), 1, resources=QPU)
        await c.settled(lambda: bool(c.scheduler.unrunnable))
        c.workers.append(await c.new_worker())
        assert await future == ("1", 1)


async def test_registered_again_while_tasks_wait_nothing_is_lost_or_miscounted():
    async with Cluster() as c:
        c.manager.automatic = False
        managers["two"] = PlayedManager()
        first = c.client.submit(quantum_task(build, shots=1), 1, resources=QPU)
        await c.manager.until(lambda m: len(m.submitted) == 1)
        await c.client.register_plugin(plugin())
        await c.client.register_plugin(plugin("two"))
        ws = c.scheduler.workers[c.workers[0].address]
        assert ws.used_resources["QPU"] == 1
        second = c.client.submit(quantum_task(build, shots=1), 2, resources=QPU)
        assert await second == ("2", 1)
        assert len(managers["two"].submitted) == 1
        assert c.manager.opened == 1, "a task still waits on the first manager's connection"
        c.manager.finish_all()
        assert await first == ("1", 1)
        await c.settled(lambda: ws.used_resources["QPU"] == 0)
        assert c.workers[0].state.available_resources["QPU"] == 1e9
        assert c.manager.opened == 0


async def test_a_task_begun_before_the_plugin_was_replaced_can_still_be_cancelled():
    async with Cluster() as c:
        c.manager.automatic = False
        managers["two"] = PlayedManager()
        first = c.client.submit(quantum_task(build, shots=1), 1, resources=QPU)
        await c.manager.until(lambda m: len(m.submitted) == 1)
        await c.client.register_plugin(plugin("two"))
        await cancel(first)
        await c.manager.until(lambda m: m.cancelled == [1])


async def test_an_unreachable_manager_is_the_error_of_the_task_and_not_of_the_worker():
    async with Cluster() as c:
        c.manager.unreachable = True
        with pytest.raises(ManagerUnreachable):
            await c.client.submit(quantum_task(build, shots=1), 1, resources=QPU)
        assert await c.client.submit(pow, 2, 3) == 8
        c.manager.unreachable = False
        assert await c.client.submit(quantum_task(build, shots=1), 1, resources=QPU) == ("1", 1)


async def test_without_the_plugin_the_future_fails_and_names_what_to_do():
    async with Cluster(registered=False) as c:
        future = c.client.submit(quantum_task(build, shots=1), 1, resources=QPU)
        with pytest.raises(RuntimeError) as caught:
            await future
        assert isinstance(caught.value.__cause__, RequestRefused)
        assert "client.register_plugin(QPUPlugin())" in str(caught.value.__cause__)


async def test_a_function_may_await_several_quantum_tasks():
    async with Cluster() as c:
        inner = quantum_task(build, shots=1)

        async def both(x):
            return await inner(x), await inner(x + 1)

        assert await c.client.submit(both, 1, resources=QPU) == (("1", 1), ("2", 1))
        assert len({task.order.key for task in c.manager.submitted}) == 2


async def test_a_plugin_that_is_there_before_the_scheduler_starts_stays():
    managers["one"] = PlayedManager()
    scheduler = Scheduler(port=0, dashboard=False, validate=True)
    await scheduler.register_scheduler_plugin(plugin(), idempotent=False)
    async with (
        scheduler,
        Worker(scheduler.address, nthreads=1),
        Client(scheduler.address, asynchronous=True) as client,
    ):
        task = quantum_task(build, shots=1)
        assert await client.submit(task, 1, resources=QPU) == ("1", 1)


async def test_a_function_that_stops_waiting_cancels_at_the_manager():
    async with Cluster() as c:
        c.manager.automatic = False
        inner = quantum_task(build, shots=1)
        manager = c.manager

        async def impatient(x):
            waiting = asyncio.create_task(inner(x))
            await manager.until(lambda m: len(m.submitted) == 1)
            waiting.cancel()
            await asyncio.wait({waiting})
            return waiting.cancelled()

        gates["impatient"] = impatient
        assert await c.client.submit(through_gate, "impatient", 1)
        await c.manager.until(lambda m: m.cancelled == [1])


gates = {}


async def through_gate(name, *args):
    """What must not be pickled, the test's own manager for one, waits here."""
    return await gates[name](*args)


async def test_a_users_own_key_is_sent_as_such():
    async with Cluster() as c:
        await c.client.submit(quantum_task(build, shots=1, key="night-7"), 1, resources=QPU)
        order = c.manager.submitted[0].order
        assert (order.key, order.key_origin) == ("night-7", "user")


async def test_a_socket_of_another_host_is_refused_at_once_and_qpu_serve_is_named():
    elsewhere = ManagerAddress("unix:///run/qpu/manager.sock", "head 1234")
    with pytest.raises(ManagerUnreachable, match="qpu serve") as caught:
        await elsewhere.open()
    assert "host head" in str(caught.value)


def test_the_plugin_travels_as_the_schedulers_side_with_the_managers_address():
    sent = pickle.loads(pickle.dumps(QPUPlugin("http://127.0.0.1:8080", session="s1", wait_s=5)))
    assert type(sent) is QPUSchedulerPlugin
    assert sent.address == ManagerAddress("http://127.0.0.1:8080", this_host(), "s1", 5)
