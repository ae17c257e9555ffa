"""Quantum apps through a real embedded manager and its emulator."""

import pickle

import parsl
import psutil
import pulser
import pytest
from parsl.config import Config
from parsl.executors import ThreadPoolExecutor

from qpu_executor.client import connect
from qpu_executor.errors import ManagerUnreachable, ProgramRefused, RequestRefused, TaskCancelled
from qpu_executor.model.states import TaskState
from qpu_executor.parsl import QPUExecutor, cancel, quantum_app, retry_handler, task_id

TIMEOUT = 150


@pytest.fixture(scope="module")
def manager(tmp_path_factory):
    """A client of an embedded manager; the executors of this module use the same one."""
    with connect(directory=tmp_path_factory.mktemp("manager")) as client:
        yield client


@pytest.fixture
def loaded(manager, tmp_path):
    """Parsl with a QPUExecutor and a classical one."""
    config = Config(
        executors=[ThreadPoolExecutor(label="cpu"), QPUExecutor(manager=manager.url)],
        run_dir=str(tmp_path),
        initialize_logging=False,
        retries=2,
        retry_handler=retry_handler,
    )
    with parsl.load(config) as kernel:
        yield kernel


def pulse_on(atoms, duration_ns=400, spacing=6.0):
    """A constant pulse on a row of atoms."""
    register = pulser.Register.rectangle(1, atoms, spacing=spacing, prefix="q")
    register = register.with_automatic_layout(pulser.AnalogDevice)
    sequence = pulser.Sequence(register, pulser.AnalogDevice)
    sequence.declare_channel("global", "rydberg_global")
    sequence.add(pulser.Pulse.ConstantPulse(duration_ns, 5, 0, 0), "global")
    return sequence


row = quantum_app(shots=30, seed=4)(pulse_on)


@parsl.python_app(executors=["cpu"])
def excited(result):
    return sum(bits.count("1") * times for bits, times in result.counts.items())


def test_a_hybrid_workflow_gives_the_same_counts_for_the_same_seed(loaded):
    first, second = row(2), row(2)
    assert excited(first).result(TIMEOUT) == excited(second).result(TIMEOUT)
    result = first.result(TIMEOUT)
    assert sum(result.counts.values()) == 30
    assert result.emulated
    assert task_id(first) == result.task_id != task_id(second)
    assert pickle.loads(pickle.dumps(result)) == result


def test_a_scan_in_one_app_gives_one_result_per_program(loaded):
    @quantum_app(shots=10)
    def scan(durations):
        return [pulse_on(2, duration_ns=d) for d in durations]

    results = scan([200, 400, 600]).result(TIMEOUT)
    assert [r.shots for r in results] == [10, 10, 10]
    assert [r.name for r in results] == ["scan[0]", "scan[1]", "scan[2]"]


def test_what_the_device_refuses_is_an_error_with_the_rule_and_no_retry(loaded, manager):
    @quantum_app(shots=10)
    def no_layout():
        register = pulser.Register({"q0": (0, 0), "q1": (6, 0)})
        sequence = pulser.Sequence(register, pulser.AnalogDevice)
        sequence.declare_channel("global", "rydberg_global")
        sequence.add(pulser.Pulse.ConstantPulse(400, 5, 0, 0), "global")
        return sequence

    future = no_layout()
    with pytest.raises(ProgramRefused, match="layout"):
        future.result(TIMEOUT)
    assert future.task_record["try_id"] == 0


def test_what_the_site_does_not_know_is_refused_by_name(loaded):
    with pytest.raises(RequestRefused, match="nonsense"):
        row(2, parsl_resource_specification={"job_class": "nonsense"}).result(TIMEOUT)
    with pytest.raises(RequestRefused, match="no-such-qpu"):
        row(2, parsl_resource_specification={"qpu": "no-such-qpu"}).result(TIMEOUT)
    with pytest.raises(RequestRefused, match="shots"):
        row(2, parsl_resource_specification={"shots": 10**9}).result(TIMEOUT)


@pytest.fixture
def drained(manager):
    """The QPU takes nothing during the test: whatever is submitted waits."""
    manager.drain("emulator", "a test")
    yield
    manager.resume("emulator")


def test_cancel_ends_the_task_at_the_manager(loaded, manager, drained):
    long = row(12, 3000, parsl_resource_specification={"shots": 2000})
    assert cancel(long)
    with pytest.raises(TaskCancelled):
        long.result(TIMEOUT)
    if (number := task_id(long)) is not None:
        assert manager.task(number).refresh().state is TaskState.CANCELLED


def test_shutdown_leaves_nothing_running_at_the_manager(manager, drained, tmp_path):
    executor = QPUExecutor(manager=manager.url)
    config = Config(executors=[executor], run_dir=str(tmp_path), initialize_logging=False)
    with parsl.load(config):
        events = manager.events(after=manager.health().cursor)
        futures = [row(12, 3000 + 4 * i) for i in range(5)]
        key = f"parsl:{executor.run_id}:"
        while not any((t.info.key or "").startswith(key) for t in manager.tasks()):
            next(events)
    for future in futures:
        with pytest.raises(Exception, match=r"cancelled|shut down|isn't running"):
            future.result(TIMEOUT)
    ours = [t for t in manager.tasks() if (t.info.key or "").startswith(key)]
    assert ours
    for task in ours:
        with pytest.raises(TaskCancelled):
            task.result(TIMEOUT)


def test_nothing_configured_means_an_embedded_manager_in_the_runs_directory(tmp_path, monkeypatch):
    monkeypatch.delenv("QPU_MANAGER", raising=False)
    executor = QPUExecutor()
    config = Config(executors=[executor], run_dir=str(tmp_path), initialize_logging=False)
    with parsl.load(config) as kernel:
        assert row(2).result(TIMEOUT).shots == 30
        store = list((tmp_path / kernel.run_dir / "qpu").rglob("*"))
    assert store


def test_an_embedded_manager_that_is_killed_ends_the_tasks_with_a_clear_error(
    tmp_path, monkeypatch
):
    monkeypatch.delenv("QPU_MANAGER", raising=False)
    others = set(psutil.Process().children(recursive=True))
    config = Config(
        executors=[QPUExecutor()],
        run_dir=str(tmp_path),
        initialize_logging=False,
        retries=1,
        retry_handler=retry_handler,
    )
    with parsl.load(config):
        assert row(2).result(TIMEOUT).shots == 30
        futures = [row(14, 5000 + 4 * i, 5.5) for i in range(3)]  # none ends before the manager
        for process in set(psutil.Process().children()) - others:
            process.kill()
        for future in futures:
            with pytest.raises(ManagerUnreachable):
                future.result(TIMEOUT)
