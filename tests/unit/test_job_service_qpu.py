"""The adapter for services that run jobs, on a scripted service."""

import asyncio
import threading
from contextlib import asynccontextmanager

import pytest

from qpu_executor.errors import (
    ConfigError,
    DeviceError,
    ManagerUnreachable,
    ProgramRefused,
)
from qpu_executor.model.states import QpuState
from qpu_executor.model.values import ChunkId
from qpu_executor.programs.program import Program
from qpu_executor.qpus.adapter_settings import read_settings
from qpu_executor.qpus.base import ChunkOrder, DeviceDescription, OutcomeKind
from qpu_executor.qpus.job_service import (
    ComeBackLaterError,
    CredentialsError,
    FoundJob,
    JobProgress,
    JobState,
    ServiceHealth,
    UnclearError,
)
from qpu_executor.qpus.job_service_qpu import JobServiceQpu
from qpu_executor.qpus.job_service_settings import JobServiceSettings
from qpu_executor.qpus.pasqal_cloud_service import LIMITS as PASQAL_CLOUD_LIMITS
from qpu_executor.qpus.qrmi_service import LIMITS as QRMI_LIMITS
from qpu_executor.qpus.sent_chunks import SentChunks
from qpu_executor.testing.virtual_clock import VirtualClock

ONE = ChunkId(1, 0)
FAST = {"poll_s": (0.005, 0.01), "settle_s": 60, "health_every_s": 0, "answer_within_s": 0.05}


class ScriptedService:
    """`jobs`: state by handle; `names`: handles by tag. `raises`: by method, once each."""

    kinds = frozenset({"scripted"})
    emulated = False
    versions = {"scripted": "1"}
    limits = {}

    def __init__(self, *, searchable=True):
        self.searchable = searchable
        self.jobs = {}
        self.marks = {}
        self.names = {}
        self.raises = {}
        self.calls = []
        self.gate = threading.Event()
        self.gate.set()
        self.is_up = True

    def _called(self, method):
        self.calls.append(method)
        error = self.raises.get(method)
        if error is not None:
            raise error

    def open(self):
        self._called("open")

    def close(self):
        self._called("close")

    def device(self):
        self._called("device")
        return DeviceDescription("Scripted", '{"name": "Scripted", "max_runs": 50}')

    def health(self):
        self._called("health")
        return ServiceHealth(QpuState.UP if self.is_up else QpuState.DOWN, "closed")

    def refuse(self, program, shots):
        if program.content == "bad":
            raise ProgramRefused("bad", rule="scripted")

    def find(self, name):
        self._called("find")
        handle = self.names.get(name.tag)
        return None if handle is None else FoundJob(handle, self.marks[handle])

    def send(self, order, name):
        self.gate.wait()
        handle = f"job-{len(self.jobs)}"
        self.jobs[handle] = JobState.RUNNING
        self.names[name.tag] = handle
        self.marks[handle] = name.order_mark
        self._called("send")
        return handle

    def progress(self, handle):
        self._called("progress")
        return JobProgress(self.jobs[handle], device_s=3.0, setup_s=1.0, message="smoke")

    def counts(self, handle):
        self._called("counts")
        return {"01": 20}

    def cancel(self, handle):
        self._called("cancel")
        self.jobs[handle] = JobState.CANCELLED


@asynccontextmanager
async def opened(service, directory, **settings):
    qpu = JobServiceQpu("q", JobServiceSettings(**{**FAST, **settings}), service)
    await qpu.open(VirtualClock(), directory)
    try:
        yield qpu
    finally:
        service.gate.set()
        await qpu.close()


def order(chunk=ONE, *, content="x", first=0):
    return ChunkOrder(chunk, Program("scripted", content), first, 20, 7)


async def test_times_and_versions_are_those_that_the_service_tells(tmp_path):
    service = ScriptedService()
    async with opened(service, tmp_path) as qpu:
        await qpu.start(order())
        service.jobs["job-0"] = JobState.DONE
        found = await qpu.wait(ONE)
    assert (found.kind, found.counts) == (OutcomeKind.FINISHED, {"01": 20})
    assert (found.device_s, found.setup_s, found.epoch) == (3.0, 1.0, None)
    assert found.versions == {"scripted": "1"}


async def test_the_device_s_own_limit_of_shots_is_the_chunk_s(tmp_path):
    async with opened(ScriptedService(), tmp_path) as qpu:
        assert qpu.capabilities.max_chunk_shots == 50
    async with opened(ScriptedService(), tmp_path, max_chunk_shots=30) as qpu:
        assert qpu.capabilities.max_chunk_shots == 30


async def test_a_chunk_is_on_the_disk_before_its_job_is_sent(tmp_path):
    service = ScriptedService()
    service.gate.clear()
    async with opened(service, tmp_path) as qpu:
        starting = asyncio.create_task(qpu.start(order()))
        while not (known := _on_disk(tmp_path)):  # noqa: ASYNC110  (a thread writes)
            await asyncio.sleep(0.005)
        assert known.handle is None
        assert service.jobs == {}
        service.gate.set()
        await starting
        assert _on_disk(tmp_path).handle == "job-0"


def _on_disk(directory):
    found = SentChunks(directory / "q.jobs.json")
    found.read()
    return found.get(ONE)


async def test_a_chunk_that_can_t_be_written_down_isn_t_sent(tmp_path, monkeypatch):
    service = ScriptedService()

    def full(self, chunk, sent):
        raise OSError(28, "No space left on device")

    async with opened(service, tmp_path) as qpu:
        monkeypatch.setattr(SentChunks, "put", full)
        with pytest.raises(DeviceError, match="No space left"):
            await qpu.start(order())
    assert service.jobs == {}


async def test_a_stop_that_comes_while_the_job_is_being_sent_stops_it(tmp_path):
    service = ScriptedService()
    service.gate.clear()
    async with opened(service, tmp_path) as qpu:
        starting = asyncio.create_task(qpu.start(order()))
        await asyncio.sleep(0)
        await qpu.stop(ONE)
        service.gate.set()
        await starting
        assert (await qpu.wait(ONE)).kind is OutcomeKind.STOPPED


async def test_a_manager_that_ends_while_it_sends_knows_the_handle_afterwards(tmp_path):
    service = ScriptedService(searchable=False)
    service.gate.clear()
    async with opened(service, tmp_path) as qpu:
        starting = asyncio.create_task(qpu.start(order()))
        while "health" not in service.calls:  # noqa: ASYNC110  (a thread calls)
            await asyncio.sleep(0.005)
        starting.cancel()
        service.gate.set()
    assert _on_disk(tmp_path).handle == "job-0"
    service.jobs["job-0"] = JobState.DONE
    async with opened(service, tmp_path) as qpu:
        assert await qpu.ask(ONE) is None
        assert (await qpu.wait(ONE)).shots == 20


async def test_a_stop_that_the_service_refuses_leaves_the_chunk_running(tmp_path):
    service = ScriptedService()
    service.raises["cancel"] = UnclearError("too late to cancel")
    async with opened(service, tmp_path) as qpu:
        await qpu.start(order())
        await qpu.stop(ONE)
        assert await qpu.ask(ONE) is None
        service.jobs["job-0"] = JobState.DONE
        assert (await qpu.wait(ONE)).kind is OutcomeKind.FINISHED


@pytest.mark.parametrize(
    ("state", "kind", "message"),
    [
        (JobState.CANCELLED, OutcomeKind.FAULT, "cancelled at the service by somebody else"),
        (JobState.FAILED, OutcomeKind.FAULT, "smoke"),
    ],
)
async def test_an_end_that_we_didn_t_ask_for_is_a_fault(tmp_path, state, kind, message):
    service = ScriptedService()
    async with opened(service, tmp_path) as qpu:
        await qpu.start(order())
        service.jobs["job-0"] = state
        found = await qpu.wait(ONE)
    assert found.kind is kind
    assert message in found.message


async def test_a_job_that_bears_the_chunk_s_name_and_is_another_one_is_left_alone(tmp_path):
    service = ScriptedService()
    async with opened(service, tmp_path) as qpu:
        await qpu.start(order())
    # As with an older copy of the store: the file forgets, the service doesn't.
    sent = SentChunks(tmp_path / "q.jobs.json")
    sent.read()
    sent.drop(ONE)
    async with opened(service, tmp_path) as qpu:
        with pytest.raises(DeviceError, match="is another one"):
            await qpu.start(order(first=20))
        await qpu.start(order())
        service.jobs["job-0"] = JobState.DONE
        assert (await qpu.wait(ONE)).shots == 20
    assert list(service.jobs) == ["job-0"]


async def test_a_job_that_only_the_service_knows_is_found_by_its_name(tmp_path):
    service = ScriptedService()
    service.raises["send"] = UnclearError("no answer")
    async with opened(service, tmp_path) as qpu:
        await qpu.start(order())  # found at once, since it is there
        service.jobs["job-0"] = JobState.DONE
        assert (await qpu.wait(ONE)).shots == 20
    assert service.calls.count("send") == 1


async def test_an_unexpected_error_of_the_sdk_is_no_clear_answer(tmp_path):
    service = ScriptedService(searchable=False)
    service.raises["send"] = ZeroDivisionError("in the SDK")
    async with opened(service, tmp_path) as qpu:
        with pytest.raises(ManagerUnreachable, match="ZeroDivisionError"):
            await qpu.start(order())
        found = await qpu.ask(ONE)
        assert found is not None
        assert found.kind is OutcomeKind.UNANSWERED
    assert service.calls.count("send") == 1


async def test_a_job_that_comes_to_be_after_it_was_denied_is_cancelled(tmp_path):
    service = ScriptedService()
    service.gate.clear()
    async with opened(service, tmp_path, call_timeout_s=3, settle_s=0.01) as qpu:
        with pytest.raises(ManagerUnreachable):
            await qpu.start(order())
        while True:
            found = await qpu.ask(ONE)
            assert found is not None
            if found.kind is OutcomeKind.NOT_KNOWN:
                break
            await asyncio.sleep(0.005)
        service.gate.set()
        while service.jobs.get("job-0") is not JobState.CANCELLED:  # noqa: ASYNC110  (threads)
            await asyncio.sleep(0.005)


async def test_a_service_that_asks_for_patience_is_left_alone_for_as_long(tmp_path):
    service = ScriptedService()
    async with opened(service, tmp_path) as qpu:
        service.raises["send"] = ComeBackLaterError("busy", after_s=4)
        with pytest.raises(DeviceError, match="busy"):
            await qpu.start(order())
        assert (await qpu.health()).state is QpuState.DOWN
        while (await qpu.health()).state is not QpuState.UP:  # noqa: ASYNC110  (time passes)
            await asyncio.sleep(0.01)


async def test_credentials_are_tried_again_only_after_a_pause(tmp_path):
    service = ScriptedService()
    service.raises["health"] = CredentialsError("expired")
    async with opened(service, tmp_path, retry_credentials_s=60) as qpu:
        assert (await qpu.health()).state is QpuState.DOWN
        asked = service.calls.count("health")
        health = await qpu.health()
        assert (health.state, health.reason) == (QpuState.DOWN, "expired")
        assert service.calls.count("health") == asked


async def test_a_secret_s_file_that_is_gone_later_is_as_good_as_a_wrong_secret(tmp_path):
    service = ScriptedService()
    async with opened(service, tmp_path) as qpu:
        await qpu.start(order())
        service.raises["progress"] = ConfigError("the secret can't be read")
        assert (await qpu.wait(ONE)).kind is OutcomeKind.UNANSWERED
        assert (await qpu.health()).state is QpuState.DOWN
        del service.raises["progress"]
        service.jobs["job-0"] = JobState.DONE
        while True:
            found = await qpu.ask(ONE)
            if found is None or found.kind is not OutcomeKind.UNANSWERED:
                break
            await asyncio.sleep(0.005)
        assert (await qpu.wait(ONE)).shots == 20


async def test_silence_is_taken_back_when_the_service_answers_again(tmp_path):
    service = ScriptedService()
    async with opened(service, tmp_path) as qpu:
        await qpu.start(order())
        service.raises["progress"] = UnclearError("no answer")
        assert (await qpu.wait(ONE)).kind is OutcomeKind.UNANSWERED
        asked = await qpu.ask(ONE)
        assert asked is not None
        assert asked.message == "no answer"
        del service.raises["progress"]
        while await qpu.ask(ONE) is not None:  # noqa: ASYNC110  (the next look)
            await asyncio.sleep(0.005)
        service.jobs["job-0"] = JobState.DONE
        assert (await qpu.wait(ONE)).shots == 20


async def test_a_result_without_counts_and_one_that_can_t_be_read(tmp_path):
    service = ScriptedService()
    service.raises["counts"] = ProgramRefused("holds no counts", rule="counts")
    async with opened(service, tmp_path) as qpu:
        await qpu.start(order())
        service.jobs["job-0"] = JobState.DONE
        found = await qpu.wait(ONE)
        assert (found.kind, found.message) == (OutcomeKind.REFUSED, "holds no counts")


async def test_what_the_service_can_t_run_is_refused_without_asking_it(tmp_path):
    service = ScriptedService()
    async with opened(service, tmp_path) as qpu:
        with pytest.raises(ProgramRefused, match="bad"):
            await qpu.start(order(content="bad"))
        with pytest.raises(ProgramRefused, match="kind 'abacus'"):
            await qpu.start(ChunkOrder(ONE, Program("abacus", ""), 0, 1, 7))
    assert "send" not in service.calls


@pytest.mark.parametrize("limits", [PASQAL_CLOUD_LIMITS, QRMI_LIMITS], ids=["cloud", "qrmi"])
async def test_every_capability_that_isn_t_declared_names_the_vendor_s_limit(tmp_path, limits):
    async with opened(ScriptedService(), tmp_path) as qpu:
        can = qpu.capabilities
    lacking = {
        key for key in ("partial_results", "can_calibrate", "seeded") if not getattr(can, key)
    }
    assert len(lacking) == 3
    assert lacking <= set(limits)
    assert all(len(why) > 20 for why in limits.values())


@pytest.mark.parametrize(
    ("given", "where", "message"),
    [
        ({"slot": 1}, "qpus.q.slot", "unknown setting 'slot' (did you mean 'slots'?)"),
        ({"poll_s": [5, 1]}, "qpus.q", "the smaller"),
        ({"threads": 1}, "qpus.q.threads", "greater than or equal to 2"),
        ({"min_chunk_shots": 5, "max_chunk_shots": 2}, "qpus.q", "must not be above"),
    ],
)
def test_settings_are_refused_with_their_place(given, where, message):
    with pytest.raises(ConfigError) as caught:
        read_settings(JobServiceSettings, "q", given)
    assert caught.value.where == where
    assert message in str(caught.value)


async def test_a_chunk_is_found_again_although_its_adapter_didn_t_close_in_time(tmp_path):
    service = ScriptedService()
    async with opened(service, tmp_path) as qpu:
        await qpu.start(order())
        waiting = asyncio.ensure_future(qpu.wait(ONE))
        await asyncio.sleep(0)
        async with qpu._sending._writing:  # as on a disk that hangs
            closing = asyncio.ensure_future(qpu.close())
            done, _ = await asyncio.wait({closing}, timeout=0.2)
            assert not done
            closing.cancel()
            await asyncio.wait({closing})
        assert (await asyncio.wait_for(waiting, 60)).kind is OutcomeKind.UNANSWERED
        await qpu.open(VirtualClock(), tmp_path)
        service.jobs["job-0"] = JobState.DONE
        assert await qpu.ask(ONE) is None
        assert (await asyncio.wait_for(qpu.wait(ONE), 60)).kind is OutcomeKind.FINISHED
