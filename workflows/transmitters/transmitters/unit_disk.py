"""The step `graph`: who disturbs whom, and an atom for every airport.

Two atoms that are excited to a Rydberg state at distance r cost the energy
c6 / r^6. Where that is more than the drive can pay, at most one of the two is
excited: the blockade. With the map scaled so that the blockade's radius falls
between the longest distance of a disturbing pair and the shortest of a pair that
doesn't, the atoms' blockade is the airports' graph, and the sets of excited atoms
that cost nothing are its independent sets.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

from .device import Limits, limits
from .selection import centre


def graph(airports: dict[str, Any], radius_km: float | None = None) -> dict[str, Any]:
    """Make the unit-disk graph of the chosen airports and their atom register.

    Args:
        airports: what `load` returned.
        radius_km: transmitters at most this far apart disturb each other; the
            radius that the airports were chosen for unless given.

    Returns:
        `country`, `radius_km`, `left_out`, `device`; `airports`, now each with its
        atom at `x_um`, `y_um`; `edges`, pairs of indices into `airports`;
        `um_per_km`; `blockade_um`, the distance between edges and non-edges;
        `rabi` and `detuning`, rad/us, the drive that goes with it.

    Raises:
        ValueError: the airports can't be put on the device for this radius.
    """
    radius = float(airports["radius_km"] if radius_km is None else radius_km)
    sites = airports["airports"]
    points = [(a["x_km"], a["y_km"]) for a in sites]
    rules = limits()
    distances = {
        (a, b): math.dist(points[a], points[b])
        for a, b in itertools.combinations(range(len(points)), 2)
    }
    edges = [pair for pair, distance in distances.items() if distance <= radius]
    others = [distance for distance in distances.values() if distance > radius]
    if not edges or not others:
        raise ValueError(
            f"at radius_km={radius:g} {'every' if edges else 'no'} pair of the {len(sites)} "
            "airports disturbs each other: choose the airports for this radius (load)"
        )
    longest_edge_km = max(distances[pair] for pair in edges)
    threshold_km = math.sqrt(longest_edge_km * min(others))
    um_per_km = _scale(min(distances.values()), threshold_km, rules)
    middle = centre(points)
    atoms = [
        (round((x - middle[0]) * um_per_km, 3), round((y - middle[1]) * um_per_km, 3))
        for x, y in points
    ]
    _check_view(atoms, radius, rules)
    blockade_um = threshold_km * um_per_km
    return {
        "country": airports["country"],
        "radius_km": radius,
        "device": rules.device,
        "airports": [{**a, "x_um": x, "y_um": y} for a, (x, y) in zip(sites, atoms, strict=True)],
        "left_out": airports["left_out"],
        "edges": [list(pair) for pair in edges],
        "um_per_km": um_per_km,
        "blockade_um": blockade_um,
        "rabi": rules.c6 / blockade_um**6,
        "detuning": final_detuning(longest_edge_km * um_per_km, rules),
    }


BELOW_WEAKEST_EDGE = 0.9


def final_detuning(longest_edge_um: float, rules: Limits) -> float:
    """What an excited atom is worth at the end, rad/us.

    A little less than the interaction of the weakest edge: then exciting both
    ends of an edge never pays, and everything else pays as much as it can.
    """
    return min(BELOW_WEAKEST_EDGE * rules.c6 / longest_edge_um**6, rules.max_detuning)


def _scale(closest_km: float, threshold_km: float, rules: Limits) -> float:
    """um per km: as small as the device allows, for the strongest interactions."""
    return max(rules.closest_um / closest_km, rules.shortest_blockade_um * 1.001 / threshold_km)


def _check_view(atoms: list[tuple[float, float]], radius_km: float, rules: Limits) -> None:
    farthest = max(math.hypot(x, y) for x, y in atoms)
    if farthest > rules.max_radius_um or len(atoms) > rules.max_atoms:
        raise ValueError(
            f"{len(atoms)} atoms up to {farthest:.1f} µm from the middle don't fit "
            f"{rules.device} ({rules.max_atoms} atoms, {rules.max_radius_um:g} µm): choose the "
            f"airports for radius_km={radius_km:g} (load)"
        )
