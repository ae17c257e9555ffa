"""Small Pulser sequences for tests: a few atoms, a fraction of a microsecond.

Needs Pulser; nothing else of the test kit does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulser

ASYMMETRIC: Mapping[str, tuple[float, float]] = {"a": (0.0, 0.0), "b": (6.0, 0.0), "c": (0.0, 9.0)}
"""Three atoms (um), no two of which have the same neighbours: mixed-up bits show."""


def small_sequence(
    device: Any = pulser.AnalogDevice,
    *,
    atoms: Mapping[str, tuple[float, float]] = ASYMMETRIC,
    duration_ns: int = 200,
    amplitude: float = 5.0,
    detuning: float = 1.0,
    layout: bool = True,
    measured: bool = True,
) -> Any:
    """A `pulser.Sequence` of one constant global Rydberg pulse (rad/us)."""
    register = pulser.Register(dict(atoms))
    if layout:
        register = register.with_automatic_layout(pulser.AnalogDevice)
    sequence = pulser.Sequence(register, device)
    sequence.declare_channel("ising", "rydberg_global")
    sequence.add(pulser.Pulse.ConstantPulse(duration_ns, amplitude, detuning, 0.0), "ising")
    if measured:
        sequence.measure("ground-rydberg")
    return sequence


def line(atoms: int, spacing_um: float = 6.0) -> dict[str, tuple[float, float]]:
    """Atoms `q0`, `q1`, ... in a row around the centre."""
    return {f"q{i}": (spacing_um * (i - (atoms - 1) / 2), 0.0) for i in range(atoms)}
