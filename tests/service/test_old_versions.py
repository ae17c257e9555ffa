"""Clients and managers of earlier versions, themselves: taken from this repository's history.

For each frozen exchange, the version that left it is run as it was. A copy without that history
(a shallow clone, an archive) has only what was recorded, which a player plays here.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from qpu_executor.client import Client, connect
from qpu_executor.client.loop_thread import LoopThread
from qpu_executor.client.protocol import ApiRequest
from qpu_executor.errors import CallerError, RequestRefused
from qpu_executor.programs.program import Program
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.testing.frozen_exchange import talk, talk_of_policies
from qpu_executor.testing.sequences import small_sequence
from qpu_executor.wire.site import HealthOut

ROOT = Path(__file__).parents[2]
RECORDED = sorted((ROOT / "tests" / "data" / "exchanges").glob("*.json"))
EACH = pytest.mark.parametrize("recording", RECORDED, ids=lambda path: path.stem)

SITE = """
manager:
  listen: ["unix://{directory}/m.sock"]
  store: store.sqlite
default_class: development
job_classes:
  production: {{priority: 300, chunk_s: 30}}
  development: {{priority: 100, chunk_s: 10, max_shots: 5000}}
qpus:
  emulator: {{kind: pulser-emulator, device: AnalogDevice, workers: 1}}
"""


OF_TOMORROW = ApiRequest("GET", "/v1/of-tomorrow")
"""A route that no version has."""
WISHED = {"program": {"kind": "k", "content": "c"}, "shots": 1, "wish_of_tomorrow": 1}
"""A task with an option that no version has."""


def ask(client: Client, request: ApiRequest) -> None:
    client.call(client._client._channel.call(request, HealthOut))


@pytest.fixture(scope="module")
def program() -> Program:
    return to_program(small_sequence())


class Player:
    """A manager that gives the answers of a recording; what it never heard of, it doesn't know."""

    def __init__(self, notes: list[dict[str, Any]]) -> None:
        self._answers: dict[tuple[str, str], list[tuple[int, Any]]] = {}
        self._tasks: dict[int, Any] = {}
        self._results: dict[int, Any] = {}
        for note in notes:
            path = note["path"].partition("?")[0]
            answer = note["answer"]
            self._answers.setdefault((note["method"], path), []).append((note["status"], answer))
            for result in answer.get("results", ()):
                self._results[result["task"]["id"]] = result
            tasks = answer.get("tasks", ())  # of a session: how many
            for task in tasks if isinstance(tasks, list) else ():
                self._tasks[task["id"]] = task
        self._thread = LoopThread("player")
        self._over = asyncio.Event()

    def start(self) -> str:
        self._thread.start()
        return self._thread.run(self._start())

    def stop(self) -> None:
        async def end() -> None:
            self._over.set()
            await self._runner.cleanup()

        self._thread.stop(end)

    async def _start(self) -> str:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/v1/events":
            stream = web.StreamResponse(headers={"content-type": "text/event-stream"})
            await stream.prepare(request)
            await stream.write(b'data: {"type": "hello", "n": 0, "instance": "recorded"}\n\n')
            for n, task_id in enumerate(self._results, 1):
                ended = {"type": "task", "n": n, "task": task_id, "state": "COMPLETED"}
                await stream.write(f"id: {n}\ndata: {json.dumps(ended)}\n\n".encode())
            await self._over.wait()
            return stream
        ids = [int(one) for one in request.query.get("ids", "").split(",") if one]
        if request.path == "/v1/tasks" and ids:
            known = [self._tasks[one] for one in ids if one in self._tasks]
            return web.json_response({"tasks": known, "cursor": 0})
        if request.path == "/v1/results":
            return web.json_response(
                {"results": [self._results[one] for one in ids if one in self._results]}
            )
        answers = self._answers.get((request.method, request.path))
        if not answers:
            problem = {"title": "t", "status": 404, "detail": "Not Found", "code": "caller-error"}
            return web.json_response(problem, status=404)
        status, answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return web.json_response(answer, status=status)


@EACH
def test_todays_client_talks_with_an_earlier_manager_as_it_was_recorded(
    recording: Path, program: Program
) -> None:
    notes = json.loads(recording.read_text())["notes"]
    player = Player(notes)
    try:
        with connect(player.start(), wait_s=10) as client:
            results = talk(client, program)
            if any(note["path"] == "/v1/windows" for note in notes):
                results += talk_of_policies(client, program)
            with pytest.raises(CallerError, match=r"is older than this client.*no GET /v1/of-to"):
                ask(client, OF_TOMORROW)
    finally:
        player.stop()
    assert [result.shots for result in results][:2] == [20, 30]
    recorded = {
        one["task"]["id"]: one["counts"]
        for note in notes
        for one in note["answer"].get("results", ())
    }
    assert [dict(result.counts) for result in results] == [
        recorded[result.task_id] for result in results
    ]


class History:
    """A version as it was when it recorded an exchange: its code, in a directory of its own."""

    def __init__(self, directory: Path, commit: str) -> None:
        self.directory = directory
        code = git("archive", commit, "qpu_executor")
        with tarfile.open(fileobj=io.BytesIO(code)) as archive:
            archive.extractall(directory, filter="data")
        self._manager: subprocess.Popen[bytes] | None = None

    def serve(self) -> str:
        """Its manager; the URL."""
        (self.directory / "site.yaml").write_text(SITE.format(directory=self.directory))
        ready, theirs = os.pipe()
        words = ["serve", "--site", "site.yaml", "--ready-fd", str(theirs)]
        self._manager = self.python(
            "-m", "qpu_executor.cli.main", *words, pass_fds=(theirs,), stderr=subprocess.DEVNULL
        )
        os.close(theirs)
        with os.fdopen(ready) as pipe:
            return str(json.loads(pipe.readline())["url"])

    def python(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """Python with this version's code, and none of today's."""
        environment = {**os.environ, "PYTHONPATH": str(self.directory)}
        return subprocess.Popen(
            [sys.executable, *words], cwd=self.directory, env=environment, **options
        )

    def close(self) -> None:
        if self._manager is not None:
            self._manager.send_signal(signal.SIGTERM)
            self._manager.wait(60)


def git(*words: str) -> bytes:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, check=True).stdout


def commit_of(recording: Path) -> str:
    """The commit that added a recording. Skips, with the reason, where it isn't to be had."""
    try:
        shallow = git("rev-parse", "--is-shallow-repository").decode().strip()
        added = git("log", "--diff-filter=A", "--format=%H", "--", str(recording))
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("there is no git repository here, so no earlier version")
    commits = added.decode().split()
    if shallow != "false" or not commits:
        pytest.skip("the history of this clone doesn't reach back to the earlier version")
    return commits[-1]


@pytest.fixture(scope="module", params=RECORDED, ids=lambda path: path.stem)
def earlier(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    found = History(tmp_path_factory.mktemp("was"), commit_of(request.param))
    try:
        yield found
    finally:
        found.close()


def test_todays_client_drives_an_earlier_manager(earlier: History, program: Program) -> None:
    with connect(earlier.serve(), wait_s=30) as client:
        results = talk(client, program)
        with pytest.raises(CallerError, match=r"is older than this client.*no GET /v1/of-tomorrow"):
            ask(client, OF_TOMORROW)
        body = json.dumps({"tasks": [WISHED]}).encode()
        with pytest.raises(RequestRefused, match=r"is older than this client.*wish_of_tomorrow"):
            ask(client, ApiRequest("POST", "/v1/tasks", body))
        assert client.submit(program, 5).result(timeout=120).shots == 5
    assert [sum(result.counts.values()) for result in results] == [20, 30]


OLD_CLIENT = """
import sys
import qpu_executor
from qpu_executor.client import connect
from qpu_executor.errors import RequestRefused
from qpu_executor.testing.sequences import small_sequence

with connect(sys.argv[1]) as client:
    task = client.submit(small_sequence(), 40, key="old", seed=3)
    assert client.submit(small_sequence(), 40, key="old", seed=3).id == task.id
    print(task.result(timeout=90).shots, client.task_detail(task.id).state)
    print(len(client.qpus()), len(client.classes()), client.health().product)
    try:
        client.submit(small_sequence(), 5, job_class="unheard-of")
    except RequestRefused as refused:
        print("refused", "unheard-of" in str(refused))
    held = client.submit(small_sequence(), 5, held=True)
    print(held.cancel().state)
print(qpu_executor.__file__)
"""


def test_an_earlier_client_drives_todays_manager(earlier: History, served: Any) -> None:
    client = earlier.python("-c", OLD_CLIENT, served.url, stdout=subprocess.PIPE)
    out = client.communicate(timeout=150)[0].decode()
    assert client.returncode == 0, out
    *said, file = out.splitlines()
    assert said == [
        "40 COMPLETED",
        "1 2 qpu-executor",
        "refused True",
        "CANCELLED",
    ]
    assert file.startswith(str(earlier.directory))
