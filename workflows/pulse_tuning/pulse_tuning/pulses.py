"""The pulse that is tuned: a sweep with three free numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulser
from pulser.waveforms import BlackmanWaveform, RampWaveform

from .problem import DEVICE

CHANNEL = "rydberg_global"
NAMES = ("area", "detuning_start", "detuning_end")
START = (0.9, 0.9, 0.9)
"""Where the loop begins: a strong pulse that starts on resonance, and sweeps nothing."""


def to_physical(unit: Sequence[float]) -> dict[str, float]:
    """From numbers in 0..1 to a pulse: `area` in rad, detunings in rad/us.

    What lies outside 0..1 is taken as the nearest end.
    """
    area, low, high = (min(max(float(x), 0.0), 1.0) for x in unit)
    return {
        "area": 0.5 + 11.5 * area,
        "detuning_start": -18.0 + 20.0 * low,
        "detuning_end": -2.0 + 20.0 * high,
    }


def sweep(graph: dict[str, Any], duration_ns: int, pulse: dict[str, float]) -> Any:
    """Build the Pulser sequence of a pulse on the graph's atoms.

    Raises:
        ValueError: a duration that the device can't do.
    """
    longest = DEVICE.max_sequence_duration or 0
    if type(duration_ns) is not int or not 400 <= duration_ns <= longest:
        raise ValueError(
            f"duration_ns must be a whole number from 400 to {longest} on {DEVICE.name}, "
            f"not {duration_ns!r}"
        )
    channel = DEVICE.channels[CHANNEL]
    length = duration_ns // channel.clock_period * channel.clock_period
    area = min(pulse["area"], 0.999 * _largest_area(length, channel.max_amp or 0.0))
    register = pulser.Register(graph["atoms"]).with_automatic_layout(DEVICE)
    sequence = pulser.Sequence(register, DEVICE)
    sequence.declare_channel("drive", CHANNEL)
    sequence.add(
        pulser.Pulse(
            BlackmanWaveform(length, area),
            RampWaveform(length, pulse["detuning_start"], pulse["detuning_end"]),
            0.0,
        ),
        "drive",
    )
    sequence.measure("ground-rydberg")
    return sequence


def _largest_area(length: int, strongest: float) -> float:
    """The area at which a Blackman pulse of this length reaches the strongest drive."""
    peak = float(max(BlackmanWaveform(length, 1.0).samples))
    return strongest / peak
