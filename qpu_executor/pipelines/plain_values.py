"""Any value as plain data for JSON: what people and other programs read of an answer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from datetime import date
from enum import Enum
from pathlib import PurePath
from typing import Any

_MAX_DEPTH = 50


def plain(value: Any, depth: int = 0) -> Any:
    """The value as mappings, lists, numbers, texts; what has no such form as its text.

    Numbers that JSON doesn't have (nan, inf) become null and their text.
    """
    if isinstance(value, Enum):
        return plain(value.value, depth)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    if depth > _MAX_DEPTH:
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {_key(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return [plain(item, depth + 1) for item in sorted(value, key=repr)]
    if isinstance(value, list | tuple):
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, PurePath | complex | bytes):
        return str(value)
    return _foreign(value, depth)


def _key(key: Any) -> str:
    return key if isinstance(key, str) else str(plain(key))


def _foreign(value: Any, depth: int) -> Any:
    for method in ("model_dump", "tolist"):  # pydantic models; numpy arrays and scalars
        convert = getattr(value, method, None)
        if callable(convert):
            return plain(convert(), depth + 1)
    return str(value)
