"""The adapter `qrmi`, the released wheel unmodified, against services that go wrong."""

import asyncio
import itertools
import json
import sys
from contextlib import asynccontextmanager

import pytest

from qpu_executor.errors import (
    ConfigError,
    DeviceError,
    ManagerUnreachable,
    PluginRefused,
    ProgramRefused,
)
from qpu_executor.manager.service.clock import SystemClock
from qpu_executor.model.states import QpuState
from qpu_executor.model.values import ChunkId
from qpu_executor.programs.program import PULSER, Program
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.programs.vendor_programs import QISKIT
from qpu_executor.qpus.base import ChunkOrder, OutcomeKind
from qpu_executor.qpus.qrmi_resource import build
from qpu_executor.testing.munge_stand_in import load_munge_stand_in
from qpu_executor.testing.sequences import small_sequence
from qpu_executor.testing.vendor_stand_in.faults import Fault
from qpu_executor.testing.vendor_stand_in.process import StandInProcess

TASK_IDS = itertools.count(1)
FAST = {
    "poll_s": [0.02, 0.1],
    "health_every_s": 0,
    "retry_credentials_s": 0.3,
    "settle_s": 0.1,
}


HASTY = {"call_timeout_s": 3.5, "answer_within_s": 0.3}
"""Shorter than what hangs in these tests, and longer than a busy host keeps an answer back."""
HANGS_S = 5.0
NO_LOOK = Fault("GET", "jobs", "status", status=503, times=10_000)
"""No look succeeds, so that a job can't be seen ending before the test has done its part."""

pytestmark = pytest.mark.apart


@pytest.fixture(scope="module", autouse=True)
def munge(tmp_path_factory):
    if not load_munge_stand_in(tmp_path_factory.mktemp("munge")):
        pytest.skip("QRMI needs a libmunge for pasqal-local, and there is no compiler for one")


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory):
    with StandInProcess(tmp_path_factory.mktemp("vendors"), shot_s=0.001) as process:
        yield process


@pytest.fixture
def site(shared_site):
    yield shared_site
    shared_site.no_more_faults()
    shared_site.accessible(True)
    shared_site.accept_token("stand-in-token")


@pytest.fixture(scope="module")
def program():
    return to_program(small_sequence())


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text("stand-in-token\n", "utf-8")
    return path


@pytest.fixture
def warden(site):
    """Settings of a Pasqal QPU behind Warden."""
    environment = {"QRMI_WARDEN_URL": site.url, "QRMI_JOB_UID": "0", "QRMI_JOB_ID": "1"}
    return {"type": "pasqal-local", "environment": environment, "acquire": True, **FAST}


@pytest.fixture
def cloud(site, token_file):
    """Settings of a QPU at Pasqal Cloud."""
    return {
        "resource": "FRESNEL",
        "type": "pasqal-cloud",
        "environment": {
            "QRMI_PASQAL_CLOUD_PROJECT_ID": "project",
            "QRMI_PASQAL_CLOUD_BASE_URL": site.url,
        },
        "secret_files": {"QRMI_PASQAL_CLOUD_AUTH_TOKEN": str(token_file)},
        **FAST,
    }


@asynccontextmanager
async def opened(settings, directory, name="qrmi"):
    qpu = build(name, settings)
    await qpu.open(SystemClock(), directory)
    try:
        yield qpu
    finally:
        await qpu.close()


def order(program, shots=20):
    return ChunkOrder(ChunkId(next(TASK_IDS), 0), program, 0, shots, 7)


async def settled(qpu, chunk):
    """What `ask` says once it knows; asked again while nobody does."""
    while True:
        found = await qpu.ask(chunk)
        if found is None:
            found = await qpu.wait(chunk)
        if found.kind is not OutcomeKind.UNANSWERED:
            return found
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("do", ["status", "drop", "html", "lie"])
async def test_a_task_whose_acknowledgement_is_lost_is_never_repeated(
    site, warden, program, tmp_path, do
):
    before = len(site.executions())
    one = order(program)
    async with opened(warden, tmp_path) as qpu:
        site.fault(Fault("POST", "^/jobs$", do, "after"))
        with pytest.raises(ManagerUnreachable, match="nobody knows"):
            await qpu.start(one)
        for _ in range(3):
            found = await qpu.ask(one.chunk)
            assert found is not None
            assert found.kind is OutcomeKind.UNANSWERED
            assert "look for it at the vendor" in found.message
    async with opened(warden, tmp_path) as qpu:  # nor by a later manager
        found = await qpu.ask(one.chunk)
        assert found is not None
        assert found.kind is OutcomeKind.UNANSWERED
        again = order(program)
        await qpu.start(again)
        assert (await qpu.wait(again.chunk)).shots == 20
    assert len(site.executions()) - before == 2


async def test_an_acknowledgement_that_comes_late_is_taken(site, warden, program, tmp_path):
    before = len(site.executions())
    one = order(program)
    async with opened({**warden, **HASTY}, tmp_path) as qpu:
        site.fault(Fault("POST", "^/jobs$", "hang", "after", seconds=HANGS_S))
        with pytest.raises(ManagerUnreachable, match="hangs"):
            await qpu.start(one)
        found = await settled(qpu, one.chunk)
        assert (found.kind, found.shots) == (OutcomeKind.FINISHED, 20)
    assert len(site.executions()) - before == 1


async def test_calls_that_hang_leave_the_loop_and_the_other_calls_alone(
    site, warden, program, tmp_path
):
    async with opened({**warden, **HASTY, "threads": 2}, tmp_path) as qpu:
        one = order(program)
        await qpu.start(one)
        site.fault(Fault("GET", r"^/jobs/\d+$", "hang", seconds=HANGS_S, times=1))
        waiting = asyncio.create_task(qpu.wait(one.chunk))
        ticks = 0
        while not waiting.done():  # the loop goes round while the SDK doesn't come back
            await asyncio.sleep(0.01)
            ticks += 1
        assert ticks > 10
        assert (await qpu.health()).state is QpuState.UP
        site.no_more_faults()
        assert (await settled(qpu, one.chunk)).shots == 20


async def test_when_all_calls_hang_the_qpu_is_down_and_its_chunk_unanswered(
    site, warden, program, tmp_path
):
    async with opened({**warden, **HASTY, "threads": 2}, tmp_path) as qpu:
        one = order(program)
        await qpu.start(one)
        site.fault(Fault("GET", "", "hang", seconds=HANGS_S, times=9))
        assert (await qpu.wait(one.chunk)).kind is OutcomeKind.UNANSWERED
        health = await qpu.health()
        assert health.state is QpuState.DOWN
        assert "hang" in health.reason
        site.no_more_faults()
        assert (await settled(qpu, one.chunk)).shots == 20


@pytest.mark.parametrize("do", ["status", "drop", "html", "lie"])
async def test_a_look_that_fails_is_no_news(site, warden, program, tmp_path, do):
    async with opened(warden, tmp_path) as qpu:
        site.fault(Fault("GET", r"^/jobs/\d+$", do, times=2))
        one = order(program)
        await qpu.start(one)
        assert (await qpu.wait(one.chunk)).shots == 20


async def test_a_later_manager_finds_a_chunk_that_goes_on(site, warden, program, tmp_path):
    before = len(site.executions())
    one = order(program, shots=300)
    async with opened(warden, tmp_path) as qpu:
        await qpu.start(one)
    async with opened(warden, tmp_path) as qpu:
        assert await qpu.ask(one.chunk) is None
        assert (await qpu.wait(one.chunk)).shots == 300
        with pytest.raises(DeviceError, match="already sent"):
            await qpu.start(one)
    assert len(site.executions()) - before == 1


async def test_a_warden_that_forgets_is_believed_when_it_says_so_twice(
    site, warden, program, tmp_path
):
    async with opened(warden, tmp_path) as qpu:
        one = order(program, shots=500)
        site.fault(NO_LOOK)
        await qpu.start(one)
        site.forget_jobs()
        site.no_more_faults()
        assert (await qpu.wait(one.chunk)).kind is OutcomeKind.NOT_KNOWN


async def test_a_session_that_was_closed_is_taken_anew(site, warden, program, tmp_path):
    async with opened({**warden, "retry_credentials_s": 4}, tmp_path) as qpu:
        first = order(program)
        await qpu.start(first)
        await qpu.wait(first.chunk)
        site.end_sessions()
        one = order(program)
        with pytest.raises(DeviceError, match="session is closed"):
            await qpu.start(one)
        assert (await qpu.health()).state is QpuState.DOWN
        while (await qpu.health()).state is not QpuState.UP:  # noqa: ASYNC110  (time passes)
            await asyncio.sleep(0.02)
        await qpu.start(one)
        assert (await qpu.wait(one.chunk)).shots == 20


async def test_a_resource_that_is_closed_is_down_and_gets_no_task(site, warden, program, tmp_path):
    before = len(site.executions())
    async with opened(warden, tmp_path) as qpu:
        site.accessible(False)
        health = await qpu.health()
        assert (health.state, "offline" in health.reason) == (QpuState.DOWN, True)
        with pytest.raises(DeviceError, match="offline"):
            await qpu.start(order(program))
    assert len(site.executions()) == before


async def test_a_refusal_by_the_service_is_the_program_s_fault(warden, tmp_path):
    async with opened(warden, tmp_path) as qpu:
        one = order(Program(PULSER, "{}"))
        with pytest.raises(ProgramRefused, match="sequence can't be read"):
            await qpu.start(one)
        assert (await qpu.wait(one.chunk)).kind is OutcomeKind.NOT_KNOWN


async def test_an_expired_token_closes_the_qpu_and_loses_no_shot(
    site, cloud, program, token_file, tmp_path
):
    async with opened({**cloud, "answer_within_s": 0.3}, tmp_path) as qpu:
        one = order(program, shots=200)
        site.fault(NO_LOOK)
        await qpu.start(one)
        site.accept_token("renewed")
        site.no_more_faults()
        assert (await qpu.wait(one.chunk)).kind is OutcomeKind.UNANSWERED
        health = await qpu.health()
        assert health.state is QpuState.DOWN
        assert "renew the credentials" in health.reason
        token_file.write_text("renewed\n", "utf-8")
        assert (await settled(qpu, one.chunk)).shots == 200


async def test_a_job_that_fails_there_is_a_fault_with_what_its_log_says(
    site, warden, program, tmp_path
):
    async with opened(warden, tmp_path) as qpu:
        site.fail_next_job("the laser is out of lock")
        one = order(program)
        await qpu.start(one)
        found = await qpu.wait(one.chunk)
        assert found.kind is OutcomeKind.FAULT
        assert "FAILED" in found.message


@pytest.mark.parametrize("prefix", ["QRMI_JOB_QPU", "SLURM_JOB_QPU"])
async def test_the_job_s_environment_names_the_resource(
    site, cloud, program, tmp_path, monkeypatch, prefix
):
    monkeypatch.setenv(f"{prefix}_RESOURCES", "other,FRESNEL")
    monkeypatch.setenv(f"{prefix}_TYPES", "pasqal-local,pasqal-cloud")
    monkeypatch.setenv("FRESNEL_QRMI_PASQAL_CLOUD_PROJECT_ID", "project")
    monkeypatch.setenv("FRESNEL_QRMI_PASQAL_CLOUD_BASE_URL", site.url)
    monkeypatch.setenv("FRESNEL_QRMI_PASQAL_CLOUD_AUTH_TOKEN", "stand-in-token")
    async with opened(FAST, tmp_path, name="FRESNEL") as qpu:
        one = order(program)
        await qpu.start(one)
        assert (await qpu.wait(one.chunk)).shots == 20


async def test_the_only_resource_of_the_job_needs_no_name(site, program, tmp_path, monkeypatch):
    monkeypatch.setenv("QRMI_JOB_QPU_RESOURCES", "pasqal")
    monkeypatch.setenv("QRMI_JOB_QPU_TYPES", "pasqal-local")
    monkeypatch.setenv("QRMI_JOB_UID", "0")
    monkeypatch.setenv("QRMI_JOB_ID", "77")
    monkeypatch.setenv("pasqal_QRMI_WARDEN_URL", site.url)
    monkeypatch.setenv("pasqal_QRMI_JOB_ACQUISITION_TOKEN", "the-job-s-own")
    site.accept_session("the-job-s-own")
    async with opened(FAST, tmp_path) as qpu:
        one = order(program)
        await qpu.start(one)
        assert (await qpu.wait(one.chunk)).shots == 20


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "nothing says of what type"),
        (
            {"QRMI_JOB_QPU_RESOURCES": "a,b", "QRMI_JOB_QPU_TYPES": "pasqal-local"},
            "names 2 resources, QRMI_JOB_QPU_TYPES 1",
        ),
        (
            {"QRMI_JOB_QPU_RESOURCES": "a", "QRMI_JOB_QPU_TYPES": "abacus"},
            "'abacus' is no type of resource",
        ),
        (
            {"QRMI_JOB_QPU_RESOURCES": "a", "QRMI_JOB_QPU_TYPES": "pasqal-local"},
            "QRMI_JOB_UID",
        ),
    ],
)
async def test_what_the_environment_lacks_is_told_by_name(
    environment, message, tmp_path, monkeypatch
):
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("a_QRMI_WARDEN_URL", "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match=message):
        await build("qrmi", FAST).open(SystemClock(), tmp_path)


async def test_qrmi_s_own_configuration_file_is_read(site, program, tmp_path):
    environment = {"QRMI_WARDEN_URL": site.url, "QRMI_JOB_UID": "0", "QRMI_JOB_ID": "1"}
    resource = {"name": "pasqal", "type": "pasqal-local", "environment": environment}
    path = tmp_path / "qrmi_config.json"
    path.write_text(json.dumps({"resources": [resource]}), "utf-8")
    settings = {"config_file": str(path), "acquire": True, **FAST}
    async with opened(settings, tmp_path, name="pasqal") as qpu:
        one = order(program)
        await qpu.start(one)
        assert (await qpu.wait(one.chunk)).shots == 20
    with pytest.raises(ConfigError, match="has no resource 'pascal'"):
        await build("pascal", settings).open(SystemClock(), tmp_path)


@pytest.mark.parametrize(
    ("type_name", "key"),
    [("ibm-quantum-compute-service", "QCS"), ("qiskit-runtime-service", "QRS")],
)
async def test_ibm_s_services_run_samplers_and_close_like_all_others(
    site, tmp_path, type_name, key
):
    environment = {
        f"QRMI_IBM_{key}_ENDPOINT": f"{site.url}/api/v1",
        f"QRMI_IBM_{key}_IAM_ENDPOINT": site.url,
        f"QRMI_IBM_{key}_IAM_APIKEY": "key",
        f"QRMI_IBM_{key}_SERVICE_CRN": "crn",
    }
    settings = {"type": type_name, "environment": environment, **FAST}
    content = {"program_id": "sampler", "parameters": {"pubs": [["c = measure q;"]]}}
    async with opened(settings, tmp_path, name="ibm_stand_in") as qpu:
        one = order(Program(QISKIT, json.dumps(content)))
        await qpu.start(one)
        found = await qpu.wait(one.chunk)
        assert (found.kind, found.shots) == (OutcomeKind.FINISHED, 20)
        site.accessible(False)
        assert (await qpu.health()).state is QpuState.DOWN


async def test_without_the_wheel_one_line_says_which_extra(warden, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "qrmi", None)
    with pytest.raises(PluginRefused) as caught:
        await build("qrmi", warden).open(SystemClock(), tmp_path)
    assert "pip install 'qpu-executor[qrmi]'" in str(caught.value)
    assert "\n" not in str(caught.value)
