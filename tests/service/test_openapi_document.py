"""The OpenAPI document: nothing is missing, its examples work, and a client needs no more."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import pytest

from qpu_executor.manager.api.app import create_app
from qpu_executor.manager.api.openapi import ANYWHERE, PROBLEM, SCHEMES
from qpu_executor.manager.auth.authentication import Authentication
from qpu_executor.manager.auth.munge import MungeAuthenticator
from qpu_executor.manager.auth.peer import PeerAuthenticator
from qpu_executor.manager.auth.roles import Roles

SITE = """
manager:
  listen: {listen}
  store: store.sqlite
  authentication: [peer, token]
accounts:
  physics: {{shares: 3}}
default_class: development
job_classes:
  production: {{priority: 300, chunk_s: 30}}
  development: {{priority: 100, chunk_s: 10, max_shots: 5000}}
qpus:
  fresnel:
    kind: simulated-qpu
    device: AnalogDevice
    shot_rate_hz: 1000
    calibration: {{by: manager, every_s: 86400, length_s: 0.2, quality: [0.95, 0.99]}}
    keep_warm: {{max_linger_s: 60, max_run_s: 3600}}
"""


@pytest.fixture(scope="module")
def document() -> Any:
    proofs = Authentication([PeerAuthenticator(), MungeAuthenticator(None)], Roles())
    return create_app(None, proofs, embedded=False).openapi()  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def live(make_shared: Callable[..., Any]) -> Any:
    return make_shared(listen="http://127.0.0.1:0", site=SITE)


def operations(document: Any) -> Iterator[tuple[str, Any]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_every_route_is_described_completely(document: Any) -> None:
    lacking = []
    for name, one in operations(document):
        lacking += [f"{name}: {what}" for what in missing(name, one)]
    assert lacking == []


def missing(name: str, one: Any) -> Iterator[str]:
    """What a description of a route lacks."""
    for key in ("summary", "description", "tags", "security", "operationId"):
        if not one.get(key):
            yield key
    for parameter in one.get("parameters", ()):
        if not parameter.get("description"):
            yield f"description of {parameter['name']}"
    expected = {str(status) for status in ANYWHERE} | {"200"}
    if "requestBody" in one:
        expected.add("413")
        if "example" not in one["requestBody"]["content"]["application/json"]:
            yield "example of the request"
    if "{" in name:
        expected.add("404")
    if "operators" in one.get("tags", ()):
        expected.add("403")
    yield from sorted(expected - set(one["responses"]))
    for status, answer in one["responses"].items():
        if not answer.get("description"):
            yield f"description of {status}"
        if int(status) >= 400 and list(answer["content"]) != [PROBLEM]:
            yield f"problem document of {status}"
        for content in answer["content"].values():
            if "example" not in content:
                yield f"example of {status}"
            if content.get("schema", {}) == {}:
                yield f"schema of {status}"
        if status in ("429", "503") and "Retry-After" not in answer["headers"]:
            yield f"Retry-After of {status}"


def test_every_schema_is_described_and_every_member_of_an_enum(document: Any) -> None:
    for name, schema in document["components"]["schemas"].items():
        assert schema.get("description"), name
        for member in schema.get("enum", ()):
            assert f"`{member}`: " in schema["description"], (name, member)


def test_every_proof_is_declared_and_those_that_the_site_takes_are_on_every_route(
    document: Any,
) -> None:
    assert set(document["components"]["securitySchemes"]) == set(SCHEMES)
    for name, one in operations(document):
        assert one["security"] == [{"munge": []}, {"munge_header": []}, {}], name


def test_every_example_is_one(document: Any) -> None:
    checked = 0
    for name, one in operations(document):
        parts = list(one["responses"].values())
        if "requestBody" in one:
            parts.append(one["requestBody"])
        for content in (content for part in parts for content in part["content"].values()):
            check(content["example"], content["schema"], document, name)
            checked += 1
        for parameter in one.get("parameters", ()):
            if "example" in parameter:
                check(parameter["example"], parameter["schema"], document, name)
                checked += 1
    assert checked > 250


def check(value: Any, schema: Any, document: Any, name: str) -> None:
    whole = {**schema, "components": document["components"]}
    problems = list(jsonschema.Draft202012Validator(whole).iter_errors(value))
    assert problems == [], (name, problems[0].message)


def test_events_in_the_example_are_as_their_schema_says(document: Any) -> None:
    content = document["paths"]["/v1/events"]["get"]["responses"]["200"]["content"]
    (stream,) = content.values()
    assert list(content) == ["text/event-stream"]
    data = [line[6:] for line in stream["example"].splitlines() if line.startswith("data: ")]
    kinds = set()
    for one in map(json.loads, data):
        check(one, stream["x-data-schema"], document, "GET /v1/events")
        kinds.add(one["type"])
    assert kinds == {"hello", "task", "progress"}


SETTLED = "POST /v1/tasks/{task_id}/settle"
"""Needs a chunk that is UNKNOWN."""
LAST = ("close", "cancel", "DELETE", "drain", "resume", "revoke")
"""What puts an end to something comes after what needs it, in this order."""


def test_every_example_of_a_request_is_taken_by_a_manager(live: Any) -> None:
    document = call(live.url, "GET", "/openapi.json")
    ids = real_ids(live.url, document)
    sent = 0
    for name, one in sorted(operations(document), key=lambda pair: order(pair[0])):
        if name == "GET /v1/events":
            continue
        method, _, path = name.partition(" ")
        headers = {}
        for parameter in one.get("parameters", ()):
            if parameter["in"] == "path":
                value = ids.get(parameter["name"], parameter.get("example"))
                path = path.replace(f"{{{parameter['name']}}}", str(value))
            elif parameter["name"] == "x-warden-session":
                headers["x-warden-session"] = ids["session_id"]
            elif parameter.get("required") and parameter["name"] != "ids":
                path += f"?{parameter['name']}={parameter['example']}"
        body = one.get("requestBody", {}).get("content", {}).get("application/json", {})
        example = body.get("example")
        if example is not None and "ids" in example:
            example = {"ids": [ids["held"] if "requeue" in name else ids["task_id"]]}
        if "ids" in {parameter["name"] for parameter in one.get("parameters", ())}:
            path += f"?ids={ids['task_id']}"
        try:
            call(live.url, method, path.replace(" ", "%20"), example, **headers)
        except urllib.error.HTTPError as refusal:
            problem = json.load(refusal)
            assert name == SETTLED, (name, problem)
            assert problem["code"] == "unknown-task"
        sent += 1
    assert sent > 30


def order(name: str) -> tuple[int, str]:
    found = [i for i, word in enumerate(LAST) if word in name]
    return (found[0] + 1 if found else 0, name)


def real_ids(url: str, document: Any) -> dict[str, Any]:
    """What stands in paths: of a task that is over, a session, a program, a token."""

    def example(path: str) -> Any:
        body = document["paths"][path]["post"]["requestBody"]
        return body["content"]["application/json"]["example"]

    task = call(url, "POST", "/v1/tasks", example("/v1/tasks"))["items"][0]["task"]
    while call(url, "GET", f"/v1/tasks/{task['id']}")["state"] != "COMPLETED":
        time.sleep(0.02)  # it goes on by itself; the test's own limit ends this
    held = {"program_hash": task["program_hash"], "shots": 5, "held": True}
    kept = call(url, "POST", "/v1/tasks", {"tasks": [held]})["items"][0]["task"]
    return {
        "task_id": task["id"],
        "held": kept["id"],
        "program_hash": task["program_hash"],
        "session_id": call(url, "POST", "/v1/sessions", {"name": "s"})["id"],
        "token_id": call(url, "POST", "/v1/tokens", {})["about"]["id"],
        "job_id": task["id"],
        "name": "fresnel",
        "resource": "fresnel",
    }


def call(url: str, method: str, path: str, body: Any = None, **headers: str) -> Any:
    data = None if body is None else json.dumps(body).encode()
    if body is not None:
        headers["content-type"] = "application/json"
    asked = urllib.request.Request(url + path, data, headers, method=method)
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return json.load(answer)


class Stranger:
    """A client by somebody who knows the document and nothing else: routes by what they say."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._document = call(url, "GET", "/openapi.json")

    def operation(self, *words: str) -> tuple[str, str, Any]:
        """The one route whose summary has these words."""
        found = [
            (method.upper(), path, one)
            for path, methods in self._document["paths"].items()
            for method, one in methods.items()
            if all(word in one["summary"] for word in words)
        ]
        (only,) = found
        return only

    def example(self, *words: str) -> Any:
        """The example of that route's request."""
        return self.operation(*words)[2]["requestBody"]["content"]["application/json"]["example"]

    def ask(self, *words: str, body: Any = None, **values: Any) -> Any:
        """Call that route. `values`: of the parameters in its path."""
        method, path, one = self.operation(*words)
        for parameter in one.get("parameters", ()):
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", str(values[parameter["name"]]))
        return call(self._url, method, path, body)


def test_a_stranger_gets_counts_with_the_document_alone(live: Any) -> None:
    stranger = Stranger(live.url)
    wanted = stranger.example("Submit one or many tasks")
    wanted["tasks"][0]["shots"] = 50
    (item,) = stranger.ask("Submit one or many tasks", body=wanted)["items"]
    task = item["task"]
    while task["state"] in ("HELD", "QUEUED", "RUNNING"):
        task = stranger.ask("One task with its chunks", task_id=task["id"])
    result = stranger.ask("The result of a completed task", task_id=task["id"])
    assert sum(result["counts"].values()) == result["shots"] == 50
    assert {len(bits) for bits in result["counts"]} == {len(result["qubit_ids"])}
