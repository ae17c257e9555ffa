"""What fails on a simulated QPU without a plan: single chunks, the laser, the vacuum.

Pure: what happens follows from the seed, and for a chunk from its id.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from qpu_executor.model.values import ChunkId
from qpu_executor.qpus.simulated_downtime import Breakdowns


@dataclass(frozen=True, slots=True)
class ChunkFaults:
    """`probability`: of one chunk to fail; its shots are lost, and a chunk with another id
    may do better.
    """

    probability: float = 0.0
    seed: int = 0

    def fails_after(self, chunk: ChunkId) -> float | None:
        """The part of the chunk's time after which it fails, 0 to 1; None: it doesn't."""
        if not self.probability:
            return None
        draw = random.Random(f"{self.seed}/fault/{chunk}").random  # noqa: S311
        return draw() if draw() < self.probability else None


@dataclass(frozen=True, slots=True)
class Outages:
    """One kind of outage: `mean_between_s` of work on average, then `repair_s` (an evenly
    spread draw between the two). `reason`: in words.
    """

    mean_between_s: float
    repair_s: tuple[float, float]
    reason: str

    def source(self, seed: int) -> Breakdowns:
        """When they happen."""
        return Breakdowns(self.mean_between_s, self.repair_s, seed, self.reason)


NO_FAULTS = ChunkFaults()
LASER = "a laser lost its lock"
VACUUM = "the vacuum failed"
