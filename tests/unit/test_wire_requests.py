"""No number that JSON can write, and no unknown name, slips through a request."""

from __future__ import annotations

import importlib
import json
import math
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

import qpu_executor.wire
from qpu_executor.client.order import TaskOrder, to_request
from qpu_executor.client.session_terms import SessionTerms, session_request
from qpu_executor.errors import RequestRefused
from qpu_executor.programs.program import Program
from qpu_executor.wire.tasks import Request, TaskRequest

NOT_FINITE = (math.nan, math.inf, -math.inf)


def all_requests() -> list[type[Request]]:
    for module in pkgutil.iter_modules(qpu_executor.wire.__path__, "qpu_executor.wire."):
        importlib.import_module(module.name)
    found: dict[str, type[Request]] = {}
    left: list[type[Request]] = [Request]
    while left:
        for one in left.pop().__subclasses__():
            if one.__module__.startswith("qpu_executor.wire."):
                found[one.__name__] = one
                left.append(one)
    return [found[name] for name in sorted(found)]


def schemas(schema: dict[str, Any], root: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A JSON schema and all that it may be instead or holds, references followed."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    yield schema
    below = [*schema.get("anyOf", ()), *schema.get("allOf", ())]
    if isinstance(schema.get("additionalProperties"), dict):
        below.append(schema["additionalProperties"])
    for one in below:
        yield from schemas(one, root)


def number_fields() -> list[tuple[type[Request], str]]:
    found = []
    for model in all_requests():
        root = model.model_json_schema()
        for name, schema in root.get("properties", {}).items():
            kinds = {one.get("type") for one in schemas(schema, root)}
            if kinds & {"number", "integer"}:
                found.append((model, name))
    return found


FIELDS = number_fields()


def wrapped(model: type[BaseModel], field: str, number: float) -> Any:
    """The number as the field takes numbers: alone, or as a mapping's value."""
    schema = model.model_json_schema()
    kinds = {one.get("type") for one in schemas(schema["properties"][field], schema)}
    return number if "object" not in kinds else {"ZZ": number}


def errors_at(model: type[BaseModel], body: Any, field: str) -> list[str]:
    try:
        TypeAdapter(model).validate_json(json.dumps(body))
    except ValidationError as invalid:
        return [one["msg"] for one in invalid.errors() if one["loc"][:1] == (field,)]
    return []


def test_the_fields_are_found() -> None:
    found = {(model.__name__, field) for model, field in FIELDS}
    assert found >= {
        ("TaskRequest", "time_limit_s"),
        ("TaskRequest", "shots"),
        ("StopWhen", "observable"),
        ("NeedsIn", "min_sequence_s"),
        ("WindowRequest", "length_s"),
        ("TokenRequest", "valid_s"),
        ("SessionRequest", "ends_in_s"),
        ("KeepWarmRequest", "linger_s"),
    }


@pytest.mark.parametrize("number", NOT_FINITE, ids=str)
@pytest.mark.parametrize(("model", "field"), FIELDS, ids=lambda one: getattr(one, "__name__", one))
def test_what_is_no_finite_number_is_refused_by_its_field(
    model: type[Request], field: str, number: float
) -> None:
    assert errors_at(model, {field: wrapped(model, field, number)}, field)


@pytest.mark.parametrize("model", all_requests(), ids=lambda one: one.__name__)
def test_unknown_name_is_refused_in_every_request(model: type[Request]) -> None:
    for _, inner in [("", model), *nested(model)]:
        with pytest.raises(ValidationError, match="extra_forbidden"):
            inner.model_validate({"no_such_name": 1})


def nested(model: type[BaseModel]) -> list[tuple[str, type[BaseModel]]]:
    """Models in the fields of a model."""
    found: list[tuple[str, type[BaseModel]]] = []
    for name, field in model.model_fields.items():
        left: list[Any] = [field.annotation]
        while left:
            one = left.pop()
            left += getattr(one, "__args__", ())
            if isinstance(one, type) and issubclass(one, BaseModel):
                found.append((name, one))
    return found


def test_models_in_requests_are_seen() -> None:
    assert {"depends_on", "require", "stop_when", "program"} <= {
        name for name, _ in nested(TaskRequest)
    }


@pytest.mark.parametrize("number", [*NOT_FINITE, 1e300], ids=str)
@pytest.mark.parametrize("field", ["time_limit_s", "shot_s", "max_calibration_age_s", "path_s"])
def test_order_refuses_the_same_before_it_is_sent(field: str, number: float) -> None:
    order = TaskOrder(Program("opaque", "x"), 10, **{field: number})  # type: ignore[arg-type]
    with pytest.raises(RequestRefused, match=f"{field}=") as caught:
        to_request(order, None)
    assert "Value error" not in str(caught.value)
    assert caught.value.expected


@pytest.mark.parametrize("number", NOT_FINITE, ids=str)
@pytest.mark.parametrize("field", ["ends_in_s", "think_s", "linger_s", "run_s"])
def test_session_terms_refuse_them_too(field: str, number: float) -> None:
    with pytest.raises(RequestRefused, match=f"{field}="):
        session_request(SessionTerms(**{field: number}), "", "k", None)  # type: ignore[arg-type]
