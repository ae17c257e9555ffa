"""The adapter `pasqal-cloud`, its SDK unmodified, against a cloud that goes wrong."""

import asyncio
import itertools
import sys
import urllib.request
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
from qpu_executor.qpus.adapter_settings import read_settings
from qpu_executor.qpus.base import ChunkOrder, OutcomeKind
from qpu_executor.qpus.job_service import CredentialsError, JobName
from qpu_executor.qpus.pasqal_cloud import build
from qpu_executor.qpus.pasqal_cloud_service import PasqalCloudService
from qpu_executor.qpus.pasqal_cloud_settings import PasqalCloudSettings
from qpu_executor.testing.sequences import small_sequence
from qpu_executor.testing.vendor_stand_in.faults import Fault
from qpu_executor.testing.vendor_stand_in.process import StandInProcess

BATCHES = r"/v1/batches$"
STATUS = r"/batches/.*/status$"
TASK_IDS = itertools.count(1)
HASTY = {"read_timeout_s": 3.5}
"""Shorter than what hangs in these tests, and longer than a busy host keeps an answer back."""
HANGS_S = 5.0
NO_LOOK = Fault("GET", STATUS, "status", status=503, times=10_000)
"""No look succeeds, so that a job can't be seen ending before the test has done its part."""


@pytest.fixture(scope="module")
def shared_cloud(tmp_path_factory):
    with StandInProcess(tmp_path_factory.mktemp("cloud"), shot_s=0.001) as process:
        yield process


@pytest.fixture
def cloud(shared_cloud):
    yield shared_cloud
    shared_cloud.no_more_faults()
    shared_cloud.accept_token("stand-in-token")


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
def settings(cloud, token_file):
    return {
        "device_type": "FRESNEL",
        "project_id": "project",
        "token_file": str(token_file),
        "core_url": f"{cloud.url}/core-fast",
        "poll_s": [0.02, 0.1],
        "health_every_s": 0,
        "retry_credentials_s": 0.3,
        "settle_s": 0.4,
    }


@asynccontextmanager
async def opened(settings, directory):
    qpu = build("cloud", settings)
    await qpu.open(SystemClock(), directory)
    try:
        yield qpu
    finally:
        await qpu.close()


def order(program, shots=20):
    return ChunkOrder(ChunkId(next(TASK_IDS), 0), program, 0, shots, 7)


def executed(cloud, one):
    """How often the machine really ran a chunk."""
    end = f":{one.chunk}"
    return sum(any(tag.endswith(end) for tag in run["tags"]) for run in cloud.executions())


async def settled(qpu, chunk):
    """What `ask` says once it knows; asked again while nobody does."""
    while True:
        found = await qpu.ask(chunk)
        if found is None:
            return await qpu.wait(chunk)
        if found.kind is not OutcomeKind.UNANSWERED:
            return found
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("POST", BATCHES, "status", "after", status=502),
        Fault("POST", BATCHES, "status", "after", status=500),
        Fault("POST", BATCHES, "drop", "after"),
        Fault("POST", BATCHES, "html", "after"),
        Fault("POST", BATCHES, "lie", "after"),
        Fault("POST", BATCHES, "hang", "after", seconds=HANGS_S),
    ],
    ids=["502", "500", "drop", "html", "lie", "hang"],
)
async def test_a_batch_whose_acknowledgement_is_lost_is_adopted_and_runs_once(
    cloud, settings, program, tmp_path, fault
):
    async with opened({**settings, **HASTY}, tmp_path) as qpu:
        one = order(program)
        cloud.fault(fault)
        await qpu.start(one)
        found = await qpu.wait(one.chunk)
        assert (found.kind, found.shots) == (OutcomeKind.FINISHED, 20)
    assert executed(cloud, one) == 1


async def test_a_batch_that_never_was_is_denied_only_after_it_had_time_to_appear(
    cloud, settings, program, tmp_path
):
    async with opened({**settings, "settle_s": 4}, tmp_path) as qpu:
        one = order(program)
        cloud.fault(Fault("POST", BATCHES, "status", "before", status=500))
        with pytest.raises(ManagerUnreachable, match="nobody knows"):
            await qpu.start(one)
        first = await qpu.ask(one.chunk)
        assert first is not None
        assert first.kind is OutcomeKind.UNANSWERED
        assert (await settled(qpu, one.chunk)).kind is OutcomeKind.NOT_KNOWN
        again = order(program)
        await qpu.start(again)
        assert (await qpu.wait(again.chunk)).shots == 20
    assert (executed(cloud, one), executed(cloud, again)) == (0, 1)


async def test_a_later_manager_adopts_a_batch_that_was_never_acknowledged(
    cloud, settings, program, tmp_path
):
    one = order(program)
    async with opened({**settings, **HASTY}, tmp_path) as qpu:
        cloud.fault(Fault("POST", BATCHES, "hang", "after", seconds=HANGS_S))
        starting = asyncio.create_task(qpu.start(one))
        while not executed(cloud, one):  # noqa: ASYNC110  (another process)
            await asyncio.sleep(0.02)
        cloud.fault(Fault("GET", BATCHES, "status", status=503))
        with pytest.raises(ManagerUnreachable):
            await starting
    async with opened(settings, tmp_path) as qpu:
        assert (await settled(qpu, one.chunk)).shots == 20
    assert executed(cloud, one) == 1


async def test_a_later_manager_finds_a_chunk_that_goes_on(cloud, settings, program, tmp_path):
    one = order(program, shots=300)
    async with opened(settings, tmp_path) as qpu:
        await qpu.start(one)
        waiting = asyncio.create_task(qpu.wait(one.chunk))
        await asyncio.sleep(0)
    assert (await waiting).kind is OutcomeKind.UNANSWERED
    async with opened(settings, tmp_path) as qpu:
        assert await qpu.ask(one.chunk) is None
        found = await qpu.wait(one.chunk)
        assert (found.kind, found.shots) == (OutcomeKind.FINISHED, 300)
        assert found.device_s >= 0.3
    assert executed(cloud, one) == 1


async def test_the_name_of_a_chunk_is_that_of_one_store_only(cloud, settings, program, tmp_path):
    one = order(program)
    for store in ("one", "other"):
        (tmp_path / store).mkdir()
        async with opened(settings, tmp_path / store) as qpu:
            await qpu.start(one)
            assert (await qpu.wait(one.chunk)).shots == 20
    assert executed(cloud, one) == 2


async def test_an_expired_token_closes_the_qpu_with_one_message_and_harms_no_task(
    cloud, settings, program, token_file, tmp_path
):
    async with opened({**settings, "retry_credentials_s": 4}, tmp_path) as qpu:
        cloud.accept_token("renewed")
        one = order(program)
        with pytest.raises(DeviceError, match="token is expired"):
            await qpu.start(one)
        health = await qpu.health()
        assert health.state is QpuState.DOWN
        assert "renew the token" in health.reason
        assert health.until is not None
        token_file.write_text("renewed\n", "utf-8")
        while (await qpu.health()).state is not QpuState.UP:  # noqa: ASYNC110  (time passes)
            await asyncio.sleep(0.02)
        await qpu.start(one)
        assert (await qpu.wait(one.chunk)).shots == 20


async def test_a_token_that_expires_meanwhile_loses_no_shot(
    cloud, settings, program, token_file, tmp_path
):
    async with opened({**settings, "answer_within_s": 0.3}, tmp_path) as qpu:
        one = order(program, shots=200)
        cloud.fault(NO_LOOK)
        await qpu.start(one)
        cloud.accept_token("renewed")
        cloud.no_more_faults()
        assert (await qpu.wait(one.chunk)).kind is OutcomeKind.UNANSWERED
        token_file.write_text("renewed\n", "utf-8")
        assert (await settled(qpu, one.chunk)).shots == 200
    assert executed(cloud, one) == 1


@pytest.mark.parametrize(
    ("path", "do"),
    [
        (STATUS, "html"),
        (STATUS, "lie"),
        (STATUS, "status"),
        (STATUS, "drop"),
        (STATUS, "hang"),
        (r"/v2/jobs$", "lie"),
        (r"/results_link$", "html"),
        (r"/results/", "html"),
        (r"/results/", "hang"),
    ],
)
async def test_a_look_that_fails_is_no_news(cloud, settings, program, tmp_path, path, do):
    async with opened({**settings, **HASTY}, tmp_path) as qpu:
        cloud.fault(Fault("GET", path, do, seconds=HANGS_S))
        one = order(program)
        await qpu.start(one)
        found = await qpu.wait(one.chunk)
        assert (found.kind, found.shots) == (OutcomeKind.FINISHED, 20)
    assert executed(cloud, one) == 1


async def test_a_cloud_that_denies_a_batch_once_isn_t_believed(cloud, settings, program, tmp_path):
    async with opened(settings, tmp_path) as qpu:
        cloud.fault(Fault("GET", STATUS, "status", status=404))
        one = order(program, shots=200)
        await qpu.start(one)
        assert (await qpu.wait(one.chunk)).shots == 200
    assert executed(cloud, one) == 1


async def test_a_cloud_that_forgets_is_believed_when_it_says_so_twice(
    cloud, settings, program, tmp_path
):
    async with opened(settings, tmp_path) as qpu:
        one = order(program, shots=500)
        cloud.fault(NO_LOOK)
        await qpu.start(one)
        assert await qpu.ask(one.chunk) is None
        cloud.forget_jobs()
        cloud.no_more_faults()
        assert (await qpu.wait(one.chunk)).kind is OutcomeKind.NOT_KNOWN


async def test_a_refusal_by_the_cloud_is_the_program_s_fault(cloud, settings, tmp_path):
    async with opened(settings, tmp_path) as qpu:
        one = order(Program(PULSER, "{}"))
        with pytest.raises(ProgramRefused, match="sequence_builder is no sequence"):
            await qpu.start(one)
        found = await qpu.ask(one.chunk)
        assert found is not None
        assert found.kind is OutcomeKind.NOT_KNOWN


async def test_a_job_that_fails_there_is_a_fault_with_its_reason(
    cloud, settings, program, tmp_path
):
    async with opened(settings, tmp_path) as qpu:
        cloud.fail_next_job("the laser is out of lock")
        one = order(program)
        await qpu.start(one)
        found = await qpu.wait(one.chunk)
        assert found.kind is OutcomeKind.FAULT
        assert "the laser is out of lock" in found.message


async def test_a_batch_that_somebody_else_cancels_is_a_fault(settings, program, tmp_path):
    (tmp_path / "own").mkdir()
    with StandInProcess(tmp_path / "own", shot_s=0.01) as cloud:  # 10 s for a job
        settings = {**settings, "core_url": f"{cloud.url}/core-fast"}
        await cancelled_by_somebody_else(cloud, settings, program, tmp_path)


async def cancelled_by_somebody_else(cloud, settings, program, directory):
    async with opened(settings, directory) as qpu:
        one = order(program, shots=1000)
        await qpu.start(one)
        while not executed(cloud, one):  # noqa: ASYNC110  (another process)
            await asyncio.sleep(0.02)
        batch = cloud.executions()[-1]["job"]
        cancel = urllib.request.Request(
            f"{cloud.url}/core-fast/api/v2/batches/{batch}/cancel",
            method="PATCH",
            headers={"authorization": "Bearer stand-in-token"},
        )
        await asyncio.to_thread(lambda: urllib.request.urlopen(cancel, timeout=60).close())
        found = await qpu.wait(one.chunk)
        assert found.kind is OutcomeKind.FAULT
        assert "somebody else" in found.message


async def test_a_cloud_that_asks_for_patience_ran_nothing(cloud, settings, program, tmp_path):
    async with opened(settings, tmp_path) as qpu:
        cloud.fault(Fault("POST", BATCHES, "status", status=429))
        one = order(program)
        with pytest.raises(DeviceError, match="429"):
            await qpu.start(one)
        # Closed for a while: no fault that would count against the task.
        health = await qpu.health()
        assert (health.state, "429" in health.reason) == (QpuState.DOWN, True)
        await qpu.start(one)
        assert (await qpu.wait(one.chunk)).shots == 20
    assert executed(cloud, one) == 1


async def test_a_cloud_that_is_away_ran_nothing_and_comes_back(
    program, token_file, settings, tmp_path
):
    (tmp_path / "own").mkdir()
    with StandInProcess(tmp_path / "own") as own:
        settings = {**settings, "core_url": f"{own.url}/core-fast"}
        async with opened(settings, tmp_path) as qpu:
            own.kill()
            one = order(program)
            with pytest.raises(DeviceError, match="can't be reached"):
                await qpu.start(one)
            assert (await qpu.health()).state is QpuState.DOWN
            own.start()
            assert (await qpu.health()).state is QpuState.UP
            await qpu.start(one)
            assert (await qpu.wait(one.chunk)).shots == 20


async def test_a_cloud_that_is_away_at_the_start_leaves_the_manager_a_qpu_that_is_down(
    program, settings, tmp_path
):
    (tmp_path / "own").mkdir()
    with StandInProcess(tmp_path / "own") as own:
        settings = {**settings, "core_url": f"{own.url}/core-fast"}
        async with opened(settings, tmp_path) as qpu:
            before = await qpu.describe()
        own.kill()
        async with opened(settings, tmp_path) as qpu:
            assert await qpu.describe() == before
            assert qpu.capabilities.max_chunk_shots == 2000
            assert (await qpu.health()).state is QpuState.DOWN
    with pytest.raises(DeviceError, match="can't be reached"):
        await build("never seen", settings).open(SystemClock(), tmp_path)


def service_of(settings):
    found = PasqalCloudService("QPU cloud", read_settings(PasqalCloudSettings, "cloud", settings))
    found.open()
    return found


def test_of_two_batches_with_one_name_the_older_is_kept_and_the_other_cancelled(
    cloud, settings, program
):
    service, one = service_of(settings), order(program, shots=300)
    name = JobName(f"qpu-executor:twice:{one.chunk}", "mark")
    handles = [service.send(one, name) for _ in range(2)]
    found = service.find(name)
    assert found is not None
    assert (found.handle, found.order_mark) == (handles[0], "mark")
    assert service.progress(handles[1]).state.value == "cancelled"
    service.cancel(handles[0])
    service.close()


def test_a_password_is_exchanged_for_a_token(cloud, settings, tmp_path, program):
    secret = tmp_path / "password"
    secret.touch(mode=0o600)
    secret.write_text("stand-in-password\n", "utf-8")
    login = {
        **{key: value for key, value in settings.items() if key != "token_file"},
        "username": "someone",
        "password_file": str(secret),
        "auth_url": f"{cloud.url}/oauth/token",
    }
    service = service_of(login)
    assert service.health().state is QpuState.UP
    service.close()
    secret.write_text("wrong\n", "utf-8")
    service = service_of(login)
    with pytest.raises(CredentialsError, match="Wrong password"):
        service.health()
    service.close()


async def test_a_secret_that_others_may_read_is_refused(settings, token_file, tmp_path):
    token_file.chmod(0o644)
    with pytest.raises(ConfigError, match="may be read by others") as caught:
        await build("cloud", settings).open(SystemClock(), tmp_path)
    assert "chmod 600" in str(caught.value)


async def test_without_the_sdk_one_line_says_which_extra(settings, tmp_path, monkeypatch):
    for module in [one for one in sys.modules if one.startswith("pasqal_cloud")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "pasqal_cloud", None)
    monkeypatch.delitem(sys.modules, "qpu_executor.qpus.pasqal_cloud_transport", raising=False)
    with pytest.raises(PluginRefused) as caught:
        await build("cloud", settings).open(SystemClock(), tmp_path)
    assert "pip install 'qpu-executor[pasqal-cloud]'" in str(caught.value)
    assert "\n" not in str(caught.value)
