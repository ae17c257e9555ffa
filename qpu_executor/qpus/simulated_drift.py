"""How far a simulated QPU is off its settings, the longer its last calibration is ago.

Pure: the same seed, epoch and age give the same deviations, in whatever order they are
asked for. Each is a trend in proportion to the age plus a seeded random walk, and each
begins anew with every calibration.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import accumulate
from math import pi, sin, sqrt

STEP_S = 600.0
"""The random walks take a step this often, and are straight in between."""

_MOST_STEPS = 10_000
"""Ten weeks; a machine that nobody calibrates for longer stays as it is by then."""

_CHECK_RABI = 2 * pi
"""rad/us: of the pulse that the quality is told with, of half a microsecond."""

_DETUNING_CELL = 0.05
"""rad/us. Half a cell changes the check's probability by less than 1e-4 near resonance, and by
about a thousandth at 1 rad/us.
"""
_AMPLITUDE_CELL = 0.005
"""Of the amplitude: half a cell changes it by less than 1e-4 near the right one, and by less
than 0.004 anywhere.
"""


@dataclass(frozen=True, slots=True)
class Deviations:
    """What a QPU is off by at some moment.

    `detuning`: of its Rydberg laser, rad/us, on top of the program's. `amplitude`: factor
    of every pulse's. `p_false_pos`, `p_false_neg`: how likely an atom in state 0 is read
    as 1, and one in state 1 as 0 (Pulser's names; epsilon and epsilon prime elsewhere).
    """

    detuning: float = 0.0
    amplitude: float = 1.0
    p_false_pos: float = 0.0
    p_false_neg: float = 0.0

    @property
    def quality(self) -> float:
        """The mean success of two checks of one atom, 0 to 1: left alone it is to be read as
        0; after a resonant pi pulse of 0.5 us, as 1 (Rabi's formula for the pulse as it is).
        """
        driven = self.amplitude * _CHECK_RABI
        rabi = sqrt(driven**2 + self.detuning**2)
        excited = (driven / rabi) ** 2 * sin(rabi * 0.25) ** 2
        read_as_1 = excited * (1 - self.p_false_neg) + (1 - excited) * self.p_false_pos
        return ((1 - self.p_false_pos) + read_as_1) / 2

    @property
    def cell(self) -> tuple[int, int]:
        """Programs are simulated once per cell of detuning and amplitude: see `of_cell`."""
        return (
            round(self.detuning / _DETUNING_CELL),
            round((self.amplitude - 1) / _AMPLITUDE_CELL),
        )


def of_cell(cell: tuple[int, int]) -> tuple[float, float]:
    """Detuning (rad/us) and amplitude (a factor) in the middle of a cell."""
    return cell[0] * _DETUNING_CELL, 1 + cell[1] * _AMPLITUDE_CELL


@dataclass(frozen=True, slots=True)
class DriftRates:
    """`*_per_h`: change in an hour. `*_walk`: standard deviation of the random walk after an
    hour (it grows with the square root of the age).

    Detuning in rad/us, amplitude as a part of it (its trend is downwards), readout as a
    probability, on top of `p_false_pos` and `p_false_neg`, those of a fresh calibration.
    """

    detuning_per_h: float = 0.0
    detuning_walk: float = 0.0
    amplitude_per_h: float = 0.0
    amplitude_walk: float = 0.0
    p_false_pos: float = 0.0
    p_false_neg: float = 0.0
    readout_per_h: float = 0.0
    readout_walk: float = 0.0


class CalibrationDrift:
    """`seed`: of the random walks."""

    def __init__(self, rates: DriftRates, seed: int) -> None:
        self._rates = rates
        self._seed = seed
        self._walks: dict[tuple[int, str], tuple[float, ...]] = {}

    def at(self, epoch: int, age_s: float) -> Deviations:
        """What the machine is off by, so long after the calibration that began an epoch.

        Kept within what a machine still works with: detuning 10 rad/us, amplitude a half to
        one and a half, readout errors from their fresh value to a half.
        """
        rates, hours = self._rates, max(0.0, age_s) / 3600
        walked = {
            what: scale * self._walk(epoch, what, age_s) if scale else 0.0
            for what, scale in (
                ("detuning", rates.detuning_walk),
                ("amplitude", rates.amplitude_walk),
                ("readout", rates.readout_walk),
            )
        }
        misread = max(0.0, rates.readout_per_h * hours + walked["readout"])
        return Deviations(
            detuning=_within(rates.detuning_per_h * hours + walked["detuning"], -10.0, 10.0),
            amplitude=_within(1 - rates.amplitude_per_h * hours + walked["amplitude"], 0.5, 1.5),
            p_false_pos=min(0.5, rates.p_false_pos + misread),
            p_false_neg=min(0.5, rates.p_false_neg + misread),
        )

    def _walk(self, epoch: int, what: str, age_s: float) -> float:
        """A walk from 0 of unit standard deviation after an hour."""
        steps = min(age_s / STEP_S, _MOST_STEPS - 1)
        before = int(steps)
        places = self._walks.get((epoch, what), ())
        if len(places) < before + 2:
            places = self._places(epoch, what, before + 2)
        return places[before] + (steps - before) * (places[before + 1] - places[before])

    def _places(self, epoch: int, what: str, least: int) -> tuple[float, ...]:
        """At least so many places of a walk; those of other epochs are forgotten."""
        # Rounded up to powers of two, so that a walk is made a few times, not at every step.
        number = 1 << max(6, least.bit_length())
        draw = random.Random(f"{self._seed}/drift/{what}/{epoch}").gauss  # noqa: S311
        scale = sqrt(STEP_S / 3600)
        places = tuple(accumulate((draw(0.0, scale) for _ in range(number)), initial=0.0))
        self._walks = {key: kept for key, kept in self._walks.items() if key[0] == epoch}
        self._walks[epoch, what] = places
        return places


def _within(value: float, least: float, most: float) -> float:
    return min(max(value, least), most)
