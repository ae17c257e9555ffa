"""The device that the atoms have to fit, and what its rules say.

Everything is read from Pulser's specification of a real machine, so that
another device is one line here.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulser

DEVICE = pulser.AnalogDevice
CHANNEL = "rydberg_global"

CLEARANCE = 1.004
"""Atoms keep this factor more than the least distance, so that coordinates rounded
to the nanometre still keep the rule."""


@dataclass(frozen=True)
class Limits:
    """What a register and a global pulse must respect. Lengths in um, rates in rad/us."""

    device: str
    max_atoms: int
    min_distance_um: float
    max_radius_um: float
    max_duration_ns: int
    clock_period_ns: int
    max_rabi: float
    max_detuning: float
    c6: float
    """Van der Waals coefficient, rad/us * um^6: two excited atoms at r interact with c6 / r^6."""

    @property
    def closest_um(self) -> float:
        """The least distance that registers are made with."""
        return self.min_distance_um * CLEARANCE

    @property
    def shortest_blockade_um(self) -> float:
        """The blockade radius at the strongest drive: no edge threshold can be below it."""
        return float((self.c6 / self.max_rabi) ** (1 / 6))


def limits() -> Limits:
    """Read the rules from the device."""
    channel = DEVICE.channels[CHANNEL]
    return Limits(
        device=DEVICE.name,
        max_atoms=DEVICE.max_atom_num,
        min_distance_um=float(DEVICE.min_atom_distance),
        max_radius_um=float(DEVICE.max_radial_distance),
        max_duration_ns=int(_known(DEVICE.max_sequence_duration)),
        clock_period_ns=int(channel.clock_period),
        max_rabi=float(_known(channel.max_amp)),
        max_detuning=float(_known(channel.max_abs_detuning)),
        c6=float(DEVICE.interaction_coeff),
    )


def _known(limit: float | None) -> float:
    """A limit that every real device states; a virtual one may not."""
    if limit is None:
        raise ValueError(f"{DEVICE.name} leaves a limit open that the register is made by")
    return limit
