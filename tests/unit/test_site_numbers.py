"""No number of a site file may be NaN or infinite, wherever it stands."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from qpu_executor.farm.config import FarmConfig
from qpu_executor.settings import SiteSettings


def models_in(kind: Any, seen: set[Any]) -> Iterator[type[BaseModel]]:
    """A model and all those in its fields, however deep."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if kind in seen:
            return
        seen.add(kind)
        yield kind
        for field in kind.model_fields.values():
            yield from models_in(field.annotation, seen)
    for one in getattr(kind, "__args__", ()):
        yield from models_in(one, seen)


def mentions_float(kind: Any) -> bool:
    return kind is float or any(mentions_float(one) for one in getattr(kind, "__args__", ()))


FIELDS = [
    (model, name)
    for top in (SiteSettings, FarmConfig)
    for model in models_in(top, set())
    for name, field in model.model_fields.items()
    if mentions_float(field.annotation)
]


def test_the_fields_are_found() -> None:
    found = {(model.__name__, name) for model, name in FIELDS}
    assert found >= {("JobClassSettings", "chunk_s"), ("ManagerSettings", "health_every_s")}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize(("model", "name"), FIELDS, ids=lambda one: getattr(one, "__name__", one))
def test_what_is_no_finite_number_is_refused_by_its_key(
    model: type[BaseModel], name: str, number: float
) -> None:
    key = model.model_fields[name].alias or name
    for value in (number, {"a": number}, [number, number]):
        with pytest.raises(ValidationError) as caught:
            model.model_validate({key: value})
        assert key in {one["loc"][0] for one in caught.value.errors() if one["loc"]}
