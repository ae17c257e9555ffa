"""Quantum tasks on real Dask workers, through a real embedded manager and its emulator.

Tasks that must wait stand before a QPU that the test has drained; nothing waits for time
to pass.
"""

import asyncio
import os
import pickle
import signal
import time

import pytest
from distributed import Client, LocalCluster

from qpu_executor.client import Result, connect
from qpu_executor.dask import QPUPlugin, cancel, quantum_task
from qpu_executor.dask.owner import default_manager
from qpu_executor.errors import BuilderError, ProgramRefused, RequestRefused, TaskCancelled
from qpu_executor.model.states import TaskState

pytestmark = pytest.mark.timeout(600)

QPU = {"QPU": 1}
TIMEOUT_S = 150
"""A worker that starts, or starts again, imports a lot first."""
LIVE = (TaskState.HELD, TaskState.QUEUED, TaskState.RUNNING)


@pytest.fixture(scope="module")
def manager(tmp_path_factory):
    """A client of an embedded manager of this process."""
    with connect(directory=tmp_path_factory.mktemp("manager")) as client:
        yield client


@pytest.fixture(scope="module")
def client(manager):
    """A Dask client of two worker processes with one thread each."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        client.register_plugin(QPUPlugin(manager.url))
        yield client


@pytest.fixture
def closed(manager):
    """The QPU takes nothing, until the test calls this, or ends."""
    manager.drain("emulator", "a test")
    yield lambda: manager.resume("emulator")
    live = [task.id for task in manager.tasks(states=LIVE)]
    if live:
        manager.cancel_tasks(live)
    manager.resume("emulator")


def builder():
    """A function that worker processes get by value: they can't import this module."""

    def row(atoms, duration_ns=400, layout=True):
        import pulser

        register = pulser.Register.rectangle(1, atoms, spacing=6, prefix="q")
        if layout:
            register = register.with_automatic_layout(pulser.AnalogDevice)
        sequence = pulser.Sequence(register, pulser.AnalogDevice)
        sequence.declare_channel("global", "rydberg_global")
        sequence.add(pulser.Pulse.ConstantPulse(duration_ns, 5, 0, 0), "global")
        return sequence

    return row


def until(condition):
    """Wait for a condition on the manager or on Dask, which can only be asked."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def named(manager, name):
    """The manager's tasks of this name."""
    return [task for task in manager.tasks() if task.info.name.startswith(name)]


def test_a_hybrid_graph_gives_the_same_counts_for_the_same_seed(client):
    sweep = quantum_task(builder(), shots=30, seed=4)
    atoms = client.submit(min, 2, 5)
    first = client.submit(sweep, atoms, resources=QPU)
    second = client.submit(sweep, atoms, resources=QPU)
    excited = client.submit(lambda result: sum(result.counts.values()), first)
    assert excited.result(TIMEOUT_S) == 30
    one, other = client.gather([first, second])
    assert isinstance(one, Result)
    assert one.counts == other.counts
    assert one.task_id != other.task_id
    assert one.emulated
    assert pickle.loads(pickle.dumps(one)) == one


def test_unknown_names_are_errors_before_anything_is_submitted(client):
    with pytest.raises(RequestRefused, match=r"no QPU 'fresnl'.*emulator"):
        quantum_task(builder(), shots=1, qpu="fresnl")
    with pytest.raises(RequestRefused, match=r"no job class 'prod'.*production"):
        quantum_task(builder(), shots=1, job_class="prod")


def test_a_builder_that_raises_shows_the_users_traceback_and_none_of_ours(client):
    future = client.submit(quantum_task(builder(), shots=1), 2, 10**6, resources=QPU)
    with pytest.raises(BuilderError, match="maximum duration allowed by the device") as caught:
        future.result(TIMEOUT_S)
    assert "sequence.add(" in caught.value.traceback_text
    ours = [frame for frame in caught.traceback if "qpu_executor" in str(frame.path)]
    assert len(ours) <= 1


def test_what_the_device_refuses_is_the_error_of_the_future(client):
    sweep = quantum_task(builder(), shots=1)
    future = client.submit(sweep, 2, layout=False, resources=QPU)
    with pytest.raises(ProgramRefused) as caught:
        future.result(TIMEOUT_S)
    assert caught.value.rule


def test_a_hundred_tasks_wait_on_two_threads_while_classical_tasks_go_on(client, manager, closed):
    sweep = quantum_task(builder(), shots=1, name="crowd")
    futures = client.map(sweep, [2] * 100, resources=QPU, pure=False)
    until(lambda: len(named(manager, "crowd")) == 100)
    assert client.submit(pow, 2, 5, pure=False).result(TIMEOUT_S) == 32
    assert not any(future.done() for future in futures)
    closed()
    results = client.gather(futures)
    assert len({result.task_id for result in results}) == 100


def test_cancel_ends_the_task_at_the_manager(client, manager, closed):
    future = client.submit(quantum_task(builder(), shots=5, name="unwanted"), 2, resources=QPU)
    until(lambda: named(manager, "unwanted"))
    cancel(future)
    until(lambda: named(manager, "unwanted")[0].state is TaskState.CANCELLED)


def test_cancelled_at_the_manager_it_is_the_error_of_the_future(client, manager, closed):
    future = client.submit(quantum_task(builder(), shots=5, name="stopped"), 2, resources=QPU)
    until(lambda: named(manager, "stopped"))
    named(manager, "stopped")[0].cancel()
    with pytest.raises(TaskCancelled):
        future.result(TIMEOUT_S)


def test_a_killed_worker_costs_no_shot_its_tasks_are_adopted(client, manager, closed):
    sweep = quantum_task(builder(), shots=7, name="survivor")
    futures = client.map(sweep, [2, 3, 4, 2], resources=QPU, pure=False)
    until(lambda: len(named(manager, "survivor")) == 4)
    before = {task.id for task in named(manager, "survivor")}
    manager.hold_tasks(before)

    def processing(dask_scheduler):
        return {ws.pid: len(ws.long_running) for ws in dask_scheduler.workers.values()}

    until(lambda: sum(client.run_on_scheduler(processing).values()) == 4)
    pid, lost = max(client.run_on_scheduler(processing).items(), key=lambda item: item[1])
    assert lost
    os.kill(pid, signal.SIGKILL)

    def again():
        now = client.run_on_scheduler(processing)
        return pid not in now and sum(now.values()) == 4

    until(again)
    closed()
    manager.release_tasks(before)
    results = client.gather(futures)
    assert {result.task_id for result in results} == before
    assert {task.id for task in named(manager, "survivor")} == before
    assert all(sum(result.counts.values()) == 7 for result in results)
    assert all(task.info.shots_done == 7 for task in named(manager, "survivor"))


def test_killed_while_its_task_runs_the_task_is_adopted_too(client, manager):
    future = client.submit(
        quantum_task(builder(), shots=9, name="running"), 11, 2000, resources=QPU
    )
    until(lambda: named(manager, "running") and named(manager, "running")[0].state != "QUEUED")

    def pid_of_owner(dask_scheduler):
        ws = dask_scheduler.tasks[future_key].processing_on
        return None if ws is None else ws.pid

    future_key = future.key
    pid = client.run_on_scheduler(pid_of_owner)
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
    result = future.result(TIMEOUT_S)
    assert [task.id for task in named(manager, "running")] == [result.task_id]
    assert sum(result.counts.values()) == 9


def test_a_cancelled_key_that_is_submitted_again_at_once_runs_once(client, manager, closed):
    """As soon as Dask itself lets it; the manager may not have heard of the end by then.

    The second adopts nothing of the first, which ends, and takes its own shots only.
    """

    def known(dask_scheduler):
        return "again-key" in dask_scheduler.tasks

    task = quantum_task(builder(), shots=8, name="again")
    first = client.submit(task, 2, resources=QPU, key="again-key")
    until(lambda: named(manager, "again"))
    cancel(first)
    until(lambda: not client.run_on_scheduler(known))
    # Dask's word that the key is cancelled comes to the client in its stream, and would
    # cancel the second too. What comes behind it in that stream says that it has come.
    client.submit(int, key="behind the cancelling").result(TIMEOUT_S)
    second = client.submit(task, 2, resources=QPU, key="again-key")
    until(lambda: [one.state for one in named(manager, "again")][:1] == [TaskState.CANCELLED])
    closed()
    assert second.result(TIMEOUT_S).shots == 8
    ended = [(one.state, one.info.shots_done) for one in named(manager, "again")]
    assert ended.count((TaskState.COMPLETED, 8)) == 1
    assert set(ended) == {(TaskState.CANCELLED, 0), (TaskState.COMPLETED, 8)}


def test_a_restart_of_all_workers_ends_what_waits_and_new_tasks_run(client, manager, closed):
    future = client.submit(quantum_task(builder(), shots=5, name="dropped"), 2, resources=QPU)
    until(lambda: named(manager, "dropped"))
    client.restart(wait_for_workers=False)  # Dask at times loses one of them for good
    until(lambda: future.status == "cancelled")
    until(lambda: named(manager, "dropped")[0].state is TaskState.CANCELLED)
    closed()
    result = client.submit(quantum_task(builder(), shots=3), 2, resources=QPU).result(TIMEOUT_S)
    assert result.shots == 3


async def test_an_asynchronous_client_and_the_default_embedded_manager(monkeypatch, tmp_path):
    monkeypatch.delenv("QPU_MANAGER", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    try:
        async with (
            LocalCluster(
                n_workers=1,
                threads_per_worker=1,
                processes=False,
                dashboard_address=":0",
                asynchronous=True,
            ) as cluster,
            Client(cluster, asynchronous=True) as client,
        ):
            await client.register_plugin(await asyncio.to_thread(QPUPlugin))
            await client.register_plugin(QPUPlugin())
            future = client.submit(quantum_task(builder(), shots=3), 2, resources=QPU)
            assert (await future).shots == 3
            refused = client.submit(quantum_task(builder(), shots=3, qpu="fresnl"), 2)
            with pytest.raises(RequestRefused, match="fresnl"):
                await refused
    finally:
        await asyncio.to_thread(default_manager.close)
