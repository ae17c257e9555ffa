"""QPUConnection under Pulser's own backends, over a client in memory."""

from __future__ import annotations

import dataclasses
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pulser
import pytest
from pulser.backend.remote import BatchStatus, JobStatus, RemoteResults, RemoteResultsError

from qpu_executor.client import Result, Task
from qpu_executor.errors import RequestRefused, TaskFailed
from qpu_executor.model.states import TaskState
from qpu_executor.pulser import QPUConnection
from qpu_executor.pulser.statuses import JOB_STATUS, batch_status

DEVICE = dataclasses.replace(pulser.AnalogDevice, name="fresnel", max_runs=500)


class FakeTask(Task):
    """A task that ends when somebody waits for it, as its name says."""

    def __init__(self, task_id: int, order: Any) -> None:
        self.order = order
        state = TaskState.HELD if order.held else TaskState.QUEUED
        self._info = SimpleNamespace(id=task_id, state=state, error=None)

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
        return SimpleNamespace(id=session_id)

    def close_session(self, session_id: str) -> None:
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

    def cancel_tasks(self, ids: list[int]) -> None:
        self.cancelled += ids


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


def test_every_state_has_its_status_in_pulsers_words():
    assert set(JOB_STATUS) == set(TaskState)
    assert JOB_STATUS[TaskState.HELD] is JobStatus.PAUSED


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ("", BatchStatus.PENDING),
        ("QUEUED HELD", BatchStatus.PENDING),
        ("HELD HELD COMPLETED", BatchStatus.PAUSED),
        ("QUEUED RUNNING", BatchStatus.RUNNING),
        ("QUEUED COMPLETED", BatchStatus.RUNNING),
        ("COMPLETED COMPLETED", BatchStatus.DONE),
        ("COMPLETED CANCELLED", BatchStatus.CANCELED),
        ("FAILED CANCELLED COMPLETED", BatchStatus.ERROR),
    ],
)
def test_a_batch_is_as_its_tasks_are(states, status):
    assert batch_status([TaskState(name) for name in states.split()]) is status
