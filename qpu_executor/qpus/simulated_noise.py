"""The counts of a simulated QPU that drifts: simulated once per program and cell of drift.

A chunk's shots are drawn from the QPU as it was when the chunk began. So counts are
the same for the same seed, program and deviations, but not for another time of day.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, Protocol, TypeVar

from qpu_executor.programs.program import Program
from qpu_executor.qpus.sampling import Distribution
from qpu_executor.qpus.shared_runs import SharedRuns
from qpu_executor.qpus.simulated_drift import Deviations, DriftRates, of_cell
from qpu_executor.qpus.simulating_noise import Fluctuations, misread, simulate_noisy

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class SimulatedNoise:
    """`check_every_s`: how often, counted from a calibration, the QPU measures its quality."""

    fluctuations: Fluctuations
    drift: DriftRates
    check_every_s: float = 600.0


class EmulationWorkers(Protocol):
    """Where simulations run (`Emulation`). `device_json` is known once it is open."""

    device_json: str

    async def in_worker(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a function; raises what it raises."""


class NoisySource(Protocol):
    """Counts of a QPU that is off its settings."""

    async def prepare(self, program: Program, deviations: Deviations) -> Distribution:
        """The program's distribution. Raises ProgramError, or whatever goes wrong."""

    async def draw(
        self,
        distribution: Distribution,
        deviations: Deviations,
        *,
        seed: int,
        first_shot: int,
        shots: int,
    ) -> Counter[str]:
        """Counts of these shots, as they are read out."""


class NoisyShots:
    """`max_atoms`, `cache_mb`: as in `EmulatorSettings`."""

    def __init__(
        self,
        workers: EmulationWorkers,
        fluctuations: Fluctuations,
        *,
        max_atoms: int,
        cache_mb: int,
    ) -> None:
        self._workers = workers
        self._fluctuations = fluctuations
        self._max_atoms = max_atoms
        self._distributions: SharedRuns[Distribution] = SharedRuns(
            max_weight=cache_mb << 20, weigh=lambda one: one.size
        )

    async def prepare(self, program: Program, deviations: Deviations) -> Distribution:
        """See `NoisySource`. Deviations of one cell share a simulation."""
        cell = deviations.cell
        return await self._distributions.get(
            f"{program.hash}/{cell[0]}/{cell[1]}", lambda: self._simulated(program, cell)
        )

    async def draw(
        self,
        distribution: Distribution,
        deviations: Deviations,
        *,
        seed: int,
        first_shot: int,
        shots: int,
    ) -> Counter[str]:
        """See `NoisySource`."""
        return await asyncio.to_thread(
            misread,
            distribution,
            seed=seed,
            first_shot=first_shot,
            shots=shots,
            p_false_pos=deviations.p_false_pos,
            p_false_neg=deviations.p_false_neg,
        )

    async def _simulated(self, program: Program, cell: tuple[int, int]) -> Distribution:
        return await self._workers.in_worker(
            simulate_noisy,
            program,
            self._workers.device_json,
            self._max_atoms,
            self._fluctuations,
            of_cell(cell),
        )
