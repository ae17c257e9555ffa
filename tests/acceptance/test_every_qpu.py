"""One pipeline on every kind of QPU that a site may have: only the profile's QPU changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.testing.controller.process import ControllerProcess
from qpu_executor.testing.farm_process import farm_process
from qpu_executor.testing.vendor_stand_in.process import StandInProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SHOTS = 40
"""As in the pipeline."""

SITE = """
manager: {{listen: {listen}, store: store.sqlite}}
default_class: development
job_classes:
  development: {{priority: 100, chunk_s: 5}}
qpus:
  emulator: {{kind: pulser-emulator, device: AnalogDevice, workers: 1}}
  farm: {{kind: emulator-farm, url: '@farm'}}
  simulated: {{kind: simulated-qpu, device: AnalogDevice, shot_rate_hz: 100}}
  controller: {{kind: pasqal-controller, url: '@controller', shot_rate_hz: 200}}
  cloud:
    kind: pasqal-cloud
    device_type: FRESNEL
    project_id: project
    token_file: '@token'
    core_url: '@vendor/core-fast'
    shot_rate_hz: 200
    poll_s: [0.02, 0.2]
  qrmi:
    kind: qrmi
    resource: FRESNEL
    type: pasqal-cloud
    environment: {{QRMI_PASQAL_CLOUD_PROJECT_ID: project, QRMI_PASQAL_CLOUD_BASE_URL: '@vendor'}}
    secret_files: {{QRMI_PASQAL_CLOUD_AUTH_TOKEN: '@token'}}
    shot_rate_hz: 200
    poll_s: [0.02, 0.2]
"""

KINDS = {
    "emulator": "pulser-emulator",
    "farm": "emulator-farm",
    "simulated": "simulated-qpu",
    "controller": "pasqal-controller",
    "cloud": "pasqal-cloud",
    "qrmi": "qrmi",
}

CODE = """\
import pulser


def pulse(duration_ns):
    register = pulser.Register.rectangle(1, 3, spacing=7.0, prefix="q")
    register = register.with_automatic_layout(pulser.AnalogDevice)
    found = pulser.Sequence(register, pulser.AnalogDevice)
    found.declare_channel("global", "rydberg_global")
    found.add(pulser.Pulse.ConstantPulse(duration_ns, 4, 0, 0), "global")
    return found


def total(results):
    return [{"counts": dict(one.counts), "qpu": one.qpu, "device": one.device} for one in results]
"""

PIPELINE = """\
name: anywhere
seed: 5
steps:
  sweep:
    quantum: anywhere_steps.pulse
    with: {duration_ns: "${each}"}
    for_each: [200, 400]
    shots: 40
  total: {call: anywhere_steps.total, with: {results: "${sweep}"}}
answer: ${total}
"""


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, make_shared: Callable[..., Any]
) -> Iterator[Any]:
    """A manager that has them all."""
    directory = tmp_path_factory.mktemp("every")
    token = directory / "token"
    token.touch(mode=0o600)
    token.write_text("stand-in-token\n")
    with ExitStack() as stack:
        # A socket's path must be short.
        short = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        farm = stack.enter_context(farm_process(short, {"workers": 1}))
        vendor = stack.enter_context(StandInProcess(directory))
        controller = ControllerProcess(directory, "--shot-s", "0.005")
        stack.callback(controller.close)
        text = (
            SITE.replace("@farm", farm.url)
            .replace("@controller", controller.start())
            .replace("@vendor", vendor.url)
            .replace("@token", str(token))
        )
        yield make_shared(f"unix://{short}/m.sock", text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("pipeline")
    (found / "anywhere_steps.py").write_text(CODE)
    (found / "pipeline.yaml").write_text(PIPELINE)
    return found


def run(folder: Path, profile: Path) -> dict[str, Any]:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "qpu_executor.cli.main", "run", "pipeline.yaml"),
            *("--profile", str(profile), "--json"),
        ],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("QPU_")},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("qpu", KINDS)
def test_the_same_pipeline_runs_wherever_its_profile_says(
    site: Any, folder: Path, qpu: str
) -> None:
    profile = folder / f"{qpu}.yaml"
    profile.write_text(f"manager: {site.url}\ntasks: {{qpu: {qpu}}}\n")
    document = run(folder, profile)
    assert document["state"] == "done"
    assert [(task["state"], task["shots"], task["qpu"]) for task in document["tasks"]] == [
        ("COMPLETED", SHOTS, qpu)
    ] * 2
    assert [sum(one["counts"].values()) for one in document["answer"]] == [SHOTS, SHOTS]
    assert {(one["qpu"], one["device"]) for one in document["answer"]} == {(qpu, "AnalogDevice")}
    assert all(len(bits) == 3 for one in document["answer"] for bits in one["counts"])


def test_the_site_has_one_qpu_of_every_kind_and_each_says_what_it_can(site: Any) -> None:
    with site.connect() as client:
        while any(qpu.status != "online" for qpu in client.qpus()):
            time.sleep(0.05)  # one that answers late is offline until the next look
        qpus = {qpu.name: qpu for qpu in client.qpus()}
        devices = client.devices()
    assert {name: qpu.kind for name, qpu in qpus.items()} == KINDS
    assert set(devices) == set(KINDS)
    assert {device.name for device in devices.values()} == {"AnalogDevice"}
    for qpu in qpus.values():
        assert qpu.can is not None
        assert "pulser-abstract" in qpu.can.kinds
        assert qpu.job_classes == ["development"]
