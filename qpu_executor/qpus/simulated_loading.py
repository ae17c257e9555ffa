"""Loading the atoms of a register: every shot needs all of them. Pure.

Atoms are caught by chance and moved into their places; one that is lost on the way
leaves a hole, and then the register is loaded once more. So large registers take
longer per shot than small ones.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from math import log

from qpu_executor.model.values import ChunkId


@dataclass(frozen=True, slots=True)
class RegisterLoading:
    """`atom_success`: how likely one atom is in its place, so that a register of n atoms is
    full with `atom_success` to the power of n. `retry_s`: seconds for each further attempt
    (the first one is part of a shot's time). `most_retries`: then the chunk fails.
    `atoms`: of a usual register, for the shot rate that is told beforehand.
    """

    retry_s: float
    atom_success: float = 1.0
    most_retries: int = 20
    atoms: int = 10
    seed: int = 0

    def retries_of(self, chunk: ChunkId, shots: int, atoms: int) -> tuple[tuple[int, ...], bool]:
        """Further attempts before each shot, and whether all registers came to be full.

        If not, the last number is that of the shot for which it was given up.
        """
        full = self._full(atoms)
        if full >= 1.0:
            return (0,) * shots, True
        draw = random.Random(f"{self.seed}/loading/{chunk}").random  # noqa: S311
        found: list[int] = []
        most = self.most_retries
        for _ in range(shots):
            # Failures before the first success, by the inverse of their distribution.
            retries = int(log(1.0 - draw()) / log(1.0 - full)) if full > 0 else most + 1
            found.append(min(retries, most))
            if retries > most:
                return tuple(found), False
        return tuple(found), True

    @property
    def mean_s(self) -> float:
        """Seconds that a shot of a usual register loses on average."""
        failed = 1.0 - self._full(self.atoms)
        most = self.most_retries
        # The sum of failed^k for k = 1 .. most: each attempt before it failed.
        return self.retry_s * sum(failed**k for k in range(1, most + 1))

    @property
    def longest_s(self) -> float:
        """Seconds that a shot loses at most."""
        return self.retry_s * self.most_retries if self.atom_success < 1 else 0.0

    def _full(self, atoms: int) -> float:
        return self.atom_success**atoms
