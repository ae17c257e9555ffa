"""The counts of a simulated QPU's chunks: of the ideal device, or of the QPU as it was."""

from __future__ import annotations

from collections import Counter

from qpu_executor.qpus.emulating import FinalState
from qpu_executor.qpus.sampling import Distribution
from qpu_executor.qpus.shot_source import ShotSource
from qpu_executor.qpus.simulated_memory import SimulatedChunk
from qpu_executor.qpus.simulated_noise import NoisySource


class ChunkCounts:
    """`noisy`: for chunks that were begun with noise (None: there is none any more)."""

    def __init__(self, source: ShotSource, noisy: NoisySource | None) -> None:
        self._source = source
        self._noisy = noisy

    async def prepare(self, chunk: SimulatedChunk) -> FinalState:
        """What the shots are drawn from. Raises ProgramError, or whatever goes wrong."""
        if self._noisy is None or chunk.deviations is None:
            return await self._source.prepare(chunk.program)
        return await self._noisy.prepare(chunk.program, chunk.deviations)

    async def draw(self, state: FinalState, chunk: SimulatedChunk, shots: int) -> Counter[str]:
        """The counts of the chunk's first `shots` shots."""
        seed, first = chunk.seed, chunk.first_shot
        if self._noisy is None or chunk.deviations is None:
            return await self._source.draw(state, seed=seed, first_shot=first, shots=shots)
        assert isinstance(state, Distribution), "what noise is put into is a distribution"
        return await self._noisy.draw(
            state, chunk.deviations, seed=seed, first_shot=first, shots=shots
        )
