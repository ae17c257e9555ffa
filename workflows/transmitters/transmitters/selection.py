"""Which airports become atoms: a pure change of scale must put them on the device.

The map is only scaled, never bent, so a choice has to keep three rules:

- no two airports nearer than CLOSEST times the radius: on the device they would
  be nearer than its least distance;
- none of the distances between the radius and GAP times the radius: atoms on
  either side of the threshold must feel clearly different interactions (they
  fall with the sixth power of the distance: 12 % are a factor of two);
- all inside the device's field of view.

Among such choices the one with the most airports, then with the most pairs that
disturb each other, is taken. The search is greedy from every possible first
pair, and has no randomness.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

from .device import Limits

Point = tuple[float, float]

CLOSEST = 0.68
"""With the closest pair at 5 um the radius comes to 7.4 um, where two excited
atoms interact with 5.4 rad/us: within reach of the drive, and fast enough for a
sweep of a few microseconds."""

GAP = 1.12
FEWEST_EDGES = 5


def choose(points: list[Point], radius_km: float, limit: int, rules: Limits) -> list[int]:
    """Indices of the best choice, grown from every pair of points that keeps the rules."""
    pairs = (
        (a, b)
        for a, b in itertools.combinations(range(len(points)), 2)
        if not _too_close(math.dist(points[a], points[b]), radius_km)
    )
    grown = [_grow(points, pair, radius_km, limit, rules) for pair in pairs]
    return max(grown, key=lambda c: (len(c), count_edges(points, c, radius_km)), default=[])


def works(points: list[Point], radius_km: float, limit: int, rules: Limits, fewest: int) -> bool:
    """Whether some choice embeds; a quicker look than `choose`, which finds the best one."""
    return any(
        embeds(points, _grow(points, (first,), radius_km, limit, rules), radius_km, fewest)
        for first in range(len(points))
    )


def embeds(points: list[Point], chosen: list[int], radius_km: float, fewest: int) -> bool:
    """Whether a choice is large enough and has enough edges to be a problem at all."""
    return len(chosen) >= fewest and count_edges(points, chosen, radius_km) >= FEWEST_EDGES


def count_edges(points: list[Point], chosen: list[int], radius_km: float) -> int:
    """How many pairs of a choice disturb each other."""
    return sum(
        math.dist(points[a], points[b]) <= radius_km
        for n, a in enumerate(chosen)
        for b in chosen[:n]
    )


def why_left_out(
    points: list[Point],
    index: int,
    chosen: list[int],
    airports: list[dict[str, Any]],
    radius_km: float,
    rules: Limits,
) -> str:
    """The rule that keeps a point out of a choice, in words."""
    near = min(chosen, key=lambda other: math.dist(points[index], points[other]))
    distance = math.dist(points[index], points[near])
    if distance < CLOSEST * radius_km:
        return (
            f"{distance:.0f} km from {airports[near]['code']}: their atoms would be closer "
            f"than {rules.min_distance_um:g} µm"
        )
    for other in chosen:
        distance = math.dist(points[index], points[other])
        if radius_km < distance < GAP * radius_km:
            return (
                f"{distance:.0f} km from {airports[other]['code']}: too near the "
                f"{radius_km:g} km limit for the blockade to tell"
            )
    if not _in_view(points, [*chosen, index], radius_km, rules):
        return f"outside the device's field of view ({rules.max_radius_um:g} µm)"
    return f"not needed: {len(chosen)} airports are chosen"


def _grow(
    points: list[Point], first: Iterable[int], radius_km: float, limit: int, rules: Limits
) -> list[int]:
    """Take point after point: most neighbours among the taken first, then the nearest.

    `first` are taken as they are, and must keep the rules among themselves.
    """
    chosen: list[int] = []
    links = [0] * len(points)
    apart = [0.0] * len(points)
    allowed = set(range(len(points)))
    waiting = list(first)
    while len(chosen) < min(limit, rules.max_atoms):
        order = waiting[:1] or sorted(allowed, key=lambda i: (-links[i], apart[i], i))
        newest = next((i for i in order if _in_view(points, [*chosen, i], radius_km, rules)), None)
        if newest is None:
            break
        waiting = waiting[1:]
        chosen.append(newest)
        allowed.discard(newest)
        for other in tuple(allowed):
            distance = math.dist(points[newest], points[other])
            links[other] += distance <= radius_km
            apart[other] += distance
            if _too_close(distance, radius_km):
                allowed.discard(other)
    return chosen


def _too_close(distance_km: float, radius_km: float) -> bool:
    """Whether two points are too near to each other, or to the threshold."""
    return distance_km < CLOSEST * radius_km or radius_km < distance_km < GAP * radius_km


def _in_view(points: list[Point], chosen: list[int], radius_km: float, rules: Limits) -> bool:
    """Whether the choice, centred and scaled for the closest pair allowed, is in view."""
    um_per_km = rules.closest_um / (CLOSEST * radius_km)
    middle = centre([points[i] for i in chosen])
    return all(
        math.dist(middle, points[i]) * um_per_km <= rules.max_radius_um - 0.01 for i in chosen
    )


def centre(points: list[Point]) -> Point:
    """The middle of the box around the points."""
    xs, ys = zip(*points, strict=True)
    return ((min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2)
