"""What a site file may say about a QPU of kind `simulated-qpu`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from qpu_executor.errors import ConfigError
from qpu_executor.nearest import did_you_mean
from qpu_executor.qpus.emulator_backends import Backend
from qpu_executor.qpus.emulator_settings import AUTO, EmulatorSettings
from qpu_executor.qpus.simulated_calibration import SimulatedCalibration
from qpu_executor.qpus.simulated_downtime import Breakdowns, Downtime, PlannedClosing
from qpu_executor.qpus.simulated_faults import NO_FAULTS, ChunkFaults
from qpu_executor.qpus.simulated_noise import SimulatedNoise
from qpu_executor.qpus.simulated_timing import ShotTiming
from qpu_executor.qpus.simulated_troubles import (
    MODELS,
    FaultSettings,
    LoadingSettings,
    NoiseSettings,
    Part,
    Seconds,
)

Overhead = Annotated[float, Field(ge=0, le=1e5, allow_inf_nan=False)]
Merit = Annotated[float, Field(ge=0, le=1)]


_ONE_EMULATOR = {"backend": Backend.QUTIP.value}
"""A machine's results name all that made them, so its emulator is known from the start."""


class _Closed(Part):
    after_s: Annotated[float, Field(ge=0, le=1e9)]
    length_s: Seconds
    every_s: Seconds | None = None
    reason: Annotated[str, Field(min_length=1, max_length=200)] = "maintenance"

    @model_validator(mode="after")
    def _opens_again(self) -> Self:
        if self.every_s is not None and self.every_s <= self.length_s:
            raise ValueError("every_s must be longer than length_s, or it never opens")
        return self


class _Breakdowns(Part):
    mean_between_s: Seconds
    repair_s: Seconds


class _Calibration(Part):
    by: Literal["device", "manager"] = "device"
    every_s: Seconds | tuple[Seconds, Seconds]
    length_s: Seconds | tuple[Seconds, Seconds]
    quality: Merit | tuple[Merit, Merit] = (0.95, 0.99)

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        for key in ("every_s", "length_s", "quality"):
            span = getattr(self, key)
            if isinstance(span, tuple) and span[0] > span[1]:
                raise ValueError(f"{key}: the first of the two must be the smaller")
        return self


class _Simulated(Part):
    """The keys beyond those of an emulator."""

    shot_rate_hz: Annotated[float, Field(ge=0.01, le=1000)] = 1.0
    jitter: Annotated[float, Field(ge=0, lt=1)] = 0.0
    setup_s: Overhead = 0.0
    switch_s: Overhead = 0.0
    layout_s: Overhead = 0.0
    partial_results: bool = False
    memory: Literal["file", "none"] = "none"
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    closed: tuple[_Closed, ...] = ()
    breakdowns: _Breakdowns | None = None
    calibration: _Calibration | None = None
    loading: LoadingSettings | None = None
    noise: NoiseSettings = NoiseSettings()
    faults: FaultSettings = FaultSettings()

    @model_validator(mode="after")
    def _one_quality(self) -> Self:
        plan = self.calibration
        if plan and "quality" in plan.model_fields_set and self.noise.noise(self.seed):
            raise ValueError(
                "calibration.quality and noise together: with noise, the quality is measured"
            )
        return self


@dataclass(frozen=True, slots=True)
class SimulatedSettings:
    """Settings of a simulated QPU, read and checked.

    `emulator`: where the counts come from. `partial_results`: a stopped chunk gives
    the shots that it took. `remembers`: chunks and calibrations survive the manager's
    process, in a file. `noise`: None for counts without any. `chunk_faults`: of single chunks.
    """

    emulator: EmulatorSettings
    timing: ShotTiming
    downtime: Downtime
    calibration: SimulatedCalibration | None = None
    partial_results: bool = False
    remembers: bool = False
    noise: SimulatedNoise | None = None
    chunk_faults: ChunkFaults = NO_FAULTS

    @classmethod
    def read(cls, name: str, given: Mapping[str, Any]) -> SimulatedSettings:
        """Settings of QPU `name`. Raises ConfigError with the key and what it must be."""
        of_emulator = {one.name for one in fields(EmulatorSettings)}
        emulator = {key: value for key, value in given.items() if key in of_emulator}
        if emulator.get("backend") == AUTO:
            raise ConfigError(
                "a simulated QPU has one emulator",
                where=f"qpus.{name}.backend",
                expected=f"one of {', '.join(one.value for one in Backend)}",
            )
        rest = {str(key): value for key, value in given.items() if key not in of_emulator}
        try:
            # One chunk at a time, so one simulation at a time is all that is waited for.
            found = _Simulated.model_validate(rest)
        except ValidationError as error:
            raise _wrong(name, error, [*of_emulator, *_Simulated.model_fields]) from None
        _keep_noise_with_qutip(name, found, emulator)
        return cls(
            emulator=EmulatorSettings.read(name, {"workers": 1, **_ONE_EMULATOR, **emulator}),
            timing=ShotTiming(
                found.shot_rate_hz,
                found.jitter,
                found.setup_s,
                found.switch_s,
                found.layout_s,
                found.seed,
                None if found.loading is None else found.loading.loading(found.seed),
            ),
            downtime=_downtime(found),
            calibration=_calibration(found),
            partial_results=found.partial_results,
            remembers=found.memory == "file",
            noise=found.noise.noise(found.seed),
            chunk_faults=found.faults.chunk_faults(found.seed),
        )


def _keep_noise_with_qutip(name: str, found: _Simulated, emulator: Mapping[str, Any]) -> None:
    backend = emulator.get("backend", Backend.QUTIP.value)
    if backend != Backend.QUTIP.value and found.noise.noise(found.seed) is not None:
        raise ConfigError(
            f"{backend} here has no noise",
            where=f"qpus.{name}.backend",
            expected=f"{Backend.QUTIP.value}, or noise: none",
        )


def _downtime(found: _Simulated) -> Downtime:
    breakdowns = found.breakdowns
    return Downtime(
        [
            PlannedClosing(one.after_s, one.length_s, one.every_s, one.reason)
            for one in found.closed
        ],
        None
        if breakdowns is None
        else Breakdowns(breakdowns.mean_between_s, breakdowns.repair_s, found.seed),
        [one.source(found.seed) for one in found.faults.outages()],
    )


def _calibration(found: _Simulated) -> SimulatedCalibration | None:
    plan = found.calibration
    if plan is None:
        return None
    return SimulatedCalibration(
        plan.by, _span(plan.every_s), _span(plan.length_s), _span(plan.quality), found.seed
    )


def _span(value: float | tuple[float, float]) -> tuple[float, float]:
    return value if isinstance(value, tuple) else (value, value)


def _wrong(name: str, error: ValidationError, known: list[str]) -> ConfigError:
    """The first mistake; the file is read again after it was mended."""
    first = error.errors()[0]
    path = _path(first["loc"], unknown_key=first["type"] == "extra_forbidden")
    where = ".".join(("qpus", name, *map(str, path)))
    if first["type"] == "extra_forbidden":
        key = str(path[-1])
        near = did_you_mean(key, known) if len(path) == 1 else ""
        return ConfigError(f"unknown setting {key!r}{near}", where=where)
    if first["type"] == "missing":
        return ConfigError("this setting is missing", where=where)
    return ConfigError(
        f"{first['input']!r} is no value for this setting",
        where=where,
        expected=first["msg"].removeprefix("Value error, "),
    )


def _path(location: tuple[int | str, ...], *, unknown_key: bool) -> list[int | str]:
    """Where in the file: without the names of the types that pydantic tried on the way."""
    models: tuple[type[BaseModel], ...] = (_Simulated, _Closed, _Breakdowns, _Calibration, *MODELS)
    keys = {key for model in models for key in model.model_fields}
    if unknown_key:
        keys.add(str(location[-1]))
    return [part for part in location if isinstance(part, int) or part in keys]
