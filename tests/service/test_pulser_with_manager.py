"""Pulser's own backends on a real manager: what a script of somebody's own would do."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pulser
import pytest
from pulser.backend.remote import (
    BatchStatus,
    JobStatus,
    RemoteBackend,
    RemoteResults,
    RemoteResultsError,
)

from qpu_executor.errors import DeviceMismatch, RequestRefused
from qpu_executor.model.states import TaskState
from qpu_executor.pulser import QPUConnection
from qpu_executor.testing.sequences import small_sequence

SITE = """
manager:
  listen: {listen}
  store: store.sqlite
  time_scale: 40
default_class: development
job_classes:
  production: {{priority: 300, chunk_s: 30}}
  development: {{priority: 100, chunk_s: 10, max_shots: 5000}}
qpus:
  emulator: {{kind: pulser-emulator, device: AnalogDevice, workers: 1}}
  virtual: {{kind: pulser-emulator, device: MockDevice, workers: 1}}
  rehearsal: {{kind: simulated-qpu, shot_rate_hz: 5, setup_s: 2, device: DigitalAnalogDevice}}
"""


@pytest.fixture(scope="module")
def manager(make_shared: Any) -> Any:
    return make_shared(site=SITE)


@pytest.fixture
def connection(manager: Any) -> Iterator[QPUConnection]:
    with QPUConnection(manager.url, qpu="emulator", wait_s=30) as connection:
        yield connection


@pytest.fixture
def slow(manager: Any) -> Iterator[QPUConnection]:
    """A connection to a QPU of 5 shots a second, on a clock that runs fast."""
    with QPUConnection(manager.url, qpu="rehearsal", wait_s=30) as connection:
        yield connection


def on_rehearsal(connection: QPUConnection) -> Any:
    return small_sequence(connection.fetch_available_devices()["rehearsal"], duration_ns=300)


def follow(connection: QPUConnection, job: str, *, until: Any) -> None:
    """Return once an event of the job is as `until` says, or its state is."""
    for event in connection.client.events(after=0):
        if event.task == int(job) and until(event):
            return


def running(connection: QPUConnection, job: str) -> None:
    follow(connection, job, until=lambda event: event.state is TaskState.RUNNING)


def test_a_script_for_a_qpu_runs_as_it_is(connection):
    device = connection.fetch_available_devices()["emulator"]
    assert device == pulser.AnalogDevice
    backend = pulser.QPUBackend(small_sequence(device), connection)
    results = backend.run(job_params=[{"runs": 60}, {"runs": 40}], wait=True)
    assert results.get_batch_status() is BatchStatus.DONE
    assert [sum(one.final_bitstrings.values()) for one in results.results] == [60, 40]
    assert results.results[0].atom_order == ("a", "b", "c")
    assert results.results[0].total_duration == 200
    with pytest.raises(ValueError, match="maximum allowed"):
        backend.run(job_params=[{"runs": 10**6}])


def test_bits_are_in_the_order_in_which_atoms_were_registered(connection):
    """A pi pulse excites c, which is alone; a and b block each other, so one of them at most."""
    atoms = {"c": (0.0, 20.0), "a": (0.0, 0.0), "b": (5.0, 0.0)}
    sequence = small_sequence(atoms=atoms, duration_ns=500, amplitude=6.28, detuning=0.0)
    (found,) = connection.submit(sequence, job_params=[{"runs": 300}], wait=True).results
    assert found.atom_order == ("c", "a", "b")
    excited = [
        sum(times for bits, times in found.final_bitstrings.items() if bits[i] == "1")
        for i in range(3)
    ]
    assert excited[0] > 280
    assert max(excited[1:]) < 200


def test_variables_and_a_mappable_register_are_built_per_job(connection):
    layout = pulser.AnalogDevice.pre_calibrated_layouts
    layout = layout[0] if layout else pulser.register.special_layouts.TriangularLatticeLayout(61, 5)
    sequence = pulser.Sequence(layout.make_mappable_register(3), pulser.AnalogDevice)
    sequence.declare_channel("ising", "rydberg_global")
    duration = sequence.declare_variable("duration", dtype=int)
    sequence.add(pulser.Pulse.ConstantPulse(duration, 5.0, 0.0, 0.0), "ising")
    jobs = [
        {"runs": 5, "variables": {"duration": 200, "qubits": {"q0": 1, "q1": 9}}},
        {"runs": 6, "variables": {"duration": 400, "qubits": {"q0": 1, "q1": 9, "q2": 30}}},
    ]
    first, second = pulser.QPUBackend(sequence, connection).run(jobs, wait=True).results
    assert (first.total_duration, second.total_duration) == (200, 400)
    assert (len(first.atom_order), len(second.atom_order)) == (2, 3)


def test_an_open_batch_takes_jobs_until_it_is_closed(connection):
    backend = pulser.QPUBackend(small_sequence(), connection)
    with backend.open_batch() as opened:
        batch = opened.backend._batch_id
        assert connection.get_results(batch).get_batch_status() is BatchStatus.PENDING
        first = backend.run([{"runs": 5}])
        second = backend.run([{"runs": 6}, {"runs": 7}], wait=True)
        added = connection.submit(small_sequence(duration_ns=400), batch_id=batch, wait=True,
                                  job_params=[{"runs": 8}])  # fmt: skip
    assert {first.batch_id, second.batch_id, added.batch_id} == {batch}
    everything = connection.get_results(batch)
    assert everything.job_ids == [*first.job_ids, *second.job_ids, *added.job_ids]
    assert [sum(one.final_bitstrings.values()) for one in everything.results] == [5, 6, 7, 8]
    assert everything.get_batch_status() is BatchStatus.DONE
    with pytest.raises(RequestRefused, match="is closed"):
        connection.submit(small_sequence(), batch_id=batch, job_params=[{"runs": 1}])
    assert len(connection.get_job_statuses(batch)) == 4
    connection.close_batch(batch)


def test_a_batch_that_is_not_open_takes_no_more_jobs(connection):
    done = connection.submit(small_sequence(), job_params=[{"runs": 5}])
    with pytest.raises(RequestRefused, match="is closed"):
        connection.submit(small_sequence(), batch_id=done.batch_id, job_params=[{"runs": 5}])


def test_results_are_read_in_another_process_by_the_batch_id(connection, manager):
    results = connection.submit(small_sequence(), job_params=[{"runs": 9}, {"runs": 8}], wait=True)
    program = (
        "import sys; from pulser.backend.remote import RemoteResults\n"
        "from qpu_executor.pulser import QPUConnection\n"
        "with QPUConnection(sys.argv[1]) as connection:\n"
        "    results = RemoteResults(sys.argv[2], connection)\n"
        "    print(results.get_batch_status().name, *results.job_ids)\n"
        "    print(*(sum(one.final_bitstrings.values()) for one in results.results))\n"
    )
    words = [sys.executable, "-c", program, manager.url, results.batch_id]
    told = subprocess.run(words, capture_output=True, text=True, timeout=100, check=True).stdout
    assert told.split() == ["DONE", *results.job_ids, "9", "8"]
    again = pickle.loads(pickle.dumps(RemoteResults(results.batch_id, connection)))
    try:
        assert again.results[1] == results.results[1]
    finally:
        again._connection.close()
    with pytest.raises(RequestRefused, match="no session 'unheard-of'"):
        connection.get_results("unheard-of").get_batch_status()


def test_a_job_that_runs_out_of_time_hides_no_other(manager, slow):
    """It starts, and then production keeps the QPU for longer than it has."""
    batch = slow.submit(on_rehearsal(slow), open=True).batch_id
    done = slow.submit(on_rehearsal(slow), batch_id=batch, job_params=[{"runs": 5}], wait=True)
    with (
        QPUConnection(manager.url, qpu="rehearsal", time_limit_s=900.0) as limited,
        QPUConnection(manager.url, qpu="rehearsal", job_class="production") as urgent,
    ):
        late = limited.submit(on_rehearsal(limited), batch_id=batch, job_params=[{"runs": 2500}])
        (job,) = late.job_ids
        running(slow, job)
        ahead = urgent.submit(on_rehearsal(urgent), job_params=[{"runs": 3000}])
        follow(slow, job, until=lambda event: event.state is TaskState.FAILED)
        urgent.cancel_batch(ahead.batch_id)
    results = slow.get_results(batch)
    assert results.get_batch_status() is BatchStatus.TIMED_OUT
    assert slow.get_job_statuses(batch) == {done.job_ids[0]: JobStatus.DONE, job: JobStatus.ERROR}
    with pytest.raises(RemoteResultsError) as caught:
        _ = results.results
    assert f"job {job} is ERROR (TimeLimit: 900 s" in str(caught.value.__cause__)
    assert list(results.get_available_results()) == done.job_ids


def test_some_jobs_are_cancelled_and_the_others_give_their_results(slow):
    jobs = [{"runs": 3000}, {"runs": 10}, {"runs": 4000}]
    results = slow.submit(on_rehearsal(slow), job_params=jobs)
    first, second, third = results.job_ids
    slow.cancel_jobs(results.batch_id, [third, first])
    slow.client.task(int(second)).result(timeout=100)
    for job in (first, third):
        follow(slow, job, until=lambda event: event.state is TaskState.CANCELLED)
    assert results.get_batch_status() is BatchStatus.CANCELED
    assert slow.get_job_statuses(results.batch_id) == {
        first: JobStatus.CANCELED,
        second: JobStatus.DONE,
        third: JobStatus.CANCELED,
    }
    assert list(results.get_available_results()) == [second]
    assert slow.cancel_jobs(results.batch_id, [second]) == {second: JobStatus.DONE}
    only = RemoteResults(results.batch_id, slow, job_ids=[second])
    assert sum(only.results[0].final_bitstrings.values()) == 10


def test_a_job_that_gave_way_is_paused_and_goes_on(manager, slow):
    long = slow.submit(on_rehearsal(slow), job_params=[{"runs": 3000}])
    (job,) = long.job_ids
    running(slow, job)
    with QPUConnection(manager.url, qpu="rehearsal", job_class="production") as urgent:
        first = urgent.submit(on_rehearsal(urgent), job_params=[{"runs": 3000}])
        running(urgent, first.job_ids[0])
        assert slow.get_job_statuses(long.batch_id) == {job: JobStatus.PAUSED}
        assert long.get_batch_status() is BatchStatus.PAUSED
        assert first.get_batch_status() is BatchStatus.RUNNING
        urgent.cancel_batch(first.batch_id)
    follow(slow, job, until=lambda event: event.state is TaskState.COMPLETED)
    assert long.get_batch_status() is BatchStatus.DONE
    assert sum(long.results[0].final_bitstrings.values()) == 3000


def test_a_held_job_is_paused_until_it_is_released(slow):
    slow.client.drain("rehearsal", "nothing starts before it is held")
    try:
        batch = slow.submit(on_rehearsal(slow), job_params=[{"runs": 500}, {"runs": 5}])
        first, second = batch.job_ids
        slow.client.hold_tasks([int(second)])
        assert slow.get_job_statuses(batch.batch_id)[second] is JobStatus.PAUSED
    finally:
        slow.client.resume("rehearsal")
    slow.cancel_jobs(batch.batch_id, [first])
    follow(slow, first, until=lambda event: event.state is TaskState.CANCELLED)
    assert batch.get_batch_status() is BatchStatus.PAUSED
    slow.client.release_tasks([int(second)])
    follow(slow, second, until=lambda event: event.state is TaskState.COMPLETED)
    assert list(batch.get_available_results()) == [second]


def test_a_device_that_the_site_has_changed_is_named_with_what_to_do(connection):
    device = connection.fetch_available_devices()["emulator"]
    last_month = dataclasses.replace(device, min_atom_distance=3)
    atoms = {"a": (0.0, 0.0), "b": (3.5, 0.0)}
    register = pulser.Register(atoms).with_automatic_layout(last_month)
    sequence = pulser.Sequence(register, last_month)
    sequence.declare_channel("ising", "rydberg_global")
    sequence.add(pulser.Pulse.ConstantPulse(200, 5.0, 0.0, 0.0), "ising")
    with pytest.raises(DeviceMismatch, match=r"min_atom_distance: 3 here, 5 there"):
        pulser.QPUBackend(sequence, connection).run([{"runs": 5}])
    elsewhere = small_sequence(dataclasses.replace(device, name="AnalogDevise"))
    with pytest.raises(DeviceMismatch, match="did you mean 'AnalogDevice'"):
        pulser.QPUBackend(elsewhere, connection).run([{"runs": 5}])


def test_a_virtual_device_runs_on_an_emulator_of_it_without_qpu_rules(manager):
    with QPUConnection(manager.url, device="MockDevice") as connection:
        assert connection.fetch_available_devices() == {}
        atoms = {"a": (0.0, 0.0), "b": (2.0, 0.0)}
        sequence = small_sequence(pulser.MockDevice, atoms=atoms, layout=False)
        results = RemoteBackend(sequence, connection).run([{"runs": 20}], wait=True)
        assert sum(results.results[0].final_bitstrings.values()) == 20


def test_remote_emulator_backends_of_pasqal_cloud_run_on_an_emulator(manager):
    backends = pytest.importorskip("pasqal_cloud.backends")
    shots = pulser.backend.BitStrings(num_shots=25)
    config = pulser.backend.EmulationConfig(observables=[shots])
    with QPUConnection(manager.url, device="AnalogDevice") as connection:
        for backend in (backends.RemoteSVBackend, backends.RemoteMPSBackend):
            made = backend(small_sequence(), connection, config=config, mimic_qpu=True)
            results = made.run([{"runs": 30}], wait=True)
            assert sum(results.results[0].final_bitstrings.values()) == 30
        unsaid = backends.RemoteSVBackend(small_sequence(), connection, config=config)
        (one,) = unsaid.run(wait=True).results
        assert sum(one.final_bitstrings.values()) == 25
        assert connection.client.task(int(unsaid.run().job_ids[0])).result(100).emulated
