"""Slurm's SPANK plugin for QRMI, unmodified, in a real Slurm, against a manager.

The plugin is a program in C that no package has: where QPU_EXECUTOR_SPANK_PLUGIN names a
compiled one, these tests run; else they can't, and `test_warden_clients.py` plays what it
does, with the same library.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.testing.munged import SystemMunged
from qpu_executor.testing.slurm_cluster import SlurmCluster

PLUGIN = os.environ.get("QPU_EXECUTOR_SPANK_PLUGIN", "")
pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not PLUGIN, reason="QPU_EXECUTOR_SPANK_PLUGIN names no compiled plugin"),
]

USER = "daemon"
SITE = """
manager:
  listen: {listen}
  store: store.sqlite
  authentication: [munge]
default_class: development
job_classes:
  production: {{priority: 300, chunk_s: 2}}
  development: {{priority: 100, chunk_s: 10}}
qpus:
  emulator: {{kind: pulser-emulator, device: AnalogDevice, workers: 1}}
"""
PROGRAM = """
import pulser
from qrmi.pulser import PulserQRMIConnection

connection = PulserQRMIConnection()
(device,) = connection.fetch_available_devices().values()
register = pulser.Register.square(2, spacing=6, prefix="q").with_automatic_layout(device)
sequence = pulser.Sequence(register, device)
sequence.declare_channel("global", "rydberg_global")
sequence.add(pulser.Pulse.ConstantPulse(400, 5.0, 1.0, 0.0), "global")
backend = pulser.QPUBackend(sequence, connection=connection)
remote = backend.run(job_params=[{"runs": 100}, {"runs": 50}], wait=True)
print([sum(one.final_bitstrings.values()) for one in remote.results])
"""


@pytest.fixture(scope="module")
def served(make_shared: Callable[..., Any], munged_installed: None) -> Iterator[Any]:
    daemon = SystemMunged()
    daemon.start()
    yield make_shared("http://127.0.0.1:0", SITE)
    daemon.close()


@pytest.fixture(scope="module")
def slurm(served: Any) -> Iterator[SlurmCluster]:
    cluster = SlurmCluster()
    resources = {
        "fresnel": f"{served.url}/warden/emulator",
        "production": f"{served.url}/warden/emulator:production",
        "away": "http://127.0.0.1:1/warden/emulator",
    }
    config = cluster.directory / "qrmi_config.json"
    of_plugin = [
        {"name": name, "type": "pasqal-local", "environment": {"QRMI_WARDEN_URL": url}}
        for name, url in resources.items()
    ]
    config.write_text(json.dumps({"resources": of_plugin}))
    (cluster.directory / "plugstack.conf").write_text(f"required {PLUGIN} {config}\n")
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


def run(slurm: SlurmCluster, script: str, qpus: str, user: str = USER) -> tuple[str, str]:
    """How a job ended, and what it printed."""
    output = slurm.directory / "jobs" / f"{qpus}-{user}.out"
    job = slurm.submit(script, user, f"--qpu={qpus}", "--time=10", f"--output={output}")
    while (state := slurm.job(job).get("JobState")) in ("PENDING", "RUNNING", "COMPLETING"):
        time.sleep(0.2)  # Slurm has nothing to wait with for a job's end
    return str(state), output.read_text()


@pytest.mark.parametrize(
    ("resource", "job_class"), [("fresnel", None), ("production", "production")]
)
def test_a_job_s_session_is_its_user_s_and_ends_with_it(
    slurm: SlurmCluster, served: Any, resource: str, job_class: str | None
) -> None:
    state, said = run(slurm, "#!/bin/sh\nenv\n", resource)
    variables = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    assert state == "COMPLETED"
    assert variables["QRMI_JOB_QPU_RESOURCES"] == resource
    assert variables["QRMI_JOB_QPU_TYPES"] == "pasqal-local"
    token = variables[f"{resource}_QRMI_JOB_ACQUISITION_TOKEN"]
    with served.connect() as root:
        session = root.session(token)
    assert (session.owner, session.job_class) == (USER, job_class)
    assert session.closed_at is not None


def test_a_program_of_pulser_s_runs_in_the_job(slurm: SlurmCluster) -> None:
    program = slurm.directory / "jobs" / "program.py"
    program.write_text(PROGRAM)
    # As root: others may not be able to read this interpreter.
    script = f"#!/bin/sh\n{sys.executable} {program}\n"
    state, said = run(slurm, script, "fresnel", user="root")
    assert (state, said.splitlines()[-1]) == ("COMPLETED", "[100, 50]")


def test_a_qpu_that_is_away_fails_the_job_and_takes_no_node_with_it(slurm: SlurmCluster) -> None:
    state, said = run(slurm, "#!/bin/sh\necho ran\n", "away")
    assert state == "FAILED"
    assert "away is not accessible" in said
    assert "ran" not in said.split()
    assert set(slurm.run("sinfo", "-h", "-N", "-o", "%T").split()) == {"idle"}


def test_the_plugin_is_there() -> None:
    assert Path(PLUGIN).is_file(), PLUGIN
