"""The API over a real connection: keys, refusals, sessions, two addresses."""

from __future__ import annotations

import asyncio
import getpass
import json
import socket
import subprocess
import sys
from typing import Any

import aiohttp
import pulser
import pytest

from qpu_executor.client import TaskOrder, connect
from qpu_executor.errors import (
    ConfigError,
    KeyConflict,
    ProgramRefused,
    QpuExecutorError,
    RequestRefused,
    TaskCancelled,
    UnknownTask,
)
from qpu_executor.model.states import TaskState
from qpu_executor.programs.program import PULSER, Program
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.testing.sequences import small_sequence


@pytest.fixture(scope="module")
def program() -> Program:
    return to_program(small_sequence())


async def post(url: str, path: str, body: Any, **headers: str) -> tuple[int, str, Any]:
    """Status, content type and JSON of a POST, by a client that isn't ours."""
    connector = aiohttp.UnixConnector(url.removeprefix("unix://"))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post(f"http://manager{path}", data=body, headers=headers) as answer,
    ):
        text = await answer.text()
        return answer.status, answer.content_type, json.loads(text)


def test_same_key_same_task_another_body_is_refused(shared: Any, program: Program) -> None:
    with shared.connect() as client:
        first = client.submit(program, 20, key="k", held=True)
        assert client.submit(program, 20, key="k", held=True).id == first.id
        with pytest.raises(KeyConflict) as caught:
            client.submit(program, 21, key="k", held=True)
        assert f"task {first.id}" in str(caught.value)
        session = client.open_session("run again").id
        again = client.submit(program, 20, key="k", held=True, session=session)
        assert (again.id, again.info.session) == (first.id, None), "it stays where it is"
        first.cancel()
        second = client.submit(program, 21, key="k")
        assert second.id != first.id, "after CANCELLED a key starts a new generation"
        with pytest.raises(TaskCancelled):
            first.result(timeout=60)
        assert second.result(timeout=120).shots == 21


def test_engine_key_adopts_the_program_stored_first(shared: Any, program: Program) -> None:
    other = to_program(small_sequence(duration_ns=240))
    with shared.connect() as client:
        order = TaskOrder(program=program, shots=5, key="e", key_origin="engine")
        first = client.submit_many([order])[0]
        again = TaskOrder(program=other, shots=5, key="e", key_origin="engine")
        adopted = client.submit_many([again])[0]
    assert adopted.id == first.id
    assert adopted.info.program_hash == program.hash


def test_one_bad_task_in_a_request_harms_no_other(shared: Any, program: Program) -> None:
    broken = Program(PULSER, "{}")
    with shared.connect() as client:
        good, bad, also_good = client.submit_each(
            [
                TaskOrder(program=program, shots=5),
                TaskOrder(program=broken, shots=5),
                TaskOrder(program=program, shots=6),
            ]
        )
        assert isinstance(bad, QpuExecutorError)
        assert not isinstance(good, QpuExecutorError)
        assert not isinstance(also_good, QpuExecutorError)
        assert good.result(timeout=120).shots == 5
        assert also_good.result(timeout=120).shots == 6


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"job_class": "developement"}, "did you mean 'development'"),
        ({"qpu": "emulater"}, "did you mean 'emulator'"),
        ({"shots": 6000}, "at most 5000"),
        ({"session": "nope"}, "no session 'nope'"),
    ],
)
def test_refused_request_says_what_and_the_nearest_name(
    shared: Any, program: Program, options: dict[str, Any], said: str
) -> None:
    wanted = {"shots": 10, **options}
    with shared.connect() as client, pytest.raises(RequestRefused) as caught:
        client.submit(program, **wanted)
    assert said in str(caught.value)


def test_device_rule_violated_refusal_names_rule_and_value(shared: Any) -> None:
    far = {"a": (0.0, 0.0), "b": (60.0, 0.0)}
    sequence = small_sequence(pulser.MockDevice, atoms=far, layout=False)
    with shared.connect() as client, pytest.raises(ProgramRefused) as caught:
        client.submit(sequence, 10)
    assert caught.value.rule
    assert "60" in str(caught.value) or "38" in str(caught.value)


def test_unknown_task_and_bad_ids(shared: Any) -> None:
    with shared.connect() as client:
        with pytest.raises(UnknownTask):
            client.task(4711)
        with pytest.raises(UnknownTask):
            client.cancel_tasks([4711])


async def test_header_key_and_raw_json(shared: Any, program: Program) -> None:
    task = {"program": {"kind": program.kind, "content": program.content}, "shots": 3}
    body = json.dumps({"tasks": [task]})
    first = await post(
        shared.url,
        "/v1/tasks",
        body,
        **{"Idempotency-Key": "h", "Content-Type": "application/json"},
    )
    second = await post(
        shared.url,
        "/v1/tasks",
        body,
        **{"Idempotency-Key": "h", "Content-Type": "application/json"},
    )
    assert first[0] == second[0] == 200
    assert first[2]["items"][0]["task"]["id"] == second[2]["items"][0]["task"]["id"]
    assert (first[2]["items"][0]["created"], second[2]["items"][0]["created"]) == (True, False)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("not json", "JSON"),
        ('{"tasks": []}', "at least 1"),
        ('{"task": []}', "tasks: Field required"),
        ('{"tasks": [{"shots": 0}]}', "greater than or equal to 1"),
        ('{"tasks": [{"shots": 1000000000}]}', "less than or equal to 1000000"),
        ('{"tasks": [{"shots": 1}]}', "needs a program"),
        ('{"tasks": [{"shots": 1, "job_clas": "x"}]}', "did you mean 'job_class'"),
        ('{"tasks": [{"shots": 1, "seed": -1}]}', "seed"),
        ('{"tasks": [{"shots": 1, "name": "\\ud800"}]}', ""),
    ],
)
async def test_malformed_request_is_a_problem_document(shared: Any, body: str, said: str) -> None:
    headers = {"Content-Type": "application/json"}
    status, kind, answer = await post(shared.url, "/v1/tasks", body, **headers)
    assert 400 <= status < 500
    assert kind == "application/problem+json"
    assert said in answer["detail"]
    assert answer["code"]


def test_session_ties_tasks_and_cancels_them(shared: Any, program: Program) -> None:
    with shared.connect() as client:
        session = client.open_session("run 1", key="r1")
        assert client.open_session("run 1", key="r1").id == session.id
        orders = [
            TaskOrder(program=program, shots=5, session=session.id, held=True) for _ in range(3)
        ]
        tasks = client.submit_many(orders)
        assert client.session(session.id).live_tasks == 3
        cancelled = client.cancel_session(session.id)
        assert sorted(task.id for task in cancelled) == sorted(task.id for task in tasks)
        assert {task.state for task in cancelled} == {TaskState.CANCELLED}
        client.close_session(session.id)
        with pytest.raises(RequestRefused, match="is closed"):
            client.submit(program, 5, session=session.id)


def test_over_tcp_the_kernel_says_who_is_asking(tcp_manager: Any, program: Program) -> None:
    with tcp_manager.connect() as client:
        health = client.health()
        assert health.product == "qpu-executor"
        assert health.caller == getpass.getuser()
        assert client.submit(program, 5).result(timeout=120).shots == 5


def test_second_manager_on_the_same_store_is_refused(shared: Any) -> None:
    site = shared.directory / "second.yaml"
    site.write_text((shared.directory / "site.yaml").read_text().replace("m.sock", "n.sock"))
    second = subprocess.run(
        [sys.executable, "-m", "qpu_executor.cli.main", "serve", "--site", str(site)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert second.returncode == 1
    assert "Traceback" not in second.stderr
    with shared.connect() as client:
        assert client.health().product == "qpu-executor"


def test_not_our_server_is_said_so() -> None:
    """Something else listens there: an error at once, not a hang."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>")
        await writer.drain()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]

        def ask() -> None:
            with connect(f"http://127.0.0.1:{port}", wait_s=2):
                pass

        with pytest.raises(QpuExecutorError) as caught:
            await asyncio.to_thread(ask)
        assert str(port) in str(caught.value)
        server.close()

    asyncio.run(main())


def test_nobody_listens_the_error_says_what_to_type() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (
        pytest.raises(QpuExecutorError, match="qpu serve"),
        connect(f"http://127.0.0.1:{port}", wait_s=0.5),
    ):
        pass


def test_bad_address_is_a_config_error() -> None:
    with pytest.raises(ConfigError), connect("ftp://nowhere"):
        pass
