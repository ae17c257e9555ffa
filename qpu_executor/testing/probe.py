"""A program whose right result is known, and counts of it at once, for virtual clocks.

Needs Pulser and its emulator.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from qpu_executor.programs.devices import device_json
from qpu_executor.programs.program import Program
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.qpus.sampling import Distribution
from qpu_executor.qpus.simulated_drift import Deviations, of_cell
from qpu_executor.qpus.simulating_noise import Fluctuations, misread, simulate_noisy
from qpu_executor.testing.sequences import small_sequence


def pi_pulse() -> Program:
    """One atom and a resonant pi pulse of 0.5 us: an ideal device reads 1 in every shot.

    The pulse is that of `Deviations.quality`.
    """
    sequence = small_sequence(
        atoms={"q0": (0.0, 0.0)}, duration_ns=500, amplitude=2 * np.pi, detuning=0.0
    )
    return to_program(sequence)


class InlineNoise:
    """A `NoisySource` that works on the spot, in this process. `simulated`: how often."""

    def __init__(self, fluctuations: Fluctuations, device: str = "AnalogDevice") -> None:
        self.simulated = 0
        self._fluctuations = fluctuations
        self._device_json = device_json(device)
        self._known: dict[tuple[str, tuple[int, int]], Distribution] = {}

    async def prepare(self, program: Program, deviations: Deviations) -> Distribution:
        """Simulated once per program and cell."""
        key = (program.hash, deviations.cell)
        if key not in self._known:
            self.simulated += 1
            self._known[key] = simulate_noisy(
                program, self._device_json, 14, self._fluctuations, of_cell(deviations.cell)
            )
        return self._known[key]

    async def draw(
        self,
        distribution: Distribution,
        deviations: Deviations,
        *,
        seed: int,
        first_shot: int,
        shots: int,
    ) -> Counter[str]:
        """Counts of these shots."""
        return misread(
            distribution,
            seed=seed,
            first_shot=first_shot,
            shots=shots,
            p_false_pos=deviations.p_false_pos,
            p_false_neg=deviations.p_false_neg,
        )
