"""Whatever number a caller sends, the manager answers, and goes on working."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import aiohttp

from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.testing.sequences import small_sequence

ODD = (float("nan"), float("inf"), -float("inf"), 1e308, -1e308, 10**40, -1, 0, 2**63, 1e-300)


def resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return resolved(root["components"]["schemas"][schema["$ref"].rpartition("/")[2]], root)
    return schema


def spots(schema: dict[str, Any], root: dict[str, Any], at: tuple[Any, ...] = ()) -> Iterator[Any]:
    """Where numbers stand in a body, as paths of keys; "0" stands for a list's first item."""
    schema = resolved(schema, root)
    if schema.get("type") in ("number", "integer"):
        yield at
    for one in schema.get("anyOf", ()):
        yield from spots(one, root, at)
    for name, one in schema.get("properties", {}).items():
        yield from spots(one, root, (*at, name))
    if isinstance(schema.get("items"), dict):
        yield from spots(schema["items"], root, (*at, 0))
    if isinstance(schema.get("additionalProperties"), dict):
        yield from spots(schema["additionalProperties"], root, (*at, "ZI"))


def put(body: Any, path: tuple[Any, ...], number: float) -> Any:
    """The body with the number at that place; lists and mappings on the way are made."""
    if not path:
        return number
    key, *rest = path
    if key == 0:
        first = body[0] if body else None
        return [put(first, tuple(rest), number)]
    return {**(body or {}), key: put((body or {}).get(key), tuple(rest), number)}


BODIES: dict[str, Any] = {
    "/v1/sessions": {},
    "/v1/qpus/{name}/windows": {"name": "w", "at": "12:00", "length_s": 60, "on": "2099-01-01"},
    "/v1/tokens": {},
}


async def test_every_number_of_every_request_is_answered(shared: Any) -> None:
    program = to_program(small_sequence())
    task = {"program": {"kind": program.kind, "content": program.content}, "shots": 2}
    bodies = {**BODIES, "/v1/tasks": {"tasks": [task]}, "/v1/estimate": task}
    connector = aiohttp.UnixConnector(shared.url.removeprefix("unix://"))
    asked = 0
    async with aiohttp.ClientSession("http://manager", connector=connector) as http:
        async with http.get("/openapi.json") as answer:
            root = await answer.json()
        for path, method, found in operations(root):
            for send in requests_of(path, found, root, bodies):
                async with http.request(method, **send) as answer:
                    said = await answer.text()
                    assert answer.status < 500, (method, send, said)
                    assert '"status":5' not in said, (method, send, said)
                    asked += 1
    assert asked > 300
    with shared.connect() as client:
        assert client.submit(program, 3).result(timeout=120).shots == 3
        for one in client.tasks():
            assert "mistake" not in (one.info.error or ""), one.info
    assert "Traceback" not in shared.log


def operations(root: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in root["paths"].items():
        for method, found in methods.items():
            if not path.endswith("/events"):  # these answers have no end
                yield path, method, found


def requests_of(
    path: str, found: dict[str, Any], root: dict[str, Any], bodies: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Requests that have one odd number each, in the path, the query or the body."""
    plain = path
    numbers = []
    for one in found.get("parameters", ()):
        kinds = {s.get("type") for s in (one["schema"], *one["schema"].get("anyOf", ()))}
        if one["in"] == "path" and "integer" not in kinds:
            plain = plain.replace(f"{{{one['name']}}}", "emulator")
        elif kinds & {"integer", "number"} or one["name"] == "ids":
            numbers.append(one)
    for one, odd in itertools.product(numbers, ODD):
        if one["in"] == "path":
            yield {"url": plain.replace(f"{{{one['name']}}}", str(odd))}
        else:
            yield {"url": plain, "params": {one["name"]: str(odd)}}
    content = found.get("requestBody", {}).get("content", {}).get("application/json")
    if content is not None:
        headers = {"Content-Type": "application/json"}
        for spot, odd in itertools.product(
            sorted(set(spots(content["schema"], root)), key=str), ODD
        ):
            body = put(bodies.get(path), spot, odd)
            if "stop_when" in spot:
                rule = {"min_shots": 1, "stderr": 0.1, "observable": {"ZI": 1.0}}
                cut = spot.index("stop_when") + 1
                body = put(body, spot[:cut], put(rule, spot[cut:], odd))  # type: ignore[arg-type]
            yield {"url": plain, "data": json.dumps(body), "headers": headers}
