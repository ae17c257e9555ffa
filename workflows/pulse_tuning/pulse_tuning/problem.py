"""The step `graph`: a small unit-disk graph with one largest independent set, and its cost."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

import pulser

DEVICE = pulser.AnalogDevice

PLACES = ((0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (3, 0))
"""Where the atoms stand, in units of the spacing: a square with a tail."""

REACH = 1.2
"""Atoms up to this many spacings apart are neighbours: the sides, not the diagonals."""

PENALTY = 2.0
"""What a blocked pair costs that is excited all the same; an excited atom earns 1."""


def graph(spacing_um: float) -> dict[str, Any]:
    """Make the graph for atoms at this distance.

    Returns:
        `spacing_um`, `atoms` (name: [x, y] in um), `edges` (pairs of names),
        `optimum_size`, the size of a largest independent set, and `interaction`,
        rad/us, between neighbours.

    Raises:
        ValueError: a spacing that the device can't do, or at which it blocks nothing.
    """
    lowest, highest = float(DEVICE.min_atom_distance), 7.5
    if not lowest <= spacing_um <= highest:
        raise ValueError(
            f"spacing_um must be from {lowest:g} ({DEVICE.name}'s least distance) to "
            f"{highest:g} (beyond it neighbours hardly block each other), not {spacing_um!r}"
        )
    atoms = {f"a{n}": [x * spacing_um, y * spacing_um] for n, (x, y) in enumerate(PLACES)}
    edges = [
        [a, b]
        for a, b in itertools.combinations(atoms, 2)
        if math.dist(atoms[a], atoms[b]) <= REACH * spacing_um
    ]
    return {
        "spacing_um": float(spacing_um),
        "atoms": atoms,
        "edges": edges,
        "optimum_size": optimum_size(list(atoms), edges),
        "interaction": float(DEVICE.interaction_coeff) / spacing_um**6,
    }


def optimum_size(names: list[str], edges: list[list[str]]) -> int:
    """The size of a largest independent set, by looking at every set."""
    return max(
        len(chosen)
        for size in range(len(names) + 1)
        for chosen in itertools.combinations(names, size)
        if not any(a in chosen and b in chosen for a, b in edges)
    )


def mean_cost(counts: Counter[str], names: tuple[str, ...], edges: list[list[str]]) -> float:
    """Mean over the shots of PENALTY per excited edge less 1 per excited atom.

    Its least value is minus the size of a largest independent set. Bit i of a
    bitstring belongs to `names[i]`. Raises ValueError for no shots.
    """
    shots = sum(counts.values())
    if not shots:
        raise ValueError("the QPU returned no shots: there is no cost to learn from")
    total = 0.0
    for bits, times in counts.items():
        excited = {name for name, bit in zip(names, bits, strict=True) if bit == "1"}
        broken = sum(a in excited and b in excited for a, b in edges)
        total += times * (PENALTY * broken - len(excited))
    return total / shots


def optimal_rate(
    counts: Counter[str], names: tuple[str, ...], edges: list[list[str]], optimum: int
) -> float:
    """The share of shots that are a largest independent set."""
    hits = sum(
        times
        for bits, times in counts.items()
        if mean_cost(Counter({bits: 1}), names, edges) == -optimum and bits.count("1") == optimum
    )
    return hits / max(sum(counts.values()), 1)
