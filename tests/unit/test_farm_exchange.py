"""Manager and farm over a real connection, each against a partner that misbehaves."""

import asyncio
import io
import json
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from qpu_executor.errors import ConfigError, DeviceError, ManagerUnreachable, ProgramRefused
from qpu_executor.farm.desk import Desk
from qpu_executor.farm.server import make_app
from qpu_executor.manager.service.clock import SystemClock
from qpu_executor.model.states import QpuState
from qpu_executor.model.values import ChunkId
from qpu_executor.programs.program import ProgramFacts
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.qpus import farm_protocol as protocol
from qpu_executor.qpus.base import ChunkOrder, OutcomeKind
from qpu_executor.qpus.emulator_farm import build
from qpu_executor.qpus.emulator_settings import EmulatorSettings
from qpu_executor.qpus.farm_client import NoAnswer, NotConnected
from qpu_executor.qpus.farm_token import make_token, read_token
from qpu_executor.qpus.pulser_emulator import PulserEmulator
from qpu_executor.qpus.sampling import Distribution
from qpu_executor.testing.sequences import line, small_sequence

TOKEN = "a-token-for-tests-only-0123456789"
PROGRAM = to_program(small_sequence())


class Here:
    """Workers that answer at once, or never for `held` programs."""

    to_warm_up = 0

    def __init__(self):
        self.held = asyncio.Event()
        self.held.set()
        self.calls = 0

    async def open(self):
        pass

    async def close(self):
        pass

    async def run(self, function, timeout_s, *args, **kwargs):
        self.calls += 1
        await self.held.wait()
        return Distribution(3, b"", b"\0\0\0\0\0\0\xc0?" * 8, (("qutip", "1"),))


@asynccontextmanager
async def serving(app, path):
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    try:
        yield f"unix://{path}"
    finally:
        await runner.cleanup()


@pytest.fixture
def short():
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


@pytest_asyncio.fixture
async def farm(short):
    """Workers, socket and URL of a farm whose emulations cost nothing."""
    workers = Here()
    emulator = PulserEmulator("farm", EmulatorSettings(workers=2, max_atoms=14), workers)
    await emulator.open()
    async with serving(make_app(Desk(emulator, lambda: None), None), short / "s") as url:
        yield workers, short / "s", url
    await emulator.close()


@asynccontextmanager
async def opened(url, directory, **settings):
    qpu = build("farm", {"url": url, "answer_s": 30, **settings})
    await qpu.open(SystemClock(), directory)
    try:
        yield qpu
    finally:
        await qpu.close()


def order(n=0, shots=20, program=PROGRAM):
    return ChunkOrder(ChunkId(1, n), program, 0, shots, 7)


def body(**changes):
    found = {
        "id": "me.1.0",
        "kind": PROGRAM.kind,
        "content": PROGRAM.content,
        "first_shot": 0,
        "shots": 20,
        "seed": 7,
    }
    return {**found, **changes}


async def posted(socket, content, path=protocol.CHUNKS, headers=None):
    connector, data = aiohttp.UnixConnector(str(socket)), io.BytesIO(content.encode())
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        http.post(f"http://farm{path}", data=data, headers=headers or {}) as response,
    ):
        return response.status, json.loads(await response.read())


# -- the farm, against managers that misbehave ----------------------------------


async def test_the_same_chunk_again_runs_once_and_another_under_its_name_is_refused(farm):
    workers, socket, _ = farm
    workers.held.clear()
    for _ in range(3):
        assert (await posted(socket, json.dumps(body())))[0] == 202
    status, said = await posted(socket, json.dumps(body(shots=21)))
    assert (status, said["error"]) == (409, "conflict")
    while not workers.calls:  # noqa: ASYNC110 (nobody tells)
        await asyncio.sleep(0.01)
    workers.held.set()
    assert workers.calls == 1


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        ("{", 400, "Invalid JSON"),
        ("[]", 400, "Input should be an object"),
        (json.dumps(body(shots=0)), 400, "shots"),
        (json.dumps(body(shots="many")), 400, "shots"),
        (json.dumps(body(extra=1)), 400, "extra"),
        (json.dumps(body(id="../../etc")), 400, "id"),
        (json.dumps(body(kind="qasm")), 422, "kind 'qasm'"),
        (json.dumps(body(content="x")), 422, "JSON"),
        ("x" * (protocol.MAX_REQUEST_BYTES + 1), 413, "8 MB"),
    ],
)
async def test_a_bad_request_is_told_what_is_wrong_with_it(farm, content, status, message):
    found, said = await posted(farm[1], content)
    assert found == status
    assert message in said["message"]


async def test_without_its_token_a_farm_says_nothing(short):
    async with serving(make_app(None, TOKEN), short / "s"):
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
            status, said = await posted(short / "s", json.dumps(body()), headers=given)
            assert (status, said["error"]) == (401, "unauthorised")


async def test_an_unknown_route_is_told_as_json(farm):
    assert (await posted(farm[1], "", "/v2/chunks"))[1]["error"] == "unknown"


# -- the manager, against farms that misbehave ------------------------------------


async def test_a_chunk_goes_there_and_comes_back(farm, tmp_path):
    async with opened(farm[2], tmp_path) as qpu:
        await qpu.start(order())
        found = await qpu.wait(ChunkId(1, 0))
        assert found.kind is OutcomeKind.FINISHED
        assert found.shots == 20
        assert found.versions["qutip"] == "1"


async def test_an_adapter_that_is_opened_again_finds_its_chunk_running(farm, tmp_path):
    workers, _, url = farm
    workers.held.clear()
    async with opened(url, tmp_path) as qpu:
        await qpu.start(order())
    async with opened(url, tmp_path) as qpu:
        assert await qpu.ask(ChunkId(1, 0)) is None
        workers.held.set()
        assert (await qpu.wait(ChunkId(1, 0))).shots == 20
    (tmp_path / "other").mkdir()
    async with opened(url, tmp_path / "other") as another:
        # Another store's task 1 is another task.
        assert (await another.wait(ChunkId(1, 0))).kind is OutcomeKind.NOT_KNOWN


async def test_what_the_farm_can_t_hold_is_refused_at_admission(farm, tmp_path):
    async with opened(farm[2], tmp_path) as qpu:
        refusal = qpu.refusal(ProgramFacts(15, 100, "l", ("q",) * 15), 1)
        assert refusal is not None
        assert "15 atoms; at most 14" in str(refusal)
        large = to_program(small_sequence(atoms=line(15, spacing_um=5.0)))
        with pytest.raises(ProgramRefused, match="15 atoms") as caught:
            await qpu.start(order(program=large))
        assert caught.value.rule == "emulator_max_atoms"


async def test_a_farm_that_was_never_there_is_one_error_with_what_to_type(short):
    qpu = build("farm", {"url": f"unix://{short}/none"})
    with pytest.raises(DeviceError, match=r"nobody answers at .*next: start the farm: qpu farm"):
        await qpu.open(SystemClock(), short)
    await qpu.close()


async def test_a_manager_starts_while_a_farm_that_it_knows_is_away(farm, tmp_path, short):
    async with opened(farm[2], tmp_path):
        pass
    async with opened(f"unix://{short}/none", tmp_path, forget_after_s=0.01) as qpu:
        assert qpu.capabilities.slots == 2
        assert (await qpu.describe()).device_name == "AnalogDevice"
        assert (await qpu.health()).state is QpuState.DOWN
        with pytest.raises(DeviceError, match="nobody answers"):
            await qpu.start(order())
        # Unanswered at first; gone when the farm has been silent for long enough.
        found = await qpu.ask(ChunkId(1, 0))
        while found is not None and found.kind is OutcomeKind.UNANSWERED:
            found = await qpu.ask(ChunkId(1, 0))
        assert found is not None
        assert found.kind is OutcomeKind.NOT_KNOWN
        assert "hasn't answered for 0.01 s" in found.message


async def test_another_user_s_socket_is_told_nothing(farm, tmp_path, monkeypatch):
    workers, _, url = farm
    monkeypatch.setattr("qpu_executor.qpus.farm_client.os.geteuid", lambda: 54321)
    qpu = build("farm", {"url": url})
    with pytest.raises(DeviceError, match="belongs to another user"):
        await qpu.open(SystemClock(), tmp_path)
    assert workers.calls == 0


class Liar:
    """A farm that is one until `answer` (of a chunk's report) is asked for."""

    def __init__(self, real, answer):
        self.real = real
        self.answer = answer

    def app(self):
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        return app

    async def handle(self, request):
        if request.method == "GET" and request.path.startswith(protocol.CHUNKS):
            return await self.answer(request)
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self.real))) as http,
            http.request(
                request.method, f"http://farm{request.path_qs}", data=await request.read()
            ) as response,
        ):
            return web.Response(body=await response.read(), status=response.status)


def saying(content, status=200):
    async def answer(request):
        return web.Response(text=content, status=status)

    return answer


def reporting(**fields):
    return saying(json.dumps({"id": "x", "state": "finished", **fields}))


async def hang_up(request):
    request.transport.abort()


async def hang(request):
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (saying("<html>Service proxy</html>"), OutcomeKind.UNANSWERED, "no answer of a farm"),
        (saying("[[[["), OutcomeKind.UNANSWERED, "no answer of a farm"),
        (saying("{}", 500), OutcomeKind.UNANSWERED, "no answer of a farm"),
        (reporting(protocol=9, counts={"0": 20}), OutcomeKind.UNANSWERED, "protocol 9"),
        (reporting(counts={"000": 7}), OutcomeKind.FAULT, "7 shots; 20 were asked for"),
        (reporting(counts={}), OutcomeKind.FAULT, "0 shots"),
        (reporting(counts={"00": 10, "000": 10}), OutcomeKind.FAULT, "several lengths"),
        (reporting(counts={"0a0": 20}), OutcomeKind.UNANSWERED, "no answer of a farm"),
        (reporting(counts={"000": -20}), OutcomeKind.UNANSWERED, "no answer of a farm"),
        (reporting(counts={"000": 20}, device_s="NaN"), OutcomeKind.UNANSWERED, "no answer"),
        (hang_up, OutcomeKind.UNANSWERED, "no answer from unix://"),
        (hang, OutcomeKind.UNANSWERED, "no answer from unix://"),
    ],
)
async def test_what_a_lying_farm_says_becomes_no_result(
    farm, short, tmp_path, monkeypatch, answer, kind, message
):
    monkeypatch.setattr(protocol, "MAX_WAIT_S", 0.0)
    async with (
        serving(Liar(farm[1], answer).app(), short / "liar") as url,
        opened(url, tmp_path, answer_s=3 if answer is hang else 30) as qpu,
    ):
        await qpu.start(order())
        found = await qpu.wait(ChunkId(1, 0))
        assert found.kind is kind
        assert message in found.message
        assert found.counts == {}


async def test_an_endless_answer_is_cut(farm, short, tmp_path, monkeypatch):
    monkeypatch.setattr("qpu_executor.qpus.farm_client.MAX_ANSWER_BYTES", 100_000)
    async with (
        serving(Liar(farm[1], saying("1" * 200_000)).app(), short / "liar") as url,
        opened(url, tmp_path) as qpu,
    ):
        assert "longer than" in (await qpu.wait(ChunkId(1, 0))).message


async def test_an_acknowledgement_that_gets_lost_leaves_one_chunk(farm, short, tmp_path):
    workers, real, _ = farm
    lost = []

    class Forgetful(Liar):
        async def handle(self, request):
            answer = await super().handle(request)
            if request.method == "POST" and len(lost) < self.answer:
                lost.append(request.path)
                request.transport.abort()
            return answer

    async with (
        serving(Forgetful(real, 1).app(), short / "f") as url,
        opened(url, tmp_path) as qpu,
    ):
        await qpu.start(order())
        assert lost == [protocol.CHUNKS]
    lost.clear()
    async with (
        serving(Forgetful(real, 99).app(), short / "f") as url,
        opened(url, tmp_path) as qpu,
    ):
        with pytest.raises(ManagerUnreachable):
            await qpu.start(order(n=1, shots=21))
    assert workers.calls == 1


async def test_a_farm_with_another_device_is_down_until_the_manager_is_restarted(
    farm, short, tmp_path
):
    other = PulserEmulator("farm", EmulatorSettings(device="DigitalAnalogDevice"), Here())
    await other.open()
    address = tmp_path / "address"
    address.write_text(farm[2])
    qpu = build("farm", {"address_file": str(address), "answer_s": 30})
    await qpu.open(SystemClock(), tmp_path)
    assert (await qpu.health()).state is QpuState.UP
    # The next farm of this site is started on another node, with another device.
    async with serving(make_app(Desk(other, lambda: None), None), short / "t") as url:
        address.write_text(url)
        health = await qpu.health()
        assert health.state is QpuState.DOWN
        assert "device or limits have changed" in health.reason
        assert health.outdated
    await qpu.close()
    await other.close()


async def test_what_is_wrong_with_the_farm_s_workers_is_its_health(short, tmp_path):
    emulator = PulserEmulator("farm", EmulatorSettings(workers=1), Here())
    await emulator.open()
    app = make_app(Desk(emulator, lambda: "the connection to Dask is closed"), None)
    async with serving(app, short / "s") as url, opened(url, tmp_path) as qpu:
        health = await qpu.health()
    await emulator.close()
    assert (health.state, health.reason) == (QpuState.DOWN, "the connection to Dask is closed")


# -- settings and tokens -------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "either url or address_file"),
        ({"url": "unix:///a", "address_file": "/b"}, "either url or address_file"),
        ({"urll": "unix:///a"}, "did you mean 'url'"),
        ({"url": "ftp://x"}, "no address of a farm"),
        ({"url": "http://node:80"}, "needs a token"),
        ({"url": "unix:///a", "answer_s": 0}, "qpus.farm.answer_s"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        build("farm", settings)


def test_a_token_is_made_once_and_its_owner_s_alone(tmp_path):
    path = tmp_path / "token"
    token = make_token(path, "token_file")
    assert len(token) > 40
    assert path.stat().st_mode & 0o777 == 0o600
    assert make_token(path, "token_file") == read_token(path, "token_file") == token


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_token_that_others_can_read_is_refused(tmp_path, mode):
    path = tmp_path / "token"
    make_token(path, "token_file")
    path.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_token(path, "qpus.farm.token_file")


def test_a_short_token_is_none(tmp_path):
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text("secret\n")
    with pytest.raises(ConfigError, match="this is no token"):
        read_token(path, "qpus.farm.token_file")


async def test_a_farm_that_goes_after_it_was_told_may_have_the_chunk(farm, short, monkeypatch):
    _, _, url = farm
    async with opened(url, short) as qpu:
        troubles = [NoAnswer("the connection broke"), NotConnected("nobody is there")]

        async def post(*_):
            raise troubles.pop(0)

        monkeypatch.setattr(qpu._client, "post", post)
        with pytest.raises(ManagerUnreachable):
            await qpu.start(order())
        assert not troubles


async def test_a_client_that_was_closed_connects_no_more(farm, short):
    _, _, url = farm
    async with opened(url, short) as qpu:
        client = qpu._client
    with pytest.raises(NotConnected, match="isn't open"):
        await client.get(protocol.HEALTH, protocol.FarmHealth)
