"""From a YAML mapping to a pydantic model, with every error at its file, line and key."""

from __future__ import annotations

import re
import types
import typing
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from qpu_executor.documents.problems import KeyPath, Problems, suggestion

Model = TypeVar("Model", bound=BaseModel)


def build(model: type[Model], raw: dict[str, Any], problems: Problems) -> Model | None:
    """The validated model; None, with the problems noted, where it isn't valid."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        for one in error.errors():
            path = tuple(one["loc"])
            if one["type"] == "extra_forbidden":
                known = _fields_at(model, path[:-1])
                problems.add(path, f"unknown key{suggestion(str(path[-1]), known)}")
            elif one["type"] == "missing":
                problems.add(path[:-1], f"'{path[-1]}' is missing")
            else:
                problems.add(
                    path, f"{_short(one['input'])} is not allowed; {one['msg']}{_meant(one)}"
                )
    return None


def _meant(error: ErrorDetails) -> str:
    """The nearest of the allowed words, where only some words are allowed."""
    if error["type"] != "literal_error":
        return ""
    return suggestion(str(error["input"]), re.findall(r"'([^']*)'", error["ctx"]["expected"]))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _fields_at(model: type[BaseModel], path: KeyPath) -> list[str]:
    """Names of the fields that are allowed at a key path below a model."""
    kind: Any = model
    for part in path:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found = kind.model_fields.get(str(part))
            kind = None if found is None else _plain(found.annotation)
        else:
            arguments = typing.get_args(kind)
            kind = _plain(arguments[-1]) if arguments else None
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return list(kind.model_fields)
    return []


def _plain(kind: Any) -> Any:
    """`X` of `X | None`."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        rest = [one for one in typing.get_args(kind) if one is not type(None)]
        return rest[0] if len(rest) == 1 else kind
    return kind
