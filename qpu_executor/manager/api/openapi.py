"""The OpenAPI document, so complete that a stranger can write a client from it.

FastAPI derives paths, parameters and schemas from the routes. Added here is what holds
for all of them: who is asking (security schemes), problem documents as the body of every
error, examples (`examples.json`), a sentence for every member of an enum. A route says by
`may_answer` which errors it has besides those that any route can have.
"""

from __future__ import annotations

import ast
import copy
import inspect
import json
import textwrap
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from qpu_executor.manager.api.warden import shapes
from qpu_executor.model import sessions, states
from qpu_executor.wire.site import EventOut

Document = dict[str, Any]
"""A JSON object."""

PROBLEM = "application/problem+json"
EVENTS = "text/event-stream"

_MEANING = {
    400: "the request isn't right, or the site doesn't take it",
    401: "nobody knows who is asking, or the proof of it is wrong",
    403: "the caller may not do this",
    404: "there is no such task, session or program, or it isn't the caller's",
    405: "the path has no such method",
    408: "the request took too long to arrive",
    410: "the task's result has expired; its number and key are kept",
    409: "the state of the task, or an idempotency key, doesn't allow this",
    413: "the body is larger than the site takes",
    422: "the program can't be run",
    429: "the caller has too many requests under way; Retry-After says when to come back",
    500: "the site is set up wrongly, or the manager made a mistake",
    503: "the manager can't take this now; Retry-After says when to come back",
}
"""Every status of an error, and what it says."""

ANYWHERE = (400, 401, 429, 500, 503)
"""What any route may answer; those with a body also 413."""

SCHEMES: dict[str, Document] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token of `qpu token issue`: `authorization: Bearer qpu_...`.",
    },
    "munge": {
        "type": "http",
        "scheme": "MUNGE",
        "description": "A MUNGE credential of the cluster, a new one for every request: "
        "`authorization: MUNGE MUNGE:...:`.",
    },
    "munge_header": {
        "type": "apiKey",
        "in": "header",
        "name": "x-munge-cred",
        "description": "The same credential as the clients of Warden send it.",
    },
}
"""Proofs that go into headers. On the unix socket and on loopback none is needed where the
site takes `peer`: the kernel says who is at the other end of the connection.
"""

_BY_NAME = {"Bearer": ("bearer",), "MUNGE": ("munge", "munge_header")}


def may_answer(*statuses: int) -> dict[int | str, Document]:
    """A route's own errors, for its `responses`."""
    return {status: {"description": _MEANING[status]} for status in statuses}


def install(app: FastAPI, schemes: tuple[str | None, ...]) -> None:
    """Let an app describe itself completely.

    `schemes`: of the site's authenticators, None for one that looks at the connection.
    """

    def document() -> Document:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, schemes)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # as FastAPI's documentation has it


def _document(app: FastAPI, schemes: tuple[str | None, ...]) -> Document:
    found = get_openapi(
        title=app.title,
        version=app.version,
        summary="Quantum tasks on a shared QPU",
        description=app.description,
        routes=app.routes,
    )
    found["servers"] = [{"url": "/", "description": "the manager that this document is from"}]
    components = found["components"]
    _add_events(components["schemas"])
    for one in ("HTTPValidationError", "ValidationError"):  # ours are problem documents
        components["schemas"].pop(one, None)
    _describe_enums(components["schemas"])
    components["securitySchemes"] = copy.deepcopy(SCHEMES)
    security = _security(schemes)
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            _complete(operation, f"{method.upper()} {path}", security)
    return found


def _security(schemes: tuple[str | None, ...]) -> list[dict[str, list[str]]]:
    """Any one of these will do; `{}`: nothing in the headers."""
    found: list[dict[str, list[str]]] = []
    for scheme in schemes:
        names = _BY_NAME.get(scheme, ()) if scheme is not None else ()
        found += [{name: []} for name in names] if scheme is not None else [{}]
    return found or [{}]


def _complete(operation: Document, name: str, security: list[dict[str, list[str]]]) -> None:
    text = operation.get("description", "")
    operation["summary"] = text.partition("\n")[0].partition(". ")[0].strip(".")
    operation.setdefault("security", security)
    responses = operation["responses"]
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    if "HTTPValidationError" in json.dumps(responses.get("422", {})):
        del responses["422"]  # FastAPI's own; a request that isn't valid gets a 400
    wanted = {*ANYWHERE, *((413,) if "requestBody" in operation else ())}
    if "{" in name:
        wanted.add(404)
    for status in sorted(wanted | {int(one) for one in responses if int(one) >= 400}):
        answer = responses.setdefault(str(status), {"description": _MEANING[status]})
        answer["content"] = {PROBLEM: {**problem, "example": _example_problem(status)}}
        if status in (429, 503):
            answer["headers"] = {"Retry-After": _RETRY_AFTER}
        if status == 401:
            answer["headers"] = {"WWW-Authenticate": _CHALLENGE}
    operation["responses"] = dict(sorted(responses.items()))
    _add_examples(operation, examples().get(name, {}))


_RETRY_AFTER = {"description": "whole seconds", "schema": {"type": "string"}}
_CHALLENGE = {"description": "the schemes that are taken", "schema": {"type": "string"}}


def _example_problem(status: int) -> Document:
    found: Document = examples()["problems"][str(status)]
    return found


def _add_examples(operation: Document, found: Document) -> None:
    if "request" in found:
        content = operation["requestBody"]["content"]["application/json"]
        content.setdefault("example", found["request"])
    for parameter in operation.get("parameters", ()):
        if parameter["name"] in found.get("parameters", {}):
            parameter.setdefault("example", found["parameters"][parameter["name"]])
    if "response" in found:
        for content in operation["responses"]["200"]["content"].values():
            content.setdefault("example", found["response"])


@cache
def examples() -> Document:
    """Examples by `METHOD /path`: `parameters`, `request` and `response`; and of `problems`."""
    file = resources.files("qpu_executor.manager.api").joinpath("examples.json")
    found: Document = json.loads(file.read_text("utf-8"))
    return found


def _add_events(schemas: Document) -> None:
    """What stands after `data:` in the event stream."""
    schema = EventOut.model_json_schema(ref_template="#/components/schemas/{model}")
    for name, one in schema.pop("$defs", {}).items():
        schemas.setdefault(name, one)
    schemas["EventOut"] = schema


def _describe_enums(schemas: Document) -> None:
    """Give every enum's schema the sentences about its members."""
    for module in (states, sessions, shapes):
        for name, kind in vars(module).items():
            if not (inspect.isclass(kind) and issubclass(kind, StrEnum)) or name not in schemas:
                continue
            said = member_docs(kind)
            lines = [f"- `{one.value}`: {said[one.name]}" for one in kind if one.name in said]
            first = (inspect.getdoc(kind) or "").partition(". ")[0].strip(".")
            schemas[name]["description"] = "\n".join([f"{first}.", "", *lines])


def member_docs(kind: type[StrEnum]) -> dict[str, str]:
    """The sentence under each member of an enum, by the member's name."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for one, after in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(one, ast.Assign)
            and isinstance(one.targets[0], ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            found[one.targets[0].id] = " ".join(str(after.value.value).split())
    return found
