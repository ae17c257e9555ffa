"""The devices that a site can name: Pulser's own by name, any other by file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qpu_executor.errors import ConfigError
from qpu_executor.nearest import did_you_mean
from qpu_executor.programs.pulser_extra import import_pulser, pulser_advice_silenced
from qpu_executor.programs.refusals import one_sentence


def device_json(device: str, overrides: Mapping[str, Any] | None = None) -> str:
    """A device's abstract representation (JSON text).

    `device`: a name such as "AnalogDevice", or the path of a JSON file (ends in
    `.json`) that holds a device's abstract representation. `overrides`: fields
    of the device that are to differ ("max_runs", say).

    Raises ConfigError for an unknown name or field, or a file that holds no device.
    """
    pulser = import_pulser()
    with pulser_advice_silenced():
        found = _from_file(pulser, Path(device)) if _is_path(device) else _named(pulser, device)
        text: str = _overridden(found, overrides or {}).to_abstract_repr()
    return text


def _is_path(device: str) -> bool:
    return device.endswith(".json") or "/" in device


def _named(pulser: Any, name: str) -> Any:
    base = pulser.devices._device_datacls.BaseDevice
    known = {
        key: one
        for key in pulser.devices.__all__
        if isinstance(one := vars(pulser.devices)[key], base)
    }
    if name not in known:
        raise ConfigError(
            f"there is no device {name!r}{did_you_mean(name, known)}",
            where="device",
            expected=f"one of {', '.join(sorted(known))}, or the path of a .json file",
        )
    return known[name]


def _from_file(pulser: Any, path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"the device file can't be read: {reason}", where=str(path)) from None
    try:
        return pulser.abstract_repr.deserialize_device(text)
    except Exception as error:
        raise ConfigError(
            f"the file holds no device: {one_sentence(error.__cause__ or error)}",
            where=str(path),
            expected="what Device.to_abstract_repr() gives",
        ) from None


def _overridden(device: Any, overrides: Mapping[str, Any]) -> Any:
    known = [field.name for field in dataclasses.fields(device) if field.init]
    for key in overrides:
        if key not in known:
            raise ConfigError(
                f"a device has no field {key!r}{did_you_mean(key, known)}",
                where=f"device overrides of {device.name}",
            )
    try:
        return dataclasses.replace(device, **overrides) if overrides else device
    except Exception as error:
        raise ConfigError(one_sentence(error), where=f"device overrides of {device.name}") from None
