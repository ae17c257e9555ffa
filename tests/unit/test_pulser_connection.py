"""QPUConnection under Pulser's own backends, over a client in memory."""

from __future__ import annotations

import dataclasses
import pickle
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pulser
import pytest
from pulser.backend import BitStrings, CorrelationMatrix
from pulser.backend.remote import (
    BatchStatus,
    JobStatus,
    RemoteConnection,
    RemoteResults,
    RemoteResultsError,
)

from qpu_executor.client import Result, Task
from qpu_executor.errors import BuilderError, DeviceMismatch, RequestRefused, TaskFailed
from qpu_executor.model.states import TaskState
from qpu_executor.pulser import QPUConnection
from qpu_executor.pulser.statuses import JOB_STATUS, batch_status, job_status
from qpu_executor.testing.scripted_client import AT

DEVICE = dataclasses.replace(pulser.AnalogDevice, name="fresnel", max_runs=500)


class FakeTask(Task):
    """A task that ends when somebody waits for it, as its name says."""

    def __init__(self, task_id: int, order: Any) -> None:
        self.order = order
        state = TaskState.HELD if order.held else TaskState.QUEUED
        self._info = SimpleNamespace(id=task_id, state=state, error=None, started_at=None)

    @property
    def id(self) -> int:
        return self._info.id

    @property
    def state(self) -> TaskState:
        return self._info.state

    @property
    def info(self) -> Any:
        return self._info

    def result(self, timeout: float | None = None) -> Result:
        if self.order.shots == 13:
            self._info.state, self._info.error = TaskState.FAILED, "laser off"
            raise TaskFailed("laser off")
        self._info.state = TaskState.COMPLETED
        return None  # type: ignore[return-value]


class FakeClient:
    """What the connection uses of a Client."""

    def __init__(self) -> None:
        self.made: list[FakeTask] = []
        self.closed: list[str] = []
        self.cancelled: list[int] = []
        self.sessions = 0

    def open_session(self, name: str, account: str | None = None) -> Any:
        self.sessions += 1
        return SimpleNamespace(id=f"s{self.sessions}")

    def session(self, session_id: str) -> Any:
        if session_id not in {f"s{n + 1}" for n in range(self.sessions)}:
            raise RequestRefused(f"no session {session_id}")
        return SimpleNamespace(id=session_id, closed_at=1 if session_id in self.closed else None)

    def close_session(self, session_id: str, tasks: str | None = None) -> None:
        assert tasks == "finish"  # whatever the site does with those of closed sessions
        self.closed.append(session_id)

    def qpus(self) -> list[Any]:
        return [
            SimpleNamespace(name="one", device="fresnel"),
            SimpleNamespace(name="classical", device="none"),
        ]

    def qpu(self, name: str) -> Any:
        return SimpleNamespace(pulser_device=DEVICE.to_abstract_repr() if name == "one" else None)

    def submit_each(self, orders: list[Any]) -> list[Any]:
        answers: list[Any] = []
        for order in orders:
            if order.shots == 400:
                answers.append(RequestRefused("too many shots"))
            else:
                self.made.append(FakeTask(len(self.made) + 1, order))
                answers.append(self.made[-1])
        return answers

    def tasks(self, *, ids: list[int] | None = None, session: str | None = None) -> list[FakeTask]:
        return [
            task
            for task in self.made
            if (ids is None or task.id in ids) and session in (None, task.order.session)
        ]

    def results(self, ids: list[int]) -> dict[int, Any]:
        def to_pulser(task: FakeTask) -> Any:
            counts = Counter({"01": task.order.shots})
            return pulser.backend.Results.from_final_bitstrings(("q0", "q1"), 100, counts)

        return {
            task.id: SimpleNamespace(to_pulser=lambda task=task: to_pulser(task))
            for task in self.tasks(ids=ids)
        }

    def cancel_tasks(self, ids: list[int]) -> list[FakeTask]:
        self.cancelled += ids
        for task in self.tasks(ids=ids):
            task._info.state = TaskState.CANCELLED
        return self.tasks(ids=ids)


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def connection(client: FakeClient) -> QPUConnection:
    connection = QPUConnection(qpu="one", job_class="development", priority=3)
    connection._client = client  # type: ignore[assignment]
    return connection


def sequence(device: Any = DEVICE, *, parametrised: bool = False) -> Any:
    register = pulser.Register.rectangle(1, 2, spacing=8, prefix="q")
    register = register.with_automatic_layout(device)
    made = pulser.Sequence(register, device)
    made.declare_channel("ising", "rydberg_global")
    duration = made.declare_variable("duration", dtype=int) if parametrised else 200
    made.add(pulser.Pulse.ConstantPulse(duration, 1.0, 0.0, 0.0), "ising")
    return made


def test_pulsers_qpu_backend_runs_jobs_and_gets_results(client, connection):
    backend = pulser.QPUBackend(sequence(), connection=connection)
    results = backend.run(job_params=[{"runs": 100}, {"runs": 50}], wait=True)
    assert [sum(found.final_bitstrings.values()) for found in results.results] == [100, 50]
    assert results.get_batch_status() is BatchStatus.DONE
    assert results.job_ids == ["1", "2"]
    order = client.made[0].order
    assert (order.qpu, order.job_class, order.priority) == ("one", "development", 3)
    assert '"measurement": "ground-rydberg"' in order.program.content
    assert client.closed == ["s1"]


def test_jobs_have_the_wishes_of_their_connection(client):
    require = {"emulated": False}
    connection = QPUConnection(device="fresnel", require=require, time_limit_s=60.0)
    connection._client = client  # type: ignore[assignment]
    assert set(connection.fetch_available_devices()) == {"one"}
    connection.submit(sequence(), job_params=[{"runs": 5}])
    order = client.made[0].order
    assert (order.device, order.require, order.time_limit_s) == ("fresnel", require, 60.0)
    assert order.qpu is None
    with pytest.raises(RequestRefused, match="did you mean 'device'"):
        QPUConnection(devise="fresnel")  # type: ignore[call-arg]


def test_results_are_rebuilt_from_the_batch_id_alone(client, connection):
    batch = pulser.QPUBackend(sequence(), connection).run([{"runs": 5}], wait=True).batch_id
    elsewhere = QPUConnection()
    elsewhere._client = client
    assert RemoteResults(batch, elsewhere).results[0].final_bitstrings == {"01": 5}
    with pytest.raises(RequestRefused, match="no session s9"):
        RemoteResults("s9", elsewhere).get_batch_status()


def test_a_failed_job_hides_no_other_and_says_why(connection):
    jobs = [{"runs": 5}, {"runs": 13}, {"runs": 7}]
    results = pulser.QPUBackend(sequence(), connection).run(jobs, wait=True)
    assert results.get_batch_status() is BatchStatus.ERROR
    available = results.get_available_results()
    assert {job: sum(r.final_bitstrings.values()) for job, r in available.items()} == {
        "1": 5,
        "3": 7,
    }
    with pytest.raises(RemoteResultsError) as caught:
        _ = results.results
    assert "job 2 is ERROR (laser off)" in str(caught.value.__cause__)


def test_a_refused_job_takes_its_neighbours_back(client, connection):
    with pytest.raises(RequestRefused, match="too many shots"):
        pulser.QPUBackend(sequence(), connection).run([{"runs": 5}, {"runs": 400}])
    assert client.cancelled == [1]


def test_variables_are_built_per_job(client, connection):
    backend = pulser.QPUBackend(sequence(parametrised=True), connection)
    jobs = [{"runs": 5, "variables": {"duration": d}} for d in (100, 300)]
    backend.run(job_params=jobs)
    first, second = (task.order.program for task in client.made)
    assert first.hash != second.hash
    assert '"variables": {}' in first.content


def test_an_open_batch_collects_jobs_and_closes(client, connection):
    backend = pulser.QPUBackend(sequence(), connection)
    with backend.open_batch():
        first = backend.run(job_params=[{"runs": 5}])
        second = backend.run(job_params=[{"runs": 6}])
        assert client.closed == []
    assert first.batch_id == second.batch_id == "s1"
    assert (first.job_ids, second.job_ids) == (["1"], ["2"])
    assert client.closed == ["s1"]
    assert RemoteResults("s1", connection).job_ids == ["1", "2"]
    assert first.get_batch_status() is BatchStatus.PENDING


def test_a_device_that_the_manager_does_not_have_is_refused(connection):
    backend = pulser.QPUBackend(sequence(pulser.AnalogDevice), connection)
    with pytest.raises(ValueError, match="does not match any"):
        backend.run(job_params=[{"runs": 1}])


def test_nothing_to_run_is_refused(connection):
    with pytest.raises(RequestRefused, match="nothing to run"):
        connection.submit(sequence())
    with pytest.raises(RequestRefused, match=r"job_params\[1\]"):
        connection.submit(sequence(), job_params=[{"runs": 1}, {}])


def test_a_typing_error_in_a_jobs_parameters_is_refused_by_name(client, connection):
    with pytest.raises(RequestRefused, match=r"job_params\[0\]: .*'run'.*did you mean 'runs'"):
        connection.submit(sequence(), job_params=[{"run": 1}])
    with pytest.raises(RequestRefused, match=r"no variables, and the job gives duration"):
        connection.submit(sequence(), job_params=[{"runs": 1, "variables": {"duration": 100}}])
    with pytest.raises(RequestRefused, match="no option 'jobs'"):
        connection.submit(sequence(), jobs=[{"runs": 1}])
    assert client.sessions == 0, "nothing was opened for what can't be sent"


def test_variables_that_do_not_build_name_the_job(client, connection):
    jobs = [{"runs": 1, "variables": {"duration": 100}}, {"runs": 1, "variables": {"time": 3}}]
    with pytest.raises(BuilderError, match=r"job_params\[1\].variables: .*can't be built"):
        connection.submit(sequence(parametrised=True), job_params=jobs)
    assert client.made == []


def test_a_batch_whose_jobs_were_refused_is_closed_and_over(client, connection):
    with pytest.raises(RequestRefused):
        connection.submit(sequence(), job_params=[{"runs": 400}])
    assert client.closed == ["s1"]
    assert RemoteResults("s1", connection).get_batch_status() is BatchStatus.CANCELED


def test_some_jobs_of_a_batch_are_cancelled_and_strangers_are_refused(client, connection):
    results = connection.submit(sequence(), job_params=[{"runs": 1}, {"runs": 2}, {"runs": 3}])
    assert connection.cancel_jobs(results.batch_id, ["1", "3"]) == {
        "1": JobStatus.CANCELED,
        "3": JobStatus.CANCELED,
    }
    assert connection.get_job_statuses(results.batch_id)["2"] is JobStatus.PENDING
    with pytest.raises(RequestRefused, match=r"no job 7 in this batch.*some of 1, 2, 3"):
        connection.cancel_jobs(results.batch_id, ["2", "7"])
    assert client.cancelled == [1, 3]
    assert connection.cancel_jobs(results.batch_id, []) == {}


def test_a_device_that_has_changed_is_refused_with_what_differs(connection):
    older = dataclasses.replace(DEVICE, min_atom_distance=4, max_atom_num=20)
    close = pulser.Register.rectangle(1, 2, spacing=4.5, prefix="q").with_automatic_layout(older)
    made = pulser.Sequence(close, older)
    made.declare_channel("ising", "rydberg_global")
    made.add(pulser.Pulse.ConstantPulse(200, 1.0, 0.0, 0.0), "ising")
    with pytest.raises(DeviceMismatch) as caught:
        pulser.QPUBackend(made, connection).run([{"runs": 1}])
    said = str(caught.value)
    assert said.startswith("QPU one: fresnel isn't what it was when the sequence was built")
    assert "min_atom_distance: 4 here, 5 there" in said
    assert "max_atom_num: 20 here, 80 there" in said
    assert "fetch_available_devices()" in said
    assert isinstance(caught.value, ValueError)
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), DeviceMismatch)


def test_a_device_that_changed_where_it_does_not_matter_is_taken(client, connection):
    older = dataclasses.replace(DEVICE, max_atom_num=20)
    pulser.QPUBackend(sequence(older), connection).run([{"runs": 1}])
    assert '"max_atom_num": 80' in client.made[0].order.program.content


def test_a_connection_pickles_and_finds_the_same_manager_again():
    connection = QPUConnection("unix:///run/q.sock", qpu="one", time_limit_s=5.0)
    again = pickle.loads(pickle.dumps(RemoteResults("s1", connection)))
    found = again._connection
    assert (again.batch_id, found._manager, found._qpu) == ("s1", "unix:///run/q.sock", "one")
    assert found._wishes == {"time_limit_s": 5.0}
    assert (found._client, found._lock.locked()) == (None, False)


def bitstrings(**options: Any) -> Any:
    return pulser.backend.EmulationConfig(observables=[BitStrings(num_shots=7)], **options)


def test_final_bitstrings_of_an_emulation_are_shots_on_an_emulator(client, connection):
    asked = {"backend_configuration": bitstrings(num_gpus_to_use=1), "device_type": "EMU_MPS"}
    connection.submit(sequence(), job_params=[{}, {"runs": 9}], **asked)
    orders = [task.order for task in client.made]
    assert [order.shots for order in orders] == [7, 9]
    assert [order.require for order in orders] == [{"emulated": True}] * 2


def test_a_default_number_of_shots_is_that_of_each_job_that_names_none(client, connection):
    config = pulser.backend.EmulationConfig(observables=[BitStrings()], default_num_shots=11)
    connection.submit(sequence(), job_params=[{}], backend_configuration=config)
    plain = pulser.backend.BackendConfig(default_num_shots=12)
    connection.submit(sequence(), job_params=[{}], backend_configuration=plain)
    pulser.QPUBackend(sequence(), connection, config=plain).run()
    assert [task.order.shots for task in client.made] == [11, 12, 12]


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (pulser.backend.EmulationConfig(observables=[CorrelationMatrix()]), "observables"),
        (bitstrings(default_evaluation_times=[0.5, 1.0]), "observables"),
        (bitstrings(noise_model=pulser.NoiseModel(p_false_pos=0.1)), "noise_model"),
        (bitstrings(prefer_device_noise_model=True), "prefer_device_noise_model"),
        (bitstrings(with_modulation=True), "with_modulation"),
        (bitstrings(n_trajectories=5), "n_trajectories"),
        (bitstrings(interaction_matrix=[[0.0, 1.0], [1.0, 0.0]]), "interaction_matrix"),
        (bitstrings(precision=1e-3), "precision"),
        ("fast", "backend_configuration"),
    ],
)
def test_what_would_change_the_physics_is_refused_by_name(client, connection, config, named):
    with pytest.raises(RequestRefused, match=f"can't keep '{named}'.*local backend"):
        connection.submit(sequence(), job_params=[{}], backend_configuration=config)
    assert client.sessions == 0


def test_a_qpu_is_not_chosen_by_its_type(connection):
    with pytest.raises(RequestRefused, match=r"'FRESNEL'.*QPUConnection\(qpu=...\)"):
        connection.submit(sequence(), job_params=[{"runs": 1}], device_type="FRESNEL")


def test_nothing_that_pulser_declares_is_left_unimplemented():
    """A connection has every method of Pulser's base: a later Pulser's new ones fail this."""
    kept = {"_add_measurement_to_sequence"}
    declared = {
        name
        for name, value in vars(RemoteConnection).items()
        if callable(getattr(RemoteConnection, name)) and not name.startswith("__")
        if not isinstance(value, property)
    }
    assert declared - set(vars(QPUConnection)) == kept


def task_in(state: str) -> Any:
    """A task by its state; `GAVE_WAY` is queued again, `LATE` failed as its time was over."""
    error = {"LATE": "TimeLimit: 5 s are over", "ENDED": "SessionEnding: it ended"}.get(state)
    name = {"GAVE_WAY": "QUEUED", "LATE": "FAILED", "ENDED": "FAILED"}.get(state, state)
    begun = None if state in ("QUEUED", "HELD") else AT
    return SimpleNamespace(state=TaskState(name), started_at=begun, error=error)


def test_every_state_has_its_status_in_pulsers_words():
    assert set(JOB_STATUS) == set(TaskState)
    assert set(JOB_STATUS.values()) == set(JobStatus)
    assert job_status(task_in("HELD")) is JobStatus.PAUSED
    assert job_status(task_in("GAVE_WAY")) is JobStatus.PAUSED
    assert job_status(task_in("QUEUED")) is JobStatus.PENDING


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ("", BatchStatus.PENDING),
        ("QUEUED HELD", BatchStatus.PENDING),
        ("QUEUED QUEUED", BatchStatus.PENDING),
        ("HELD HELD COMPLETED", BatchStatus.PAUSED),
        ("GAVE_WAY HELD", BatchStatus.PAUSED),
        ("GAVE_WAY QUEUED", BatchStatus.RUNNING),
        ("QUEUED RUNNING", BatchStatus.RUNNING),
        ("QUEUED COMPLETED", BatchStatus.RUNNING),
        ("COMPLETED COMPLETED", BatchStatus.DONE),
        ("COMPLETED CANCELLED", BatchStatus.CANCELED),
        ("FAILED CANCELLED COMPLETED", BatchStatus.ERROR),
        ("LATE COMPLETED", BatchStatus.TIMED_OUT),
        ("LATE ENDED", BatchStatus.TIMED_OUT),
        ("LATE FAILED", BatchStatus.ERROR),
    ],
)
def test_a_batch_is_as_its_tasks_are(states, status):
    assert batch_status([task_in(name) for name in states.split()]) is status
