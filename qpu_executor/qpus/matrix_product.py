"""A matrix product state, and shots drawn from it, each from (seed, shot number) alone.

A shot goes through the sites from left to right: at each, the probability of a 1 given
what was drawn before, against one uniform number of the shot's own (the method that
A. J. Ferris and G. Vidal call perfect sampling, Phys. Rev. B 85, 165146, 2012).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qpu_executor.qpus.sampling import KEYS

_BLOCK_NUMBERS = 1 << 20
"""Complex numbers that a block of shots may take at one site."""

Tensor = npt.NDArray[np.complex128]


@dataclass(frozen=True, slots=True)
class MatrixProduct:
    """A state of two-level atoms.

    `shapes`: of the sites' tensors, (left bond, 2, right bond) each; `tensors`: complex128,
    one after the other, as bytes; right-canonical, so that the sites to the right of those
    drawn needn't be looked at. `bits`: for each site, the place of its atom in a bitstring.
    `versions`: of what made it.
    """

    shapes: tuple[tuple[int, int, int], ...]
    tensors: bytes
    bits: tuple[int, ...]
    versions: tuple[tuple[str, str], ...] = ()

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return len(self.tensors)

    def sites(self) -> list[Tensor]:
        """The tensors as arrays."""
        flat: Tensor = np.frombuffer(self.tensors, dtype=np.complex128)
        ends = np.cumsum([0, *(int(np.prod(shape)) for shape in self.shapes)])
        return [
            flat[start:end].reshape(shape)
            for start, end, shape in zip(ends, ends[1:], self.shapes, strict=False)
        ]


def from_tensors(
    tensors: Sequence[Tensor], bits: Sequence[int], versions: tuple[tuple[str, str], ...] = ()
) -> MatrixProduct:
    """The state of right-canonical tensors, (left bond, 2, right bond) each."""
    shapes = tuple((int(one.shape[0]), int(one.shape[1]), int(one.shape[2])) for one in tensors)
    content = b"".join(np.ascontiguousarray(one, dtype=np.complex128).tobytes() for one in tensors)
    return MatrixProduct(shapes, content, tuple(bits), versions)


def sample_product(
    product: MatrixProduct, *, seed: int, first_shot: int, shots: int
) -> Counter[str]:
    """The counts of shots `first_shot .. first_shot + shots - 1`."""
    sites = product.sites()
    widest = max(one.shape[1] * one.shape[2] for one in sites)
    block = max(1, _BLOCK_NUMBERS // widest)
    counts: Counter[str] = Counter()
    for start in range(first_shot, first_shot + shots, block):
        number = min(block, first_shot + shots - start)
        drawn = _draw(sites, _uniforms(seed, start, number, len(sites)))
        inverse = np.argsort(product.bits)
        text = np.ascontiguousarray(np.where(drawn[:, inverse], b"1", b"0"))
        names, seen = np.unique(text.view(f"S{len(sites)}"), return_counts=True)
        counts.update({name.decode("ascii"): int(n) for name, n in zip(names, seen, strict=True)})
    return counts


def _draw(sites: Sequence[Tensor], uniforms: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which shots (rows) read 1 at which sites (columns)."""
    shots = len(uniforms)
    state: Tensor = np.ones((shots, 1), dtype=np.complex128)
    drawn = np.zeros((shots, len(sites)), dtype=np.bool_)
    for column, tensor in enumerate(sites):
        both = np.tensordot(state, tensor, axes=1)
        weights = np.sum(both.real**2 + both.imag**2, axis=2)
        ones = uniforms[:, column] * weights.sum(axis=1) >= weights[:, 0]
        drawn[:, column] = ones
        state = both[np.arange(shots), ones.astype(np.intp)]
        # What was drawn is given from here on: its probability becomes 1.
        norms = np.sqrt(np.where(ones, weights[:, 1], weights[:, 0]))
        state /= norms[:, np.newaxis]
    return drawn


def _uniforms(seed: int, first_shot: int, shots: int, sites: int) -> npt.NDArray[np.float64]:
    """Numbers in [0, 1), shape (shots, sites), of 53 random bits each."""
    # Philox gives four words per count of its counter; a shot owns as many as it needs.
    per_shot = -(-sites // 4)
    words = np.random.Philox(key=seed % KEYS, counter=first_shot * per_shot).random_raw(
        4 * per_shot * shots
    )
    mantissas = words.reshape(shots, -1)[:, :sites] >> np.uint64(11)
    return (mantissas * 2.0**-53).astype(np.float64, copy=False)
