"""kill -9 of whoever submitted, at bad moments: what runs is adopted, and nothing runs twice.

Each test ends with what the manager's store holds: one task for each thing that was asked for,
and its shots counted once.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import parsl
import pytest
from parsl.config import Config

from qpu_executor.client import Client, TaskOrder, connect
from qpu_executor.client.loop_thread import LoopThread
from qpu_executor.model.states import TaskState
from qpu_executor.parsl import QPUExecutor, quantum_app, retry_handler
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.testing.sequences import small_sequence

SITE = """
manager:
  listen: {listen}
  store: store.sqlite
  time_scale: 40
default_class: development
job_classes:
  development: {{priority: 100, chunk_s: 10, max_shots: 5000}}
qpus:
  rehearsal: {{kind: simulated-qpu, shot_rate_hz: 5, setup_s: 2}}
"""

SHOTS = 4000
"""800 s on the QPU, 20 s on the test's clock: time enough to kill somebody."""
PIPELINE_SHOTS = 1600
"""The same for each of three."""


@pytest.fixture
def manager(make_manager: Any) -> Any:
    made = make_manager(site=SITE)
    made.start()
    return made


def counted(manager: Any) -> list[tuple[str, str, int]]:
    """(key, state, counted shots) of each task in the store, read past the manager."""
    with closing(sqlite3.connect(f"file:{manager.store}?mode=ro", uri=True)) as database:
        rows = database.execute(
            "select t.key, t.state, sum(c.shots_counted) from tasks t"
            " left join chunks c on c.task_id = t.id group by t.id order by t.id"
        )
        return [(str(key), str(state), int(shots or 0)) for key, state, shots in rows]


def until_running(client: Client, number: int = 1) -> list[int]:
    """Wait until so many tasks have begun; their ids."""
    begun: set[int] = set()
    for event in client.events(after=0):
        if event.task is not None and event.state is TaskState.RUNNING:
            begun.add(event.task)
            if len(begun) == number:
                break
    return sorted(begun)


def until(condition: Callable[[], object]) -> None:
    """Wait for what can only be asked."""
    deadline = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


class Between:
    """Stands between clients and a manager, and can keep an answer back.

    The manager has done what was asked when `kept` is set; its answer is never delivered.
    """

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._armed = b""
        self._silent = False
        self._thread = LoopThread("between")
        self.kept = threading.Event()

    def keep_answer_to(self, request: bytes, *, silent: bool) -> None:
        """The next request that begins so gets no answer; `silent`: nor does its connection end."""
        self.kept.clear()
        self._silent = silent
        self._armed = request

    @contextmanager
    def serving(self) -> Iterator[str]:
        self._thread.start()
        server = self._thread.run(asyncio.start_server(self._relay, "127.0.0.1", 0))
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:

            async def end() -> None:
                server.close()

            self._thread.stop(end)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, to_manager = await asyncio.open_unix_connection(self._socket)
        hit = asyncio.Event()

        async def forth() -> None:
            while data := await reader.read(65536):
                if self._armed and data.startswith(self._armed):
                    self._armed = b""
                    hit.set()
                to_manager.write(data)
                await to_manager.drain()
            to_manager.close()

        async def back() -> None:
            while data := await behind.read(65536):
                if hit.is_set():
                    self.kept.set()
                    if self._silent:
                        continue
                    writer.transport.abort()
                    return
                writer.write(data)
                await writer.drain()
            writer.transport.abort()

        try:
            await asyncio.gather(forth(), back())
        except OSError:
            return
        finally:
            writer.transport.abort()
            to_manager.transport.abort()


@pytest.fixture
def between(manager: Any) -> Between:
    return Between(manager.url.removeprefix("unix://"))


def test_an_answer_that_is_lost_costs_no_second_task_and_no_second_session(manager, between):
    program = to_program(small_sequence())
    with between.serving() as url, connect(url, wait_s=60) as client:
        between.keep_answer_to(b"POST /v1/sessions", silent=False)
        session = client.open_session("once")
        assert between.kept.is_set()
        between.keep_answer_to(b"POST /v1/tasks", silent=False)
        orders = [TaskOrder(program, 5, name=f"n{i}", session=session.id) for i in range(3)]
        tasks = client.submit_many(orders)
        assert between.kept.is_set()
        assert [task.result(timeout=120).shots for task in tasks] == [5, 5, 5]
        assert [one.id for one in client.sessions()] == [session.id]
    assert [(state, shots) for _, state, shots in counted(manager)] == [("COMPLETED", 5)] * 3


SCRIPT = """
import sys
from qpu_executor.client import connect
from qpu_executor.testing.sequences import small_sequence

with connect(sys.argv[1]) as client:
    task = client.submit(small_sequence(), int(sys.argv[2]), key="night-7", seed=3)
    print(task.id, flush=True)
    result = task.result()
    print(result.task_id, result.shots, sum(result.counts.values()), flush=True)
"""


def script(url: str, text: str = SCRIPT, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", text, url, *(words or (str(SHOTS),))],
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("when", ["before the answer came", "while it runs"])
def test_a_killed_script_that_is_run_again_adopts_its_task(manager, between, when):
    with between.serving() as url, manager.connect() as watching:
        if when == "before the answer came":
            between.keep_answer_to(b"POST /v1/tasks", silent=True)
            first = script(url)
            assert between.kept.wait(60)
        else:
            first = script(url)
        (task_id,) = until_running(watching)
        if when == "while it runs":
            assert first.stdout.readline().split() == [str(task_id)]
        first.kill()
        assert first.communicate()[0] == ""
        assert watching.task(task_id).state is TaskState.RUNNING
        out, _ = script(url).communicate(timeout=100)
    assert out.split() == [str(task_id), str(task_id), str(SHOTS), str(SHOTS)]
    assert counted(manager) == [("night-7", "COMPLETED", SHOTS)]


PARSL = """
import sys, parsl
from parsl.config import Config
from qpu_executor.parsl import QPUExecutor, quantum_app
from qpu_executor.testing.sequences import small_sequence

@quantum_app(shots=int(sys.argv[2]), seed=3)
def measured(duration_ns):
    return small_sequence(duration_ns=duration_ns)

executors = [QPUExecutor(manager=sys.argv[1])]
with parsl.load(Config(executors=executors, run_dir=sys.argv[3], initialize_logging=False)):
    spec = {"key": "scan-200"}
    print(measured(200, parsl_resource_specification=spec).result().task_id, flush=True)
"""


def test_a_killed_parsl_workflow_that_is_run_again_adopts_by_its_own_key(manager, tmp_path):
    words = (str(SHOTS), str(tmp_path))
    with manager.connect() as watching:
        first = script(manager.url, PARSL, *words)
        (task_id,) = until_running(watching)
        first.kill()
        assert first.communicate()[0] == ""
        assert watching.task(task_id).state is TaskState.RUNNING
        out, _ = script(manager.url, PARSL, *words).communicate(timeout=100)
    assert out.split() == [str(task_id)]
    assert counted(manager) == [("scan-200", "COMPLETED", SHOTS)]


@quantum_app(shots=SHOTS, seed=3)
def measured(duration_ns: int) -> Any:
    return small_sequence(duration_ns=duration_ns)


def test_a_retry_of_parsl_adopts_the_task_that_outlived_its_manager(manager, tmp_path):
    """The manager dies with the task at the QPU; the try fails, and the next one finds it."""
    config = Config(
        executors=[QPUExecutor(manager=manager.url, wait_s=1.0)],
        run_dir=str(tmp_path),
        initialize_logging=False,
        retries=1000,
        retry_handler=retry_handler,
    )
    with parsl.load(config):
        future = measured(200)
        with manager.connect() as watching:
            (task_id,) = until_running(watching)
        manager.kill()
        until(lambda: future.task_record["fail_count"] >= 1)
        manager.start()
        result = future.result(100)
    assert (result.task_id, result.shots) == (task_id, SHOTS)
    ((key, *found),) = counted(manager)
    assert key.startswith("parsl:")
    assert found == ["COMPLETED", SHOTS]


STEPS = """
from qpu_executor.testing.sequences import small_sequence


def sequence(duration_ns):
    return small_sequence(duration_ns=duration_ns)


def total(results):
    return sum(result.shots for result in results)
"""

PIPELINE = """
name: killed
seed: 11
steps:
  sweep:
    quantum: killed_steps.sequence
    with: {duration_ns: "${each}"}
    for_each: [200, 240, 280]
    shots: 1600
  total: {call: killed_steps.total, with: {results: "${sweep}"}}
answer: ${total}
"""


def pipeline(folder: Path, url: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*(sys.executable, "-m", "qpu_executor.cli.main", "run", "killed.yaml"),
         *("--manager", url, "--json"), *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", ["parsl", "dask"])
def test_a_killed_pipeline_that_is_resumed_adopts_what_waits_runs_and_is_done(
    manager, tmp_path, engine
):
    (tmp_path / "killed_steps.py").write_text(STEPS)
    (tmp_path / "killed.yaml").write_text(PIPELINE)
    with manager.connect() as watching:
        first = pipeline(tmp_path, manager.url, "--engine", engine)
        begun = until_running(watching, 2)
        until(lambda: len(watching.tasks()) == 3)
        first.kill()
        states = {task.state for task in watching.tasks()}
        assert TaskState.RUNNING in states
        first.communicate(timeout=120)
        assert len(watching.tasks()) == 3
        out, err = pipeline(tmp_path, manager.url, "--resume", "--engine", engine).communicate(
            timeout=200
        )
    document = json.loads(out or "null")
    assert document is not None, err
    assert (document["state"], document["answer"]) == ("done", 3 * PIPELINE_SHOTS)
    assert set(begun) <= {task["id"] for task in document["tasks"]}
    assert [(state, shots) for _, state, shots in counted(manager)] == [
        ("COMPLETED", PIPELINE_SHOTS)
    ] * 3
