"""Our adapters against the suite that third parties run, the fake first."""

import json
import tempfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pulser
import pytest

from qpu_executor.programs.program import Program
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.programs.vendor_programs import FELIS, IQM, QISKIT
from qpu_executor.qpus.base import (
    Capabilities,
    DeviceDescription,
    QpuAdapter,
)
from qpu_executor.qpus.emulator_farm import build as build_farm
from qpu_executor.qpus.pasqal_cloud import build as build_pasqal_cloud
from qpu_executor.qpus.pasqal_controller.adapter import build as build_controller
from qpu_executor.qpus.pulser_emulator import build
from qpu_executor.qpus.qrmi_resource import build as build_qrmi
from qpu_executor.qpus.simulated import build as build_simulated
from qpu_executor.testing.contracts.qpu import *  # noqa: F403
from qpu_executor.testing.contracts.qpu import Subject
from qpu_executor.testing.controller.process import ControllerProcess
from qpu_executor.testing.fake_qpu import DEFAULT_CAPABILITIES, FakeQpu, seeded_counts
from qpu_executor.testing.farm_process import farm_process
from qpu_executor.testing.munge_stand_in import load_munge_stand_in
from qpu_executor.testing.sequences import line, small_sequence
from qpu_executor.testing.vendor_stand_in.process import StandInProcess

DATA = Path(__file__).parents[1] / "data" / "controller"


def make_fake() -> Subject:
    capabilities = Capabilities(
        kinds=DEFAULT_CAPABILITIES.kinds, slots=2, can_ask=True, emulated=True, seeded=True
    )
    endless = Program("fake", "endless")
    qpu = FakeQpu(
        capabilities=capabilities,
        device=DeviceDescription("FakeDevice"),
        answer=lambda order: None if order.program == endless else seeded_counts(order),
    )
    qpu.atom_limit = 10
    programs = (Program("fake", "one"), Program("fake", "two"))
    return Subject(qpu, programs, endless, Program("unheard-of", "x"))


def make_emulator(backend: str = "auto", workers: int = 2) -> Subject:
    def program(**settings: object) -> Program:
        return to_program(small_sequence(**settings))

    return Subject(
        build("emu", {"workers": workers, "max_atoms": 14, "backend": backend}),
        (program(), program(duration_ns=160)),
        # Not endless, but far longer than the test needs to stop it.
        program(atoms=line(14, spacing_um=5.0), duration_ns=5000),
        program(atoms=line(15, spacing_um=5.0)),
    )


def make_emu_sv() -> Subject:
    return make_emulator("emu-sv", workers=1)


def make_emu_mps() -> Subject:
    return make_emulator("emu-mps", workers=1)


def make_farm(url: str) -> Subject:
    """A farm in a process of its own; its chunks go on when the manager leaves."""
    subject = make_emulator()
    subject.qpu = build_farm("farm", {"url": url})
    subject.survives = True
    return subject


@pytest.fixture(scope="module")
def farm_url() -> Iterator[str]:
    with (
        tempfile.TemporaryDirectory() as directory,
        farm_process(Path(directory), {"workers": 2, "emulator": {"max_atoms": 14}}) as farm,
    ):
        yield farm.url


def make_simulated(memory: str = "none", **troubles: object) -> Subject:
    def program(**settings: object) -> Program:
        return to_program(small_sequence(**settings))

    settings = {
        "shot_rate_hz": 200,
        "partial_results": True,
        "memory": memory,
        "calibration": {"by": "manager", "every_s": 3600, "length_s": 60},
        **troubles,
    }
    return Subject(
        build_simulated("sim", settings),
        (program(), program(duration_ns=160)),
        program(duration_ns=240),
        program(atoms=line(15, spacing_um=5.0)),
        endless_shots=2000,
        survives=memory == "file",
    )


def make_remembering() -> Subject:
    return make_simulated(memory="file")


def make_noisy() -> Subject:
    loading = {"retry_s": 0.01, "atom_success": 0.99}
    noise = {"preset": "rough", "realisations": 2}
    faults = {"preset": "gentle", "chunk": 0}
    return make_simulated(memory="file", loading=loading, noise=noise, faults=faults)


@pytest.fixture(scope="module")
def controller(tmp_path_factory):
    """The stand-in for Pasqal's controller, in a process of its own."""
    process = ControllerProcess(
        tmp_path_factory.mktemp("controller"),
        *("--shot-s", "0.005", "--scenario", str(DATA / "partial-results.json")),
    )
    process.start()
    yield process
    process.close()


def make_controlled(controller: ControllerProcess) -> Subject:
    def program(**settings: object) -> Program:
        return to_program(small_sequence(**settings))

    near = {"a": (0.0, 0.0), "b": (1.0, 0.0)}
    return Subject(
        build_controller("controlled", {"url": controller.url, "partial_results": True}),
        (program(), program(duration_ns=160)),
        program(duration_ns=240),
        program(device=pulser.MockDevice, atoms=near, layout=False),
        endless_shots=2000,
        survives=True,
        too_many=None,
        begun=lambda: sum(line["event"] == "began" for line in controller.ledger),
    )


def remote_subject(qpu: QpuAdapter) -> Subject:
    """A Pasqal QPU behind the stand-in, which takes 5 ms for a shot."""

    def program(**settings: object) -> Program:
        return to_program(small_sequence(**settings))

    return Subject(
        qpu,
        (program(), program(duration_ns=160)),
        program(duration_ns=240),
        Program("unheard-of", "x"),
        endless_shots=1000,
        survives=True,
    )


def make_pasqal_cloud(stand_in: StandInProcess, token_file: str) -> Subject:
    settings = {
        "device_type": "FRESNEL",
        "project_id": "project",
        "token_file": token_file,
        "core_url": f"{stand_in.url}/core-fast",
        "max_atoms": 25,
        "poll_s": [0.02, 0.2],
    }
    return remote_subject(build_pasqal_cloud("cloud", settings))


def make_qrmi_cloud(stand_in: StandInProcess, token_file: str) -> Subject:
    settings = {
        "resource": "FRESNEL",
        "type": "pasqal-cloud",
        "environment": {
            "QRMI_PASQAL_CLOUD_PROJECT_ID": "project",
            "QRMI_PASQAL_CLOUD_BASE_URL": stand_in.url,
        },
        "secret_files": {"QRMI_PASQAL_CLOUD_AUTH_TOKEN": token_file},
        "max_atoms": 25,
        "poll_s": [0.02, 0.2],
    }
    return remote_subject(build_qrmi("qrmi-cloud", settings))


def make_qrmi_local(stand_in: StandInProcess, token_file: str) -> Subject:
    settings = {
        "type": "pasqal-local",
        "environment": {
            "QRMI_WARDEN_URL": stand_in.url,
            "QRMI_JOB_UID": "0",
            "QRMI_JOB_ID": "1",
        },
        "acquire": True,
        "max_atoms": 25,
        "poll_s": [0.02, 0.2],
    }
    return remote_subject(build_qrmi("qrmi-local", settings))


def other_vendor(name: str, settings: dict[str, object], kind: str, *contents: object) -> Subject:
    """`contents`: two programs, one that is used for long orders, and one that is refused."""
    programs = [Program(kind, json.dumps(one)) for one in contents]
    qpu = build_qrmi(name, {**settings, "max_atoms": 25, "poll_s": [0.02, 0.2]})
    return replace(
        remote_subject(qpu),
        programs=(programs[0], programs[1]),
        endless=programs[2],
        invalid=programs[3],
    )


def make_qrmi_ibm(stand_in: StandInProcess, token_file: str) -> Subject:
    def program(circuit: str) -> dict[str, object]:
        return {"program_id": "sampler", "parameters": {"pubs": [[circuit]]}}

    settings = {
        "resource": "ibm_stand_in",
        "type": "ibm-quantum-compute-service",
        "environment": {
            "QRMI_IBM_QCS_ENDPOINT": f"{stand_in.url}/api/v1",
            "QRMI_IBM_QCS_IAM_ENDPOINT": stand_in.url,
            "QRMI_IBM_QCS_IAM_APIKEY": "key",
            "QRMI_IBM_QCS_SERVICE_CRN": "crn",
        },
    }
    estimator = {"program_id": "estimator", "parameters": {"pubs": [["", "", [], 0.1]]}}
    circuits = (program(f"{gate} q[0]; c = measure q;") for gate in "xhz")
    return other_vendor("qrmi-ibm", settings, QISKIT, *circuits, estimator)


def make_qrmi_iqm(stand_in: StandInProcess, token_file: str) -> Subject:
    def program(*circuits: str) -> dict[str, object]:
        request = {"circuits": [{"name": one, "instructions": []} for one in circuits]}
        return {"job_type": "circuit", "iqmjson": request}

    settings = {
        "resource": "iqm_1",
        "type": "iqm-server",
        "environment": {"QRMI_IQM_ISA_ENDPOINT": f"{stand_in.url}/iqm"},
        "secret_files": {"QRMI_IQM_ISA_TOKEN": token_file},
    }
    two = program("one", "another")
    return other_vendor("qrmi-iqm", settings, IQM, *(program(one) for one in "abc"), two)


def make_qrmi_felis(stand_in: StandInProcess, token_file: str) -> Subject:
    def program(code: str) -> dict[str, object]:
        return {"human_qir": code, "input_params": {"averageNbPhotons": 4}}

    settings = {
        "resource": "ab_emu_1q_stand_in",
        "type": "alice-bob-felis",
        "environment": {
            "QRMI_AB_FELIS_BASE_ENDPOINT": f"{stand_in.url}/felis",
            "QRMI_AB_FELIS_API_KEY": b64encode(b"someone:key").decode(),
        },
    }
    return other_vendor("qrmi-felis", settings, FELIS, *(program(one) for one in "abc"), {})


BEHIND_THE_STAND_IN = (
    make_pasqal_cloud,
    make_qrmi_cloud,
    make_qrmi_local,
    make_qrmi_ibm,
    make_qrmi_iqm,
    make_qrmi_felis,
)


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    with StandInProcess(tmp_path_factory.mktemp("stand-in"), shot_s=0.005) as process:
        yield process


@pytest.fixture(scope="module")
def munge(tmp_path_factory):
    if not load_munge_stand_in(tmp_path_factory.mktemp("munge")):
        pytest.skip("QRMI needs a libmunge for pasqal-local, and there is no compiler for one")


@pytest.fixture(scope="module")
def token_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("secrets") / "token"
    path.touch(mode=0o600)
    path.write_text("stand-in-token\n", "utf-8")
    return str(path)


@pytest.fixture(
    params=[
        make_fake,
        make_emulator,
        pytest.param(make_emu_sv, marks=pytest.mark.torch),
        pytest.param(make_emu_mps, marks=pytest.mark.torch),
        make_farm,
        make_simulated,
        make_remembering,
        make_noisy,
        make_controlled,
        *(one for one in BEHIND_THE_STAND_IN if one is not make_qrmi_local),
        pytest.param(make_qrmi_local, marks=pytest.mark.apart),
    ],
    ids=[
        "fake",
        "pulser-emulator",
        "emu-sv",
        "emu-mps",
        "emulator-farm",
        "simulated-qpu",
        "simulated-qpu-with-memory",
        "noisy-machine",
        "pasqal-controller",
        "pasqal-cloud",
        "qrmi-pasqal-cloud",
        "qrmi-ibm",
        "qrmi-iqm",
        "qrmi-felis",
        "qrmi-pasqal-local",
    ],
    scope="module",
)
def make(request: pytest.FixtureRequest) -> Callable[[], Subject]:
    if request.param is make_farm:
        return partial(make_farm, request.getfixturevalue("farm_url"))
    if request.param is make_controlled:
        return partial(make_controlled, request.getfixturevalue("controller"))
    if request.param not in BEHIND_THE_STAND_IN:
        return request.param
    if request.param is make_qrmi_local:
        request.getfixturevalue("munge")
    stand_in, token_file = (request.getfixturevalue(one) for one in ("stand_in", "token_file"))

    def behind_the_stand_in() -> Subject:
        subject: Subject = request.param(stand_in, token_file)
        return replace(subject, begun=lambda: len(stand_in.executions()))

    return behind_the_stand_in
