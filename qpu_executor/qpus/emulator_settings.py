"""What a site file may say about a QPU of kind `pulser-emulator`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from qpu_executor.errors import ConfigError
from qpu_executor.nearest import did_you_mean


def default_workers() -> int:
    """One worker per processor that this process may use, one of them left free."""
    return max(1, len(os.sched_getaffinity(0)) - 1)


@dataclass(frozen=True, slots=True)
class EmulatorSettings:
    """Settings of a Pulser emulator.

    `device`: name of a Pulser device, or path of a JSON file; `device_overrides`:
    its fields that are to differ. `workers`: simulations at once, each in a
    process. `max_atoms`: limit of the emulator itself (memory and time double
    with each). `cache_mb`: for distributions already simulated.
    """

    device: str = "AnalogDevice"
    device_overrides: Mapping[str, Any] = field(default_factory=dict)
    workers: int = field(default_factory=default_workers)
    max_atoms: int = 14
    cache_mb: int = 64

    @classmethod
    def read(cls, name: str, given: Mapping[str, Any]) -> EmulatorSettings:
        """Settings of QPU `name`. Raises ConfigError with the key and what it must be."""
        known = [one.name for one in fields(cls)]
        for key in given:
            if key not in known:
                raise ConfigError(
                    f"unknown setting {key!r}{did_you_mean(str(key), known)}",
                    where=_where(name, str(key)),
                    expected=f"one of {', '.join(known)}",
                )
        settings = cls(**given)
        settings._refuse_nonsense(name)
        return settings

    def _refuse_nonsense(self, name: str) -> None:
        device: object = self.device
        if not isinstance(device, str) or not device:
            raise _wrong(name, "device", device, "a device's name, or a path")
        overrides: object = self.device_overrides
        if not isinstance(overrides, Mapping):
            raise _wrong(name, "device_overrides", overrides, "fields of the device")
        for key in ("workers", "max_atoms", "cache_mb"):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise _wrong(name, key, value, "a whole number of at least 1")


def _where(name: str, key: str) -> str:
    return f"qpus.{name}.{key}"


def _wrong(name: str, key: str, value: object, expected: str) -> ConfigError:
    return ConfigError(
        f"{value!r} is no value for {key!r}", where=_where(name, key), expected=expected
    )
