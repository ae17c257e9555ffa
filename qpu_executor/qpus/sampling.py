"""Shots from a known distribution, each drawn from (seed, shot number) alone.

So the counts of a task are the same however it is cut into chunks, in whatever
order and on however many workers those run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_BLOCK = 1 << 18
KEYS = 1 << 128
"""A seed is taken modulo this: what Philox takes for a key."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """The exact probabilities of the bitstrings that a program can give.

    `bitstrings`: ASCII, `width` characters each, sorted, one after the other, or empty
    for all 2^width of them; `probabilities`: float64 array of shape (bitstrings,), as
    bytes. Bytes, since a distribution crosses a process boundary and is kept in numbers.
    `versions`: of what made it.
    """

    width: int
    bitstrings: bytes
    probabilities: bytes
    versions: tuple[tuple[str, str], ...] = ()

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return len(self.bitstrings) + len(self.probabilities)

    def as_dict(self) -> dict[str, float]:
        """Bitstring -> probability."""
        weights: npt.NDArray[np.float64] = np.frombuffer(self.probabilities)
        return {self._bitstring(i): float(weight) for i, weight in enumerate(weights)}

    def _bitstring(self, index: int) -> str:
        if not self.bitstrings:
            return format(index, f"0{self.width}b")
        return self.bitstrings[index * self.width : (index + 1) * self.width].decode("ascii")


def sample(distribution: Distribution, *, seed: int, first_shot: int, shots: int) -> Counter[str]:
    """The counts of shots `first_shot .. first_shot + shots - 1`."""
    number = len(distribution.probabilities) // 8
    seen = np.zeros(number, dtype=np.int64)
    for _, drawn in sampled_blocks(distribution, seed=seed, first_shot=first_shot, shots=shots):
        seen += np.bincount(drawn, minlength=number)
    return Counter(
        {distribution._bitstring(i): int(seen[i]) for i in np.flatnonzero(seen).tolist()}
    )


def sampled_blocks(
    distribution: Distribution, *, seed: int, first_shot: int, shots: int
) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """The same shots, one by one: the number of a block's first shot, and the place of each
    shot's bitstring in the distribution (int64, shape (shots of the block,)).
    """
    edges = np.cumsum(np.frombuffer(distribution.probabilities))
    edges /= edges[-1]
    for start in range(first_shot, first_shot + shots, _BLOCK):
        number = min(_BLOCK, first_shot + shots - start)
        yield start, np.searchsorted(edges, _uniform(seed, start, number), side="right")


def _uniform(seed: int, first_shot: int, shots: int) -> npt.NDArray[np.float64]:
    """One number in [0, 1) per shot, of 53 random bits."""
    # Philox gives four words per count of its counter; a shot owns one count.
    words = np.random.Philox(key=seed % KEYS, counter=first_shot).random_raw(4 * shots)
    mantissas = words[::4] >> np.uint64(11)
    return (mantissas * 2.0**-53).astype(np.float64, copy=False)
