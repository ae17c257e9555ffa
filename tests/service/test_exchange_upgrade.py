"""What clients and managers of earlier versions said still works: recorded exchanges, replayed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import BaseModel

from qpu_executor.client.problems import Reply, error_in, read_reply
from qpu_executor.errors import QpuExecutorError
from qpu_executor.wire import policy, sessions, site, tasks

RECORDED = sorted((Path(__file__).parents[1] / "data" / "exchanges").glob("*.json"))

MODELS: list[tuple[str, type[BaseModel]]] = [
    (r"GET /v1/health", site.HealthOut),
    (r"GET /v1/qpus", site.QpuList),
    (r"GET /v1/qpus/\w+", site.QpuDetail),
    (r"GET /v1/classes", site.JobClassList),
    (r"POST /v1/tasks", tasks.SubmitAnswer),
    (r"GET /v1/tasks\?.*", tasks.TaskList),
    (r"GET /v1/tasks/\d+", tasks.TaskDetail),
    (r"GET /v1/results\?.*", tasks.ResultList),
    (r"POST /v1/tasks/cancel", tasks.TaskList),
    (r"POST /v1/sessions/\w+/cancel", tasks.TaskList),
    (r"GET /v1/windows", policy.WindowList),
    (r"GET /v1/shares", policy.SharesOut),
    (r"GET /v1/tasks/\d+/why", policy.WhyOut),
    (r"GET /v1/tasks/\d+/result\?.*", tasks.ResultOut),
    (r"GET /v1/programs/\w+", tasks.ProgramIn),
    (r"POST /v1/estimate", policy.EstimateOut),
    (r"POST /v1/tasks/release", tasks.TaskList),
    (r"GET /v1/sessions", sessions.SessionList),
    (r"(GET|POST|DELETE) /v1/sessions.*", sessions.SessionOut),
]


def notes_of(path: Path) -> list[dict[str, Any]]:
    notes = json.loads(path.read_text())["notes"]
    assert isinstance(notes, list)
    return notes


def test_there_is_a_recording_of_this_api_version() -> None:
    assert RECORDED


@pytest.mark.parametrize("recording", RECORDED, ids=lambda path: path.stem)
def test_todays_client_reads_the_answers_of_an_earlier_manager(recording: Path) -> None:
    for note in notes_of(recording):
        asked = f"{note['method']} {note['path']}"
        model = next(model for pattern, model in MODELS if re.fullmatch(pattern, asked))
        kind = "application/json" if note["status"] == 200 else "application/problem+json"
        body = json.dumps(note["answer"]).encode()
        reply = Reply(note["status"], {"content-type": kind}, body)
        if note["status"] == 200:
            read_reply(reply, model, "http://recorded")
        else:
            error = error_in(reply, "http://recorded")
            assert isinstance(error, QpuExecutorError)
            assert error.code == note["answer"]["code"]


@pytest.mark.parametrize("recording", RECORDED, ids=lambda path: path.stem)
async def test_todays_manager_understands_the_requests_of_an_earlier_client(
    recording: Path, served: Any
) -> None:
    """The same requests in the same order: the same statuses, and no field is missing."""
    renamed: dict[str, str] = {}
    connector = aiohttp.UnixConnector(served.url.removeprefix("unix://"))
    async with aiohttp.ClientSession(connector=connector) as http:
        for note in notes_of(recording):
            path, body = note["path"], note["body"]
            for old, new in renamed.items():
                path = path.replace(old, new)
                body = body and body.replace(old, new)
            if path.startswith("/v1/results"):
                await until_completed(http, path)
            async with http.request(
                note["method"], f"http://manager{path}", data=body, headers=note["headers"]
            ) as response:
                answer = await response.json(content_type=None)
                assert response.status == note["status"], (path, answer)
            if note["method"] == "POST" and path == "/v1/sessions":
                renamed[note["answer"]["id"]] = answer["id"]
            assert_has_all_fields(note["answer"], answer, path)


async def until_completed(http: aiohttp.ClientSession, path: str) -> None:
    """The recording asked once it knew the tasks had ended: follow the events until then."""
    waited_for = {int(one) for one in path.partition("ids=")[2].split(",")}
    async with http.get("http://manager/v1/events?after=0") as stream:
        async for line in stream.content:
            if not line.startswith(b"data:"):
                continue
            event = json.loads(line[5:])
            if event.get("state") in ("COMPLETED", "CANCELLED", "HELD"):
                waited_for.discard(event["task"])
            if not waited_for:
                return


def assert_has_all_fields(old: Any, new: Any, where: str) -> None:
    if isinstance(old, dict) and not where.endswith((".counts", ".versions")):
        assert isinstance(new, dict), where
        for key, value in old.items():
            assert key in new, f"{where}: the field {key!r} is gone"
            assert_has_all_fields(value, new[key], f"{where}.{key}")
    elif isinstance(old, list) and old and isinstance(old[0], dict) and new:
        assert_has_all_fields(old[0], new[0], f"{where}[0]")
