"""Inputs of a run: the file's defaults, and what `--set name=value` puts in their place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from qpu_executor.documents.problems import suggestion
from qpu_executor.documents.source import parse_value
from qpu_executor.errors import ConfigError


def parse_settings(settings: Iterable[str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs that `--set` options change, each with the type of its default.

    Raises ConfigError with every wrong one: no `=`, an unknown name, another type.
    """
    changed: dict[str, Any] = {}
    wrong: list[str] = []
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip()
        if not equals or not name:
            wrong.append(f"--set {setting}: expected name=value")
        elif name not in defaults:
            known = suggestion(name, defaults) or "; this pipeline has no inputs"
            wrong.append(f"--set {setting}: unknown input '{name}'{known}")
        else:
            try:
                changed[name] = _as_type_of(defaults[name], text)
            except ValueError as error:
                wrong.append(f"--set {setting}: {error}")
    if wrong:
        raise ConfigError("\n".join(wrong))
    return changed


_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "true or false"),
    (int, "a whole number"),
    (float, "a number"),
    (list, "a list such as [1, 2, 3]"),
    (dict, "a mapping such as {a: 1}"),
)


def _as_type_of(default: Any, text: str) -> Any:
    if isinstance(default, str):
        return text
    value = parse_value(text)
    if default is None:
        return value
    for kind, expected in _KINDS:
        if isinstance(default, kind):
            if kind is float and isinstance(value, int) and not isinstance(value, bool):
                return float(value)
            if isinstance(value, kind) and not (kind is not bool and isinstance(value, bool)):
                return value
            raise ValueError(f"'{text}' is not allowed; expected {expected}, as in {default!r}")
    return value
