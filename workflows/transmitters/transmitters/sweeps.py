"""The step `adiabatic_sweep`: the quantum program.

All atoms start in the ground state, which is the answer to the wrong question:
with a negative detuning no excitation pays. The drive is switched on, the
detuning swept to where every excitation pays that breaks no blockade, and the
drive switched off. The slower, the closer the atoms stay to the state of lowest
energy, which at the end is a largest independent set.
"""

from __future__ import annotations

from typing import Any

import pulser
from pulser.waveforms import ConstantWaveform, RampWaveform

from .device import CHANNEL, DEVICE, limits

RISE = 0.15
"""Part of the duration in which the drive is switched on, and again off."""


def adiabatic_sweep(graph: dict[str, Any], duration_ns: int) -> Any:
    """Build the sweep for a graph: a `pulser.Sequence` for the real device's specification.

    Args:
        graph: what the step `graph` returned.
        duration_ns: length of the whole program; rounded down to the device's clock.

    Raises:
        ValueError: a duration that the device can't do.
    """
    rules = limits()
    shortest = 100 * rules.clock_period_ns
    if type(duration_ns) is not int or not shortest <= duration_ns <= rules.max_duration_ns:
        raise ValueError(
            f"duration_ns must be a whole number from {shortest} to {rules.max_duration_ns} ns on "
            f"{rules.device}, not {duration_ns!r}"
        )
    total = _on_clock(duration_ns, rules.clock_period_ns)
    rise = _on_clock(RISE * total, rules.clock_period_ns)
    rabi, detuning = graph["rabi"], graph["detuning"]
    sequence = pulser.Sequence(_register(graph), DEVICE)
    sequence.declare_channel("drive", CHANNEL)
    pulses = (
        (RampWaveform(rise, 0.0, rabi), ConstantWaveform(rise, -detuning)),
        (
            ConstantWaveform(total - 2 * rise, rabi),
            RampWaveform(total - 2 * rise, -detuning, detuning),
        ),
        (RampWaveform(rise, rabi, 0.0), ConstantWaveform(rise, detuning)),
    )
    for amplitude, offset in pulses:
        sequence.add(pulser.Pulse(amplitude, offset, 0.0), "drive")
    sequence.measure("ground-rydberg")
    return sequence


def _register(graph: dict[str, Any]) -> pulser.Register:
    """One atom per airport, named by its code, on traps that the device accepts."""
    atoms = {a["code"]: (a["x_um"], a["y_um"]) for a in graph["airports"]}
    return pulser.Register(atoms).with_automatic_layout(DEVICE)


def _on_clock(duration_ns: float, period_ns: int) -> int:
    return int(duration_ns // period_ns) * period_ns
