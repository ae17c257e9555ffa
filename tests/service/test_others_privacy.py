"""Every route of the API, asked by a stranger: what is another user's doesn't come back.

`ASKED` has to name every route, with what a stranger could ask of it about somebody else.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from qpu_executor.cli.server_parts import build_site_policy
from qpu_executor.settings import parse_site
from qpu_executor.testing.coins import coin_program
from qpu_executor.testing.local_api import LocalApi
from qpu_executor.testing.virtual_manager import VirtualManager

SITE = """
privacy: {privacy}
policy: fifo
default_class: development
job_classes:
  development: {{priority: 100, chunk_s: 30}}
qpus:
  q: {{kind: simulated-qpu, shot_rate_hz: 10, keep_warm: {{max_linger_s: 100, max_run_s: 100}}}}
"""

OWNER, STRANGER, OPERATOR = "ada-the-owner", "eve", "boss"
ACCOUNT = "account-of-ada"
HERS = ("name-of-her-task", "key-of-her-task", "name-of-her-session", "key-of-her-session",
        "note-of-her-token", "layout-of-her-program")  # fmt: skip

NO_TASK, NO_SESSION, NO_TOKEN, NO_HASH = 987_654, "5e55" * 8, "70ce" * 3, "4a54" * 16


@dataclass
class World:
    """A manager with work of two users. `hers`: the owner's ids; `nobodys`: such as none has."""

    served: VirtualManager
    api: LocalApi
    hers: dict[str, Any]
    secrets: list[str]

    @property
    def nobodys(self) -> dict[str, Any]:
        return {"task": NO_TASK, "session": NO_SESSION, "token": NO_TOKEN, "hash": NO_HASH}


@asynccontextmanager
async def a_world(directory: Path, privacy: str) -> AsyncIterator[World]:
    settings = parse_site(SITE.format(privacy=privacy), "site.yaml")
    async with VirtualManager(settings, build_site_policy(settings), directory) as served:
        world = World(served, LocalApi(served.manager, operators=[OPERATOR]), {}, [])
        await _fill(world)
        yield world


async def _fill(world: World) -> None:
    """One task of each kind for the owner; one that waits behind them for the stranger."""
    program = coin_program("layout-of-her-program")
    sent = {"kind": program.kind, "content": program.content}
    session = await world.api.asked(OWNER, "POST", "/v1/sessions", {
        "name": "name-of-her-session", "key": "key-of-her-session", "account": ACCOUNT,
        "keep_warm": {"linger_s": 50},
    })  # fmt: skip
    ids = []
    for n, shots, held in ((0, 10, False), (1, 5000, False), (2, 70, False), (3, 80, True)):
        task = {
            "program": sent, "shots": shots, "held": held, "session": session["id"],
            "name": "name-of-her-task", "key": f"key-of-her-task-{n}", "account": ACCOUNT,
        }  # fmt: skip
        answer = await world.api.asked(OWNER, "POST", "/v1/tasks", {"tasks": [task]})
        ids.append(answer["items"][0]["task"]["id"])
        await world.served.pass_time(10.0 * (n + 1))
    token = await world.api.asked(OWNER, "POST", "/v1/tokens", {"note": "note-of-her-token"})
    reserved = {"name": "beam time", "kind": "reservation", "at": "03:00", "length_s": 60}
    for one in ({"account": ACCOUNT}, {"session": session["id"]}):
        named = {**reserved, **one, "name": f"beam time {sorted(one)[0]}"}
        await world.api.asked(OPERATOR, "POST", "/v1/qpus/q/windows", named)
    other = coin_program("of the stranger")
    mine = {"program": {"kind": other.kind, "content": other.content}, "shots": 20}
    await world.api.asked(STRANGER, "POST", "/v1/tasks", {"tasks": [mine]})
    assert (await world.api.asked(OWNER, "GET", f"/v1/tasks/{ids[0]}"))["state"] == "COMPLETED"
    assert (await world.api.asked(OWNER, "GET", f"/v1/tasks/{ids[1]}"))["state"] == "RUNNING"
    world.hers = {
        "task": ids[0],
        "session": session["id"],
        "token": token["about"]["id"],
        "hash": program.hash,
    }
    world.secrets = [*HERS, session["id"], token["about"]["id"], token["token"], program.hash]


OF_OPERATORS = "operators only"
STREAM = "a stream: a test of its own"

WINDOW = {"name": "w", "at": "03:00", "length_s": 60}
PROGRAM = {"kind": "pulser-abstract", "content": coin_program("x").content}

ASKED: dict[str, list[tuple[str, Any]] | str] = {
    "GET /v1/health": [("/v1/health", None)],
    "GET /v1/qpus": [("/v1/qpus", None)],
    "GET /v1/qpus/{name}": [("/v1/qpus/q", None)],
    "GET /v1/classes": [("/v1/classes", None)],
    "GET /v1/queue": [("/v1/queue", None)],
    "GET /v1/shares": [("/v1/shares", None)],
    "GET /v1/windows": [("/v1/windows", None)],
    "GET /v1/tokens": [("/v1/tokens", None)],
    "GET /v1/sessions": [("/v1/sessions", None)],
    "GET /v1/tasks": [
        ("/v1/tasks", None),
        ("/v1/tasks?ids={task}", None),
        ("/v1/tasks?session={session}", None),
    ],
    "POST /v1/tasks": [
        ("/v1/tasks", {"tasks": [{"program_hash": "{hash}", "shots": 1}]}),
        ("/v1/tasks", {"tasks": [{"program": PROGRAM, "shots": 1, "session": "{session}"}]}),
        (
            "/v1/tasks",
            {"tasks": [{"program": PROGRAM, "shots": 1, "depends_on": [{"task": "{task}"}]}]},
        ),
    ],
    "POST /v1/estimate": [
        ("/v1/estimate", {"program": PROGRAM, "shots": 1}),
        ("/v1/estimate", {"program_hash": "{hash}", "shots": 1}),
        ("/v1/estimate", {"program": PROGRAM, "shots": 1, "session": "{session}"}),
    ],
    "GET /v1/tasks/{task_id}": [("/v1/tasks/{task}", None)],
    "GET /v1/tasks/{task_id}/result": [
        ("/v1/tasks/{task}/result", None),
        ("/v1/tasks/{task}/result?partial=true", None),
    ],
    "GET /v1/tasks/{task_id}/why": [("/v1/tasks/{task}/why", None)],
    "GET /v1/results": [("/v1/results?ids={task}", None)],
    "GET /v1/programs/{program_hash}": [("/v1/programs/{hash}", None)],
    "POST /v1/tasks/cancel": [("/v1/tasks/cancel", {"ids": ["{task}"]})],
    "POST /v1/tasks/hold": [("/v1/tasks/hold", {"ids": ["{task}"]})],
    "POST /v1/tasks/release": [("/v1/tasks/release", {"ids": ["{task}"]})],
    "POST /v1/sessions": [("/v1/sessions", {"name": "mine", "user": OWNER})],
    "GET /v1/sessions/{session_id}": [("/v1/sessions/{session}", None)],
    "POST /v1/sessions/{session_id}/close": [("/v1/sessions/{session}/close", None)],
    "POST /v1/sessions/{session_id}/cancel": [("/v1/sessions/{session}/cancel", None)],
    "POST /v1/sessions/{session_id}/hold": [("/v1/sessions/{session}/hold", {"linger_s": 5})],
    "DELETE /v1/sessions/{session_id}/hold": [("/v1/sessions/{session}/hold", None)],
    "POST /v1/tokens": [("/v1/tokens", {"user": OWNER})],
    "POST /v1/tokens/{token_id}/revoke": [("/v1/tokens/{token}/revoke", None)],
    "POST /v1/sessions/{session_id}/heartbeat": [("/v1/sessions/{session}/heartbeat", None)],
    "GET /v1/events": STREAM,
    "GET /warden/{resource}/accessible": [("/warden/q/accessible", None)],
    "GET /warden/{resource}/qpu/specs": [("/warden/q/qpu/specs", None)],
    "POST /warden/{resource}/sessions": [
        ("/warden/q/sessions", {"user_id": "1000", "slurm_job_id": "77"}),
    ],
    "DELETE /warden/{resource}/sessions/{session_id}": [("/warden/q/sessions/{session}", None)],
    "POST /warden/{resource}/jobs": [("/warden/q/jobs", {"sequence": "{}", "shots": 1})],
    "GET /warden/{resource}/jobs/{job_id}": [("/warden/q/jobs/{task}", None)],
    "POST /warden/{resource}/jobs/{job_id}/cancel": [("/warden/q/jobs/{task}/cancel", None)],
    "GET /warden/{resource}/jobs/{job_id}/logs": [("/warden/q/jobs/{task}/logs", None)],
    "POST /v1/qpus/{name}/drain": OF_OPERATORS,
    "POST /v1/qpus/{name}/resume": OF_OPERATORS,
    "POST /v1/qpus/{name}/calibrate": OF_OPERATORS,
    "POST /v1/qpus/{name}/windows": OF_OPERATORS,
    "DELETE /v1/qpus/{name}/windows/{window}": OF_OPERATORS,
    "POST /v1/tasks/requeue": OF_OPERATORS,
    "POST /v1/tasks/{task_id}/settle": OF_OPERATORS,
    "POST /v1/policy/reload": OF_OPERATORS,
    "GET /v1/audit": OF_OPERATORS,
    "GET /v1/retention": OF_OPERATORS,
    "GET /v1/retention/records": OF_OPERATORS,
    "POST /v1/retention/prune": OF_OPERATORS,
}
"""What a stranger asks: paths and bodies, with the ids of somebody else where `{task}` stands."""

OPERATORS_BODIES: dict[str, Any] = {
    "POST /v1/qpus/{name}/drain": {},
    "POST /v1/qpus/{name}/windows": WINDOW,
    "POST /v1/tasks/requeue": {"ids": ["{task}"]},
    "POST /v1/tasks/{task_id}/settle": {"lost": True},
    "POST /v1/retention/prune": {"older_than_s": 0},
}


def _routes(app: FastAPI) -> Iterator[str]:
    for path, methods in app.openapi()["paths"].items():
        yield from (f"{method.upper()} {path}" for method in methods)


def _with(ids: dict[str, Any], value: Any) -> Any:
    """Paths and bodies with ids in them; one that stands alone keeps its type."""
    if isinstance(value, dict):
        return {name: _with(ids, one) for name, one in value.items()}
    if isinstance(value, list):
        return [_with(ids, one) for one in value]
    if not isinstance(value, str):
        return value
    for name, id_ in ids.items():
        if value == f"{{{name}}}":
            return id_
        value = value.replace(f"{{{name}}}", str(id_))
    return value


def _said(answer: tuple[int, dict[str, str], str], ids: dict[str, Any]) -> tuple[int, str]:
    """An answer without the ids that it was asked about, and without where the journal stands:
    that goes on with every request that is denied.
    """
    status, _, text = answer
    text = re.sub(r'"cursor":\d+', '"cursor":0', text)
    for name, id_ in sorted(ids.items(), key=lambda one: -len(str(one[1]))):
        text = re.sub(rf"\b{id_}\b", f"<{name}>", text).replace(f"{str(id_)[:12]}…", f"<{name}>")
    return status, text


async def _asks(world: World, route: str, ids: dict[str, Any]) -> list[tuple[str, Any]]:
    """(request, answer) of all that a stranger asks of a route."""
    method, pattern = route.split(" ", 1)
    asked = ASKED[route]
    if isinstance(asked, str):
        path = pattern.replace("{name}", "q").replace("{window}", "beam time account")
        query = "?older_than_s=0" if route.startswith("GET /v1/retention") else ""
        asked = [(path.replace("{task_id}", "{task}") + query, OPERATORS_BODIES.get(route))]
    found = []
    for path, body in asked:
        path, body = _with(ids, path), _with(ids, body)
        answer = await world.api.ask(STRANGER, method, path.replace(" ", "%20"), body)
        found.append((f"{method} {path} {json.dumps(body)}", answer))
    return found


@pytest.mark.parametrize("privacy", ["open", "anonymous", "own"])
async def test_no_route_tells_a_stranger_what_is_somebody_elses(
    tmp_path: Path, privacy: str
) -> None:
    async with a_world(tmp_path, privacy) as world:
        routes = set(_routes(world.api.app))
        assert routes == set(ASKED), "say in ASKED what a stranger could ask of each new route"
        secrets = list(world.secrets)
        if privacy != "open":
            secrets += [OWNER, ACCOUNT]
        for route in sorted(routes - {one for one, what in ASKED.items() if what == STREAM}):
            nobodys = await _asks(world, route, world.nobodys)
            for i, (request, answer) in enumerate(await _asks(world, route, world.hers)):
                status, headers, text = answer
                assert status < 500, (request, text)
                told = [one for one in secrets if one in text + str(headers) and one not in request]
                assert told == [], (request, text)
                if ASKED[route] == OF_OPERATORS:
                    assert status == 403, (request, text)
                if request != nobodys[i][0]:
                    theirs = _said(answer, world.hers), _said(nobodys[i][1], world.nobodys)
                    assert theirs[0] == theirs[1], "it says whether there is such a thing"
        assert (await world.api.asked(OWNER, "GET", f"/v1/sessions/{world.hers['session']}"))[
            "closed_at"
        ] is None, "nothing of hers was touched"


@pytest.mark.parametrize("privacy", ["open", "anonymous", "own"])
async def test_a_strangers_event_stream_has_only_their_own(tmp_path: Path, privacy: str) -> None:
    async with a_world(tmp_path, privacy) as world:
        everything = asyncio.create_task(world.api.ask(STRANGER, "GET", "/v1/events?after=0"))
        path = f"/v1/events?after=0&session={world.hers['session']}"
        of_session = asyncio.create_task(world.api.ask(STRANGER, "GET", path))
        await world.served.pass_time(100.0)
        await world.served.manager.broadcast.close()
        for stream, events in ((everything, 1), (of_session, 0)):
            status, _, text = await stream
            assert status == 200
            told = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data")]
            assert [one["type"] for one in told] == ["hello", *["task"] * events]
            assert [one for one in [*world.secrets, OWNER, ACCOUNT] if one in text] == []


async def test_what_the_queue_shows_is_the_sites_choice(tmp_path: Path) -> None:
    seen = {}
    for privacy in ("open", "anonymous", "own"):
        async with a_world(tmp_path / privacy, privacy) as world:
            seen[privacy] = await world.api.asked(STRANGER, "GET", "/v1/queue")
            to_her = await world.api.asked(OWNER, "GET", "/v1/queue")
            to_operators = await world.api.asked(OPERATOR, "GET", "/v1/queue")
            assert [one["task"] for one in to_operators["rows"]] == [2, 3, 5, 4]
            assert {one["owner"] for one in to_operators["rows"]} == {OWNER, STRANGER}
            assert to_operators["shown"] == "all"
            hers = [one["task"] for one in to_her["rows"] if one["yours"]]
            assert hers == [2, 3, 4], "her own are hers to see, whatever the site says"
    assert {(one["running"], one["waiting"], one["held"]) for one in seen.values()} == {(1, 2, 1)}
    columns = ("task", "owner", "yours", "rank", "state", "shots")
    shown = {
        privacy: [tuple(one[name] for name in columns) for one in found["rows"]]
        for privacy, found in seen.items()
    }
    mine = (5, STRANGER, True, 2, "QUEUED", 20)
    assert shown["open"] == [
        (2, OWNER, False, None, "RUNNING", 5000),
        (3, OWNER, False, 1, "QUEUED", 70),
        mine,
        (4, OWNER, False, None, "HELD", 80),
    ]
    assert shown["anonymous"] == [
        (None, None, False, None, "RUNNING", 5000),
        (None, None, False, 1, "QUEUED", 70),
        mine,
        (None, None, False, None, "HELD", 80),
    ]
    assert shown["own"] == [mine]


async def test_why_counts_those_before_and_names_them_as_the_site_says(tmp_path: Path) -> None:
    for privacy, owners in (("open", [OWNER, OWNER]), ("anonymous", [None, None]), ("own", [])):
        async with a_world(tmp_path / privacy, privacy) as world:
            why = await world.api.asked(STRANGER, "GET", "/v1/tasks/5/why")
            assert (why["rank"], why["ahead_total"]) == (2, 2)
            assert [one["owner"] for one in why["ahead"]] == owners


async def test_an_operator_sees_all_but_neither_programs_nor_results(tmp_path: Path) -> None:
    async with a_world(tmp_path, "own") as world:
        task, hash_ = world.hers["task"], world.hers["hash"]
        assert (await world.api.asked(OPERATOR, "GET", f"/v1/tasks/{task}"))["owner"] == OWNER
        session = await world.api.asked(OPERATOR, "GET", f"/v1/sessions/{world.hers['session']}")
        assert session["owner"] == OWNER
        assert ACCOUNT in json.dumps(await world.api.asked(OPERATOR, "GET", "/v1/shares"))
        assert ACCOUNT in json.dumps(await world.api.asked(OPERATOR, "GET", "/v1/windows"))
        for path in (f"/v1/tasks/{task}/result", f"/v1/programs/{hash_}"):
            assert (await world.api.ask(OPERATOR, "GET", path))[0] == 404
