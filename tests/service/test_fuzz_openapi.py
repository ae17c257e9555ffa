"""The manager against requests that schemathesis makes from its own OpenAPI document.

As an operator and as a user: no answer is a 5xx, and each is one that the document
describes (status, media type, headers, schema). Names and numbers in the requests are now
and then real ones. The requests are the same in every run.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.testing.sequences import small_sequence
from qpu_executor.wire.tokens import TokenRequest

SITE = """
manager:
  listen: {listen}
  store: store.sqlite
  authentication: [peer, token]
accounts:
  physics: {{shares: 3}}
default_class: development
job_classes:
  development: {{priority: 100, chunk_s: 10, max_queued: 20}}
qpus:
  fresnel:
    kind: simulated-qpu
    device: AnalogDevice
    shot_rate_hz: 1000
    calibration: {{by: manager, every_s: 86400, length_s: 0.2, quality: [0.95, 0.99]}}
    keep_warm: {{max_linger_s: 60, max_run_s: 3600}}
"""

SEED = 20261122
EXAMPLES = int(os.environ.get("QPU_EXECUTOR_FUZZ", "16"))
"""Requests per route and role, half of them meant to be right and half to be wrong."""

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
ENDLESS = "/v1/events"
"""Its answers have no end: see test_overload.py and test_openapi_document.py."""


@pytest.fixture(scope="module")
def fuzzed(make_shared: Callable[..., Any]) -> Any:
    return make_shared(listen="http://127.0.0.1:0", site=SITE)


@pytest.fixture(scope="module")
def document(fuzzed: Any) -> Any:
    """The manager's own document, with a bias to what really is there."""
    program = to_program(small_sequence())
    with fuzzed.connect() as client:
        session = client.open_session("somebody's", key="s")
        done = client.submit(program, 10, session=session.id)
        done.result(timeout=120)
        held = client.submit(program, 10, held=True)
    found = requests.get(f"{fuzzed.url}/openapi.json", timeout=60).json()
    del found["paths"][ENDLESS]
    real: dict[str, list[Any]] = {
        **{one: [done.id, held.id] for one in ("task_id", "task")},
        **{one: [session.id] for one in ("session_id", "session")},
        **{one: ["fresnel"] for one in ("name", "qpu")},
        "ids": [str(done.id), f"{done.id},{held.id}"],
        "state": ["QUEUED,HELD"],
        "program_hash": [program.hash],
        "kind": [program.kind],
        "content": [program.content],
        "job_class": ["development"],
    }
    schemas = found["components"]["schemas"]
    for one in ("TaskRequest", "ProgramIn", "KeepWarmRequest", "DependencyIn"):
        for name, schema in schemas[one]["properties"].items():
            if name in real and name != "name":
                prefer(schema, real[name])
    schemas["TaskIds"]["properties"]["ids"]["items"] = {"enum": [done.id, held.id, 4711]}
    for methods in found["paths"].values():
        for operation in methods.values():
            for one in operation.get("parameters", ()):
                if one["name"] in real:
                    prefer(one["schema"], real[one["name"]])
    return found


def prefer(schema: dict[str, Any], values: list[Any]) -> None:
    """Let a schema also, and often, be one of these values."""
    before = dict(schema)
    schema.clear()
    schema["anyOf"] = [{"enum": values}, before]


def operations(document: Any, url: str) -> Iterator[Any]:
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=url)
    for found in schema.get_all_operations():
        yield found.ok()


@pytest.mark.parametrize("role", ["operator", "user"])
def test_no_request_of_the_fuzzer_makes_the_manager_err(
    fuzzed: Any, document: Any, role: str
) -> None:
    wanted = TokenRequest() if role == "user" else TokenRequest(roles=["operator"])
    with fuzzed.connect() as client:
        headers = {"Authorization": f"Bearer {client.issue_token(wanted).token}"}
    answered: Counter[int] = Counter()
    print(f"seed {SEED}, {EXAMPLES} requests per route")  # noqa: T201
    with requests.Session() as http:

        def ask(case: Any) -> None:
            answer = case.call(headers=headers, session=http, timeout=60)
            answered[answer.status_code] += 1
            case.validate_response(answer, checks=CHECKS, headers=headers)

        for operation in operations(document, fuzzed.url):
            _run(ask, operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
            with contextlib.suppress(Unsatisfiable):  # nothing in it can be wrong
                _run(ask, operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    assert answered[200] > 2 * EXAMPLES, answered
    assert answered[400] > 5 * EXAMPLES, answered
    assert (answered[403] > 2 * EXAMPLES) == (role == "user"), answered
    assert "Traceback" not in fuzzed.log
    with fuzzed.connect() as client:  # the fuzzer may have closed the QPU, for years
        assert client.submit(to_program(small_sequence()), 10, held=True).info.state == "HELD"


def _run(ask: Callable[[Any], None], cases: Any) -> None:
    """Ask with so many cases; a failure is shown with the smallest case that has it."""
    test = hypothesis.given(case=cases)(ask)
    test = hypothesis.settings(
        max_examples=EXAMPLES // 2,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )(test)
    hypothesis.seed(SEED)(test)()
