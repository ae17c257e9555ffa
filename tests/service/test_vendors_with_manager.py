"""The same client and the same manager, with vendors' services as QPUs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qpu_executor.client import Client
from qpu_executor.errors import ProgramRefused
from qpu_executor.model.states import ChunkState, QpuState
from qpu_executor.programs.program import Program
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.programs.vendor_programs import QISKIT
from qpu_executor.testing.sequences import small_sequence
from qpu_executor.testing.vendor_stand_in.process import StandInProcess

SITE = """
manager: {{listen: {listen}, store: store.sqlite, health_every_s: 0.2}}
default_class: development
job_classes:
  development: {{priority: 100, chunk_s: 0.5}}
qpus:
  cloud:
    kind: pasqal-cloud
    device_type: FRESNEL
    project_id: project
    token_file: '@token'
    core_url: '@url/core-fast'
    shot_rate_hz: 200
    poll_s: [0.02, 0.2]
    health_every_s: 0
    retry_credentials_s: 0.5
  cloud-by-qrmi:
    kind: qrmi
    resource: FRESNEL
    type: pasqal-cloud
    environment: {{QRMI_PASQAL_CLOUD_PROJECT_ID: project, QRMI_PASQAL_CLOUD_BASE_URL: '@url'}}
    secret_files: {{QRMI_PASQAL_CLOUD_AUTH_TOKEN: '@token'}}
    shot_rate_hz: 200
    poll_s: [0.02, 0.2]
  ibm:
    kind: qrmi
    resource: ibm_stand_in
    type: ibm-quantum-compute-service
    environment:
      QRMI_IBM_QCS_ENDPOINT: '@url/api/v1'
      QRMI_IBM_QCS_IAM_ENDPOINT: '@url'
      QRMI_IBM_QCS_IAM_APIKEY: key
      QRMI_IBM_QCS_SERVICE_CRN: crn
    shot_rate_hz: 200
    poll_s: [0.02, 0.2]
"""


SHOT_S = 0.005


@pytest.fixture
def vendors(tmp_path: Path) -> Iterator[StandInProcess]:
    with StandInProcess(tmp_path, shot_s=SHOT_S) as process:
        yield process


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text("stand-in-token\n", "utf-8")
    return path


@pytest.fixture
def manager(make_manager, vendors, token_file):
    site = SITE.replace("@url", vendors.url).replace("@token", str(token_file))
    made = make_manager(site=site)
    made.start()
    return made


@pytest.fixture(scope="module")
def program() -> Program:
    return to_program(small_sequence())


def sampler(**parameters: object) -> Program:
    pubs = {"pubs": [["OPENQASM 3.0; bit[2] c; c = measure $0;"]], **parameters}
    return Program(QISKIT, json.dumps({"program_id": "sampler", "parameters": pubs}))


def refuse_what_gives_no_counts(client: Client) -> None:
    """At once, and before anything is sent."""
    estimator = Program(QISKIT, json.dumps({"program_id": "estimator", "parameters": {}}))
    with pytest.raises(ProgramRefused, match="gives no counts"):
        client.submit(estimator, 100, qpu="ibm")
    with pytest.raises(ProgramRefused, match="itself asks for 10 shots, the task for 100"):
        client.submit(sampler(options={"default_shots": 10}), 100, qpu="ibm")
    with pytest.raises(ProgramRefused, match="doesn't run programs of kind"):
        client.submit(sampler(), 100, qpu="cloud")


def test_one_client_runs_on_each_of_them_in_chunks(manager, vendors, program):
    with manager.connect() as client:
        refuse_what_gives_no_counts(client)
        tasks = {
            "cloud": client.submit(program, 250, qpu="cloud"),
            "cloud-by-qrmi": client.submit(program, 150, qpu="cloud-by-qrmi"),
            "ibm": client.submit(json.loads(sampler().content), 150, qpu="ibm"),
        }
        results = {qpu: task.result(timeout=120) for qpu, task in tasks.items()}
    assert {qpu: sum(one.counts.values()) for qpu, one in results.items()} == {
        "cloud": 250,
        "cloud-by-qrmi": 150,
        "ibm": 150,
    }
    assert {qpu: one.epochs for qpu, one in results.items()} == dict.fromkeys(tasks, (None,))
    for qpu, least in (("cloud", 3), ("ibm", 2)):
        chunks = results[qpu].chunks
        # As told; those after it are as long as was measured, which a busy host makes shorter.
        assert chunks[0].shots_counted == 100
        assert len(chunks) >= least
    assert sum(run["shots"] for run in vendors.executions()) == 550


def test_a_manager_that_is_killed_finds_its_jobs_again_and_runs_nothing_twice(
    manager, vendors, program
):
    with manager.connect() as client:
        # A chunk each: none is being sent when the manager dies, which QRMI couldn't look for.
        tasks = [client.submit(program, 100, qpu=qpu) for qpu in ("cloud", "cloud-by-qrmi")]
        for task in tasks:
            while not acknowledged(client, task.id):
                time.sleep(0.02)
        while len(vendors.executions()) < 2:
            time.sleep(0.02)  # the machine takes one job after the other
        manager.kill()
    manager.start()
    with manager.connect() as client:
        assert [client.task(task.id).result(timeout=120).shots for task in tasks] == [100, 100]
    assert sum(run["shots"] for run in vendors.executions()) == 200


def acknowledged(client: Client, task_id: int) -> bool:
    """Whether the vendor has the task's chunk, and the manager knows it."""
    states = [chunk.state for chunk in client.task_detail(task_id).chunks]
    return states != [] and states != [ChunkState.SENT]


def test_an_expired_token_makes_tasks_wait_and_fails_none(manager, vendors, token_file, program):
    with manager.connect() as client:
        client.submit(program, 20, qpu="cloud").result(timeout=120)
        vendors.accept_token("renewed")
        while client.qpu("cloud").state is QpuState.UP:
            time.sleep(0.02)  # it is looked at every 0.2 s
        waiting = client.submit(program, 20, qpu="cloud")
        assert "renew the token" in (client.qpu("cloud").status_reason or "")
        token_file.write_text("renewed\n", "utf-8")
        assert waiting.result(timeout=120).shots == 20
