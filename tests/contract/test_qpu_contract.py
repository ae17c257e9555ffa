"""What every adapter has to pass, the fake first."""

import asyncio
import itertools
import json
import tempfile
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pulser
import pytest
import pytest_asyncio

from qpu_executor.errors import DeviceError, ProgramError, ProgramRefused
from qpu_executor.manager.service.clock import SystemClock
from qpu_executor.model.states import QpuState
from qpu_executor.model.values import ChunkId
from qpu_executor.programs.program import Program, ProgramFacts
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.programs.vendor_programs import FELIS, IQM, QISKIT
from qpu_executor.qpus.base import (
    Capabilities,
    ChunkOrder,
    DeviceDescription,
    OutcomeKind,
    QpuAdapter,
)
from qpu_executor.qpus.emulator_farm import build as build_farm
from qpu_executor.qpus.pasqal_cloud import build as build_pasqal_cloud
from qpu_executor.qpus.pasqal_controller.adapter import build as build_controller
from qpu_executor.qpus.pulser_emulator import build
from qpu_executor.qpus.qrmi_resource import build as build_qrmi
from qpu_executor.qpus.registry import interface_mismatch
from qpu_executor.qpus.simulated import build as build_simulated
from qpu_executor.testing.controller.process import ControllerProcess
from qpu_executor.testing.fake_qpu import DEFAULT_CAPABILITIES, FakeQpu, seeded_counts
from qpu_executor.testing.farm_process import farm_process
from qpu_executor.testing.munge_stand_in import load_munge_stand_in
from qpu_executor.testing.sequences import line, small_sequence
from qpu_executor.testing.vendor_stand_in.process import StandInProcess

# Adapters are opened once for all tests, so these share an event loop.
pytestmark = pytest.mark.asyncio(loop_scope="module")

NEVER_STARTED = ChunkId(2**31 - 1, 0)
TASK_IDS = itertools.count(1)
DATA = Path(__file__).parents[1] / "data" / "controller"


@dataclass
class Subject:
    """An opened adapter with what it can run, what takes long there, and what it refuses.

    `survives`: its chunks go on when the adapter is closed, as on hardware. `too_many`:
    atoms that are beyond a limit of its own (None: it has none but its device's).
    """

    qpu: QpuAdapter
    programs: tuple[Program, Program]
    endless: Program
    invalid: Program
    endless_shots: int = 20
    survives: bool = False
    too_many: int | None = 60

    def long_order(self) -> ChunkOrder:
        return order(self.endless, shots=self.endless_shots)


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
        endless_shots=400,
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
        *BEHIND_THE_STAND_IN,
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
        "qrmi-pasqal-local",
        "qrmi-ibm",
        "qrmi-iqm",
        "qrmi-felis",
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
    needs = (request.getfixturevalue(one) for one in ("stand_in", "token_file"))
    return partial(request.param, *needs)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def subject(make, tmp_path_factory):
    subject, directory = make(), tmp_path_factory.mktemp("qpu")
    # Opened before, as at a site: what isn't in its files by now never happened.
    await subject.qpu.open(SystemClock(), directory)
    await subject.qpu.close()
    await subject.qpu.open(SystemClock(), directory)
    yield subject
    await subject.qpu.close()


def order(program: Program, *, first: int = 0, shots: int = 20, seed: int = 7):
    return ChunkOrder(ChunkId(next(TASK_IDS), 0), program, first, shots, seed)


async def outcome_of(subject: Subject, one: ChunkOrder):
    await subject.qpu.start(one)
    return await subject.qpu.wait(one.chunk)


async def test_it_fits_the_interface(subject):
    assert interface_mismatch(subject.qpu) is None


async def test_open_it_describes_itself_and_is_up(subject):
    assert subject.qpu.name
    assert subject.qpu.capabilities.kinds
    assert (await subject.qpu.describe()).device_name
    assert (await subject.qpu.health()).state is QpuState.UP


async def test_a_chunk_gives_as_many_shots_as_were_asked(subject):
    found = await outcome_of(subject, order(subject.programs[0], shots=37))
    assert found.kind is OutcomeKind.FINISHED
    assert found.shots == 37
    assert all(set(bits) <= {"0", "1"} for bits in found.counts)
    assert found.device_s >= 0
    assert found.setup_s >= 0
    assert found.epoch or "calibration" in subject.qpu.capabilities.limits
    assert found.versions


async def test_an_ended_chunk_can_be_waited_for_and_asked_about_again(subject):
    one = order(subject.programs[0])
    found = await outcome_of(subject, one)
    assert await subject.qpu.wait(one.chunk) == found
    assert await subject.qpu.ask(one.chunk) == found


async def test_a_running_chunk_is_asked_about_and_stopped(subject):
    one = subject.long_order()
    await subject.qpu.start(one)
    waiting = asyncio.create_task(subject.qpu.wait(one.chunk))
    assert await subject.qpu.ask(one.chunk) is None
    await subject.qpu.stop(one.chunk)
    found = await waiting
    assert found.kind is OutcomeKind.STOPPED
    assert found.shots == 0 or subject.qpu.capabilities.partial_results
    assert await subject.qpu.ask(one.chunk) == found


async def test_after_a_stop_the_next_chunk_runs(subject):
    one = subject.long_order()
    await subject.qpu.start(one)
    await subject.qpu.stop(one.chunk)
    found = await outcome_of(subject, order(subject.programs[0]))
    assert found.kind is OutcomeKind.FINISHED


async def test_a_stop_of_one_chunk_doesn_t_disturb_another(subject):
    if subject.qpu.capabilities.slots < 2:
        pytest.skip("one slot only")
    stopped, other = subject.long_order(), order(subject.programs[0])
    await subject.qpu.start(stopped)
    await subject.qpu.start(other)
    await subject.qpu.stop(stopped.chunk)
    assert (await subject.qpu.wait(other.chunk)).shots == 20
    assert (await subject.qpu.wait(stopped.chunk)).kind is OutcomeKind.STOPPED


async def test_two_chunks_run_at_once_where_there_are_slots(subject):
    if subject.qpu.capabilities.slots < 2:
        pytest.skip("one slot only")
    held, other = subject.long_order(), order(subject.programs[1])
    await subject.qpu.start(held)
    assert (await outcome_of(subject, other)).shots == 20
    assert await subject.qpu.ask(held.chunk) is None
    await subject.qpu.stop(held.chunk)


async def test_a_chunk_that_was_never_started_is_not_known(subject):
    assert (await subject.qpu.wait(NEVER_STARTED)).kind is OutcomeKind.NOT_KNOWN
    await subject.qpu.stop(NEVER_STARTED)
    if subject.qpu.capabilities.can_ask:
        asked = await subject.qpu.ask(NEVER_STARTED)
        assert asked is not None
        assert asked.kind is OutcomeKind.NOT_KNOWN


async def test_a_stopped_chunk_gives_the_shots_that_it_took_where_it_can(subject):
    if not subject.qpu.capabilities.partial_results:
        pytest.skip("no partial results")
    one = subject.long_order()
    await subject.qpu.start(one)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(subject.qpu.wait(one.chunk), 0.2)
    await subject.qpu.stop(one.chunk)
    found = await subject.qpu.wait(one.chunk)
    assert found.kind is OutcomeKind.STOPPED
    assert 0 < found.shots < one.shots


async def test_what_a_machine_can_t_do_names_the_limit_behind_it(subject):
    can = subject.qpu.capabilities
    if can.emulated:
        pytest.skip("no vendor to name")
    wanted = ("can_ask", "partial_results", "seeded", "can_calibrate", "calibration")
    lacking = {one for one in wanted if not getattr(can, one)}
    assert lacking <= set(can.limits)
    assert all(len(text) > 10 for text in can.limits.values())
    assert not {one for one in can.limits if getattr(can, one, None)}


async def test_an_invalid_program_is_refused_and_never_runs(subject):
    one = order(subject.invalid)
    with pytest.raises(ProgramRefused) as caught:
        await subject.qpu.start(one)
    assert caught.value.rule
    assert isinstance(caught.value, ProgramError)
    assert (await subject.qpu.wait(one.chunk)).kind is OutcomeKind.NOT_KNOWN


async def test_a_limit_of_its_own_is_told_at_admission(subject):
    def facts(atoms: int) -> ProgramFacts:
        return ProgramFacts(atoms, 100, "layout", tuple(str(i) for i in range(atoms)))

    assert subject.qpu.refusal(facts(3), 100) is None
    if subject.too_many is None:
        pytest.skip("no limit but its device's")
    refusal = subject.qpu.refusal(facts(subject.too_many), 100)
    assert refusal is not None
    assert f"{subject.too_many} atoms" in str(refusal)


async def test_counts_don_t_depend_on_how_the_shots_were_cut(subject):
    if not subject.qpu.capabilities.seeded:
        pytest.skip("not seeded")
    program = subject.programs[0]
    whole = await outcome_of(subject, order(program, shots=100))
    parts = [
        await outcome_of(subject, order(program, first=first, shots=shots))
        for first, shots in [(0, 33), (33, 1), (34, 66)]
    ]
    assert sum((Counter(part.counts) for part in parts), Counter()) == Counter(whole.counts)
    other = await outcome_of(subject, order(program, shots=100, seed=8))
    assert other.counts != whole.counts


async def test_a_calibration_is_told_by_health_or_refused(make, tmp_path):
    qpu = make().qpu
    await qpu.open(SystemClock(), tmp_path)
    try:
        if not qpu.capabilities.can_calibrate:
            with pytest.raises(DeviceError):
                await qpu.calibrate()
            return
        await qpu.calibrate()
        calibration = (await qpu.health()).calibration
        assert calibration is not None
        assert calibration.running
    finally:
        await qpu.close()


async def test_closing_ends_running_chunks_and_may_be_done_twice(make, tmp_path):
    subject = make()
    await subject.qpu.open(SystemClock(), tmp_path)
    one = subject.long_order()
    await subject.qpu.start(one)
    waiting = asyncio.create_task(subject.qpu.wait(one.chunk))
    await asyncio.sleep(0)
    await subject.qpu.close()
    ended = OutcomeKind.UNANSWERED if subject.survives else OutcomeKind.STOPPED
    assert (await waiting).kind is ended
    await subject.qpu.close()
    assert (await subject.qpu.health()).state is QpuState.DOWN
