"""From a QPU's part of the site file to its adapter's settings, with the key in every refusal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from qpu_executor.errors import ConfigError
from qpu_executor.nearest import did_you_mean


class AdapterSettings(BaseModel):
    """Base of adapters' settings: unknown keys are errors, and so are NaN and infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


S = TypeVar("S", bound=AdapterSettings)


def read_settings(model: type[S], name: str, given: Mapping[str, Any]) -> S:
    """Settings of QPU `name`. Raises ConfigError with the key and what it must be.

    The first mistake only: the file is read again after it was mended.
    """
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
    where = ".".join(("qpus", name, *map(str, first["loc"])))
    if first["type"] == "extra_forbidden":
        key = str(first["loc"][-1])
        near = did_you_mean(key, model.model_fields) if len(first["loc"]) == 1 else ""
        raise ConfigError(
            f"unknown setting {key!r}{near}",
            where=where,
            expected=f"one of {', '.join(model.model_fields)}",
        )
    if first["type"] == "missing":
        raise ConfigError("this setting is missing", where=where)
    said = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        raise ConfigError(said, where=where)
    # Text isn't repeated: it may be a secret in the wrong place.
    shown = repr(first["input"]) if isinstance(first["input"], int | float) else "this"
    raise ConfigError(f"{shown} is no value for this setting", where=where, expected=said)
