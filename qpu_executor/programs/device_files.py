"""Devices as text: reading what a manager gives, and finding what differs between two."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from qpu_executor.errors import ConfigError
from qpu_executor.programs.pulser_extra import import_pulser, pulser_advice_silenced
from qpu_executor.programs.refusals import one_sentence

MAX_DEPTH = 32
"""Deeper nesting than any device has."""

_SAYS_NOTHING = frozenset({"version", "pulser_version", "$schema"})
"""Members of a device's text that change with the Pulser that wrote it, not with the device."""


def read_devices(texts: Mapping[str, str | None]) -> dict[str, Any]:
    """Pulser's devices by name, from their abstract representations; None is left out.

    Raises ConfigError where Pulser isn't installed, or can't read one of them.
    """
    pulser = import_pulser()
    found = {}
    for name, text in texts.items():
        if text is None:
            continue
        try:
            with pulser_advice_silenced():
                found[name] = pulser.abstract_repr.deserialize_device(text)
        except Exception as error:
            raise ConfigError(
                f"the Pulser here ({pulser.__version__}) can't read the device of QPU {name}: "
                f"{one_sentence(error.__cause__ or error)}",
                where=f"QPU {name}",
                next_step="install the manager's version of Pulser (qpu doctor shows it)",
            ) from None
    return found


def device_in(text: str, where: str) -> Mapping[str, Any]:
    """The device in a file's text: a device's own, or the one of a sequence.

    Both in Pulser's abstract representation. `where` names the file in errors. Raises
    ConfigError for anything else.
    """
    expected = "what Device.to_abstract_repr() or Sequence.to_abstract_repr() gives"
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise ConfigError("this is no JSON", where=where, expected=expected) from None
    device = found.get("device", found) if isinstance(found, dict) else None
    if not (isinstance(device, dict) and isinstance(device.get("name"), str)):
        raise ConfigError("there is no device in it", where=where, expected=expected)
    return device


def read_device_file(path: Path) -> Mapping[str, Any]:
    """The device in a file. Raises ConfigError."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"can't be read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError:
        raise ConfigError("is not a text file", where=str(path), expected="JSON") from None
    return device_in(text, str(path))


def differences(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """What differs between two devices, one line each: `member: mine here, theirs there`.

    A member that one of them leaves out is at Pulser's default there, so that it counts
    only where the other says something that isn't null, false or empty.
    """
    return list(_differences(mine, theirs, "", MAX_DEPTH))


def _differences(mine: Any, theirs: Any, place: str, depth: int) -> Iterator[str]:
    if mine == theirs or depth == 0 or _both_say_nothing(mine, theirs):
        return
    if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
        for key in dict.fromkeys([*mine, *theirs]):
            if key not in _SAYS_NOTHING:
                inner = f"{place}.{key}" if place else str(key)
                yield from _differences(mine.get(key), theirs.get(key), inner, depth - 1)
        return
    by_id = _by_id(mine), _by_id(theirs)
    if by_id[0] is not None and by_id[1] is not None:
        yield from _differences(by_id[0], by_id[1], place, depth - 1)
        return
    yield f"{place}: {_short(mine)} here, {_short(theirs)} there"


def _both_say_nothing(mine: Any, theirs: Any) -> bool:
    return not mine and not theirs and (mine is None or theirs is None)


def _by_id(value: Any) -> Mapping[str, Any] | None:
    """A list of channels or the like, by the ids of its members; None for any other value."""
    if value is None:
        return {}
    if isinstance(value, list) and all(isinstance(one, Mapping) and "id" in one for one in value):
        return {str(one["id"]): one for one in value}
    return None


def _short(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
