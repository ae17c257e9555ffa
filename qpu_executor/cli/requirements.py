"""`qpu submit --require`: what a task's QPU has to have, as options say it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from qpu_executor.errors import ConfigError
from qpu_executor.nearest import did_you_mean

DeviceOption = Annotated[
    str | None, typer.Option("--device", help="Any QPU that is this device (`qpu info`).")
]
RequireOption = Annotated[
    list[str] | None,
    typer.Option(
        "--require",
        help="What its QPU has to have: hardware, emulator, min-qubits=50, dimensions=3, "
        "channel=rydberg_local, min-shot-rate=2, min-sequence=4e-6 (s). Repeatable.",
    ),
]

_NUMBERS = {
    "min-qubits": ("min_qubits", int),
    "dimensions": ("dimensions", int),
    "min-shot-rate": ("min_shot_rate_hz", float),
    "min-sequence": ("min_sequence_s", float),
}
_FLAGS = {"hardware": False, "emulator": True}
_KNOWN = (*_FLAGS, *(f"{name}=NUMBER" for name in _NUMBERS), "channel=ID")


def requirements(texts: Iterable[str] | None) -> dict[str, Any] | None:
    """The `require` of a TaskOrder; None where nothing is required. Raises ConfigError."""
    found: dict[str, Any] = {}
    for text in texts or ():
        for part in text.split(","):
            _add(found, part.strip())
    return found or None


def _add(found: dict[str, Any], part: str) -> None:
    name, equals, value = part.partition("=")
    if name in _FLAGS and not equals:
        found["emulated"] = _FLAGS[name]
    elif name == "channel" and value:
        found.setdefault("channels", []).append(value)
    elif name in _NUMBERS and value:
        key, number = _NUMBERS[name]
        try:
            found[key] = number(value)
        except ValueError:
            raise _unreadable(part, f"{name}=NUMBER") from None
    else:
        names = (*_FLAGS, *_NUMBERS, "channel")
        raise _unreadable(part, f"one of {', '.join(_KNOWN)}", did_you_mean(name, names))


def _unreadable(part: str, expected: str, hint: str = "") -> ConfigError:
    return ConfigError(f"{part!r} is no requirement{hint}", where="--require", expected=expected)
