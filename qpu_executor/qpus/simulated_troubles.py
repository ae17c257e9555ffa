"""What a site file may say about what goes wrong on a simulated QPU: `noise`, `faults`.

Each is a preset, or a mapping of its own keys on top of one. The presets are made up, to be
in a plausible order of magnitude. `loading` has no preset.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from qpu_executor.qpus.simulated_drift import DriftRates
from qpu_executor.qpus.simulated_faults import LASER, VACUUM, ChunkFaults, Outages
from qpu_executor.qpus.simulated_loading import RegisterLoading
from qpu_executor.qpus.simulated_noise import SimulatedNoise
from qpu_executor.qpus.simulating_noise import Fluctuations

Seconds = Annotated[float, Field(gt=0, le=1e8, allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]
Chance = Annotated[float, Field(ge=0, le=0.5)]
Preset = Literal["none", "gentle", "rough"]

_NOISE: Mapping[str, Mapping[str, float]] = {
    "none": {},
    "gentle": {
        "temperature": 20.0,
        "amp_sigma": 0.01,
        "detuning_sigma": 0.05,
        "p_false_pos": 0.01,
        "p_false_neg": 0.03,
        "detuning_per_h": 0.15,
        "detuning_walk": 0.1,
        "amplitude_per_h": 0.01,
        "amplitude_walk": 0.005,
        "readout_per_h": 0.003,
        "readout_walk": 0.001,
    },
    "rough": {
        "temperature": 50.0,
        "amp_sigma": 0.05,
        "detuning_sigma": 0.2,
        "p_false_pos": 0.03,
        "p_false_neg": 0.08,
        "detuning_per_h": 0.8,
        "detuning_walk": 0.4,
        "amplitude_per_h": 0.04,
        "amplitude_walk": 0.02,
        "readout_per_h": 0.01,
        "readout_walk": 0.004,
    },
}
_FAULTS: Mapping[str, Mapping[str, Any]] = {
    "none": {},
    "gentle": {
        "chunk": 0.001,
        "laser": {"mean_between_s": 43_200.0, "repair_s": (120.0, 600.0)},
        "vacuum": {"mean_between_s": 2_592_000.0, "repair_s": (7200.0, 28_800.0)},
    },
    "rough": {
        "chunk": 0.02,
        "laser": {"mean_between_s": 7200.0, "repair_s": (120.0, 1800.0)},
        "vacuum": {"mean_between_s": 172_800.0, "repair_s": (7200.0, 28_800.0)},
    },
}


class Part(BaseModel):
    """A mapping of the site file: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Preset(Part):
    """A name stands for `{preset: name}`; other keys go before those of the preset."""

    preset: Preset = "none"


def _with_preset(given: Any, presets: Mapping[str, Mapping[str, Any]]) -> Any:
    if isinstance(given, str):
        given = {"preset": given}
    if not isinstance(given, Mapping):
        return given
    # What isn't a preset is refused for that afterwards, and not for what it lacks.
    name = given.get("preset", "none")
    return {**(presets.get(name, {}) if isinstance(name, str) else {}), **given}


class NoiseSettings(_Preset):
    """`noise`: units as in `Fluctuations` and `DriftRates`."""

    temperature: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)] = 0.0
    amp_sigma: Chance = 0.0
    detuning_sigma: Rate = 0.0
    laser_waist: Annotated[float, Field(gt=0, le=1e4, allow_inf_nan=False)] | None = None
    realisations: Annotated[int, Field(ge=1, le=1000)] = 8
    p_false_pos: Chance = 0.0
    p_false_neg: Chance = 0.0
    detuning_per_h: Annotated[float, Field(ge=-10, le=10)] = 0.0
    detuning_walk: Rate = 0.0
    amplitude_per_h: Annotated[float, Field(ge=-0.5, le=0.5)] = 0.0
    amplitude_walk: Chance = 0.0
    readout_per_h: Chance = 0.0
    readout_walk: Chance = 0.0
    check_every_s: Annotated[float, Field(ge=1, le=1e6)] = 600.0

    @model_validator(mode="before")
    @classmethod
    def _preset_first(cls, given: Any) -> Any:
        return _with_preset(given, _NOISE)

    def noise(self, seed: int) -> SimulatedNoise | None:
        """None where nothing is off."""
        fluctuations = Fluctuations(
            temperature=self.temperature,
            amp_sigma=self.amp_sigma,
            detuning_sigma=self.detuning_sigma,
            laser_waist=self.laser_waist,
            realisations=self.realisations,
            seed=seed,
        )
        rates = DriftRates(**{key: getattr(self, key) for key in DriftRates.__slots__})
        if not fluctuations.model and rates == DriftRates():
            return None
        return SimulatedNoise(fluctuations, rates, self.check_every_s)


class _Outages(Part):
    mean_between_s: Seconds
    repair_s: Seconds | tuple[Seconds, Seconds]

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if isinstance(self.repair_s, tuple) and self.repair_s[0] > self.repair_s[1]:
            raise ValueError("repair_s: the first of the two must be the smaller")
        return self

    def outages(self, reason: str) -> Outages:
        span = self.repair_s if isinstance(self.repair_s, tuple) else (self.repair_s, self.repair_s)
        return Outages(self.mean_between_s, span, reason)


class FaultSettings(_Preset):
    """`faults`: `chunk` is the probability of one chunk to fail."""

    chunk: Annotated[float, Field(ge=0, le=1)] = 0.0
    laser: _Outages | None = None
    vacuum: _Outages | None = None

    @model_validator(mode="before")
    @classmethod
    def _preset_first(cls, given: Any) -> Any:
        return _with_preset(given, _FAULTS)

    def chunk_faults(self, seed: int) -> ChunkFaults:
        """Of single chunks."""
        return ChunkFaults(self.chunk, seed)

    def outages(self) -> list[Outages]:
        """Of the whole QPU."""
        kinds = ((self.laser, LASER), (self.vacuum, VACUUM))
        return [one.outages(reason) for one, reason in kinds if one is not None]


class LoadingSettings(Part):
    """`loading`: see `RegisterLoading`."""

    retry_s: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]
    atom_success: Annotated[float, Field(gt=0, le=1)]
    most_retries: Annotated[int, Field(ge=0, le=10_000)] = 20
    atoms: Annotated[int, Field(ge=1, le=10_000)] = 10

    def loading(self, seed: int) -> RegisterLoading:
        """As a law."""
        return RegisterLoading(self.retry_s, self.atom_success, self.most_retries, self.atoms, seed)


MODELS: tuple[type[BaseModel], ...] = (NoiseSettings, _Outages, FaultSettings, LoadingSettings)
"""Whose keys may stand in a path of the site file."""
