"""What a site file may say about a QPU of kind `pulser-emulator`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from qpu_executor.errors import ConfigError
from qpu_executor.nearest import did_you_mean
from qpu_executor.qpus.emulator_backends import Backend
from qpu_executor.qpus.emulator_choice import EmulationLimits

AUTO = "auto"
BACKENDS = (AUTO, *(one.value for one in Backend))


def default_workers() -> int:
    """One worker per processor that this process may use, one of them left free."""
    return max(1, len(os.sched_getaffinity(0)) - 1)


def default_memory_mb(workers: int) -> int:
    """Three quarters of this host's memory, shared by the workers."""
    of_host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, of_host * 3 // 4 // workers >> 20)


@dataclass(frozen=True, slots=True)
class EmulatorSettings:
    """Settings of a Pulser emulator.

    `device`: name of a Pulser device, or path of a JSON file; `device_overrides`:
    its fields that are to differ. `workers`: simulations at once, each in a
    process. `max_atoms`: limit of the QPU, whatever the emulator (memory and time
    of the exact ones double with each). `cache_mb`: for states already simulated.

    `backend`: one of `BACKENDS`. `memory_mb` (None: `default_memory_mb`), `max_run_s`: of
    one emulation. `max_bond_dim`: of emu-mps. `threads`, `gpu`: of emu-sv and emu-mps.
    """

    device: str = "AnalogDevice"
    device_overrides: Mapping[str, Any] = field(default_factory=dict)
    workers: int = field(default_factory=default_workers)
    max_atoms: int = 14
    cache_mb: int = 64
    backend: str = AUTO
    memory_mb: int | None = None
    max_run_s: float = 3600.0
    max_bond_dim: int = 256
    threads: int = 1
    gpu: bool = False

    def limits(self, installed: frozenset[Backend]) -> EmulationLimits:
        """What one emulation may be, with these emulators at hand."""
        memory_mb = self.memory_mb or default_memory_mb(self.workers)
        return EmulationLimits(
            installed=installed,
            backend=None if self.backend == AUTO else Backend(self.backend),
            max_atoms=self.max_atoms,
            memory_bytes=float(memory_mb << 20),
            run_s=self.max_run_s,
            max_bond_dim=self.max_bond_dim,
            threads=self.threads,
            gpu=self.gpu,
        )

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
        for key in ("workers", "max_atoms", "cache_mb", "memory_mb", "max_bond_dim", "threads"):
            value = getattr(self, key)
            if key == "memory_mb" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise _wrong(name, key, value, "a whole number of at least 1")
        self._refuse_wrong_backend(name)

    def _refuse_wrong_backend(self, name: str) -> None:
        if self.backend not in BACKENDS:
            near = did_you_mean(str(self.backend), BACKENDS)
            raise _wrong(name, "backend", self.backend, f"one of {', '.join(BACKENDS)}{near}")
        run_s: object = self.max_run_s
        if isinstance(run_s, bool) or not isinstance(run_s, int | float) or not 0 < run_s < 1e9:
            raise _wrong(name, "max_run_s", run_s, "seconds, more than 0")
        gpu: object = self.gpu
        if not isinstance(gpu, bool):
            raise _wrong(name, "gpu", gpu, "true or false")


def _where(name: str, key: str) -> str:
    return f"qpus.{name}.{key}"


def _wrong(name: str, key: str, value: object, expected: str) -> ConfigError:
    return ConfigError(
        f"{value!r} is no value for {key!r}", where=_where(name, key), expected=expected
    )
