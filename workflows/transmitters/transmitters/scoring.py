"""The step `best_set`: from measured bitstrings to sets of airports, against the optimum.

The rates say what the atoms did, with nothing repaired: how often a shot is an
independent set, how often a largest one, and how often uniformly random bits
would be. What a greedy repair makes of the same shots, and of random bits, is
given beside it, and never mixed in.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, cast

from .independent_sets import adjacency, is_independent, largest, members, repaired

ENOUGH_TIMES_RANDOM = 5
"""How many times as often as random bits the atoms must hit an optimum to have found it."""

MOST_MEASURED = 6


class Measured(Protocol):
    """What is needed of a quantum task's result."""

    @property
    def counts(self) -> Counter[str]:
        """How often each bitstring was measured; bit i belongs to `qubit_ids[i]`."""

    @property
    def qubit_ids(self) -> tuple[str, ...]:
        """The atoms' names: the airports' codes."""

    @property
    def duration_ns(self) -> int | None:
        """Length of the program."""

    @property
    def qpu(self) -> str:
        """Who measured it."""

    @property
    def device(self) -> str:
        """The specification it was measured for."""

    @property
    def emulated(self) -> bool:
        """Whether an emulator measured it."""


def best_set(graph: dict[str, Any], results: Measured | Iterable[Measured]) -> dict[str, Any]:
    """Find the best set of airports in the results, and say how good it is.

    Args:
        graph: what the step `graph` returned.
        results: the sweeps' results.

    Returns:
        `found` (codes and names of the best set that was measured as it is), `size`,
        `optimum_size`, `optimal`, `optimal_sets` (all of them, exactly), `hit_rate` and
        `ratio` (hits of the best sweep, and how many times `random_rate` they are),
        `physics_found_it` (optimal, and at least five times the random rate), `sweeps`
        (one per result, shortest first), `random_sizes` and `after_repair`.

    Raises:
        ValueError: no shots at all, or results of other atoms.
    """
    codes = [a["code"] for a in graph["airports"]]
    neighbours = adjacency(len(codes), graph["edges"])
    optima = largest(neighbours)
    random_rate = len(optima) / 2 ** len(codes)
    several = cast("list[Measured]", [results] if hasattr(results, "counts") else list(results))
    shots = [_as_masks(result, codes) for result in several]
    sweeps = sorted(
        (
            _sweep(result, masks, codes, neighbours, optima)
            for result, masks in zip(several, shots, strict=True)
        ),
        key=lambda sweep: sweep["duration_ns"],
    )
    together: Counter[int] = sum(shots, Counter())
    if not together:
        raise ValueError("the results hold no shots: there is no set to choose from")
    found = _best_measured(together, neighbours)
    best = max(sweeps, key=lambda sweep: (sweep["hit_rate"], -sweep["duration_ns"]))
    size, optimum_size = found.bit_count(), optima[0].bit_count()
    return {
        "found": _airports(found, graph),
        "size": size,
        "optimum_size": optimum_size,
        "optimal": size == optimum_size,
        "optimal_sets": [[codes[node] for node in members(mask)] for mask in optima],
        "hit_rate": best["hit_rate"],
        "random_rate": random_rate,
        "ratio": best["ratio"],
        "best_duration_ns": best["duration_ns"],
        "physics_found_it": size == optimum_size and best["ratio"] >= ENOUGH_TIMES_RANDOM,
        "sweeps": sweeps,
        "random_sizes": _random_sizes(neighbours),
        "after_repair": _after_repair(together, neighbours, optima),
    }


def _as_masks(result: Measured, codes: list[str]) -> Counter[int]:
    """Counts by the set of airports whose atoms were excited."""
    if sorted(result.qubit_ids) != sorted(codes):
        raise ValueError(
            f"the result's atoms are {', '.join(result.qubit_ids)}, the graph's airports "
            f"{', '.join(codes)}: they belong to different inputs"
        )
    node = [codes.index(name) for name in result.qubit_ids]
    masks: Counter[int] = Counter()
    for bits, times in result.counts.items():
        masks[sum(1 << node[i] for i, bit in enumerate(bits) if bit == "1")] += times
    return masks


def _sweep(
    result: Measured,
    masks: Counter[int],
    codes: list[str],
    neighbours: Sequence[int],
    optima: list[int],
) -> dict[str, Any]:
    """What one sweep's shots are worth."""
    shots = masks.total()
    optimal = set(optima)
    hits = sum(times for mask, times in masks.items() if mask in optimal)
    valid = Counter({m: times for m, times in masks.items() if is_independent(m, neighbours)})
    size = optima[0].bit_count()
    weight = sum(mask.bit_count() * times for mask, times in valid.items())
    hit_rate = hits / shots if shots else 0.0
    sizes = Counter[int]()
    for mask, times in valid.items():
        sizes[mask.bit_count()] += times
    return {
        "qpu": result.qpu,
        "device": result.device,
        "emulated": result.emulated,
        "duration_ns": int(result.duration_ns or 0),
        "shots": shots,
        "hits": hits,
        "hit_rate": hit_rate,
        "ratio": hit_rate * 2 ** len(codes) / len(optima),
        "valid_rate": valid.total() / shots if shots else 0.0,
        "approximation_ratio": weight / (shots * size) if shots and size else 0.0,
        "best_size": max(sizes, default=0),
        "sizes": {str(k): sizes[k] for k in sorted(sizes)},
        "most_measured": [
            {
                "airports": [codes[node] for node in members(mask)],
                "shots": times,
                "independent": mask in valid,
                "optimal": mask in optimal,
            }
            for mask, times in itertools.islice(_by_count(masks), MOST_MEASURED)
        ],
    }


def _random_sizes(neighbours: Sequence[int]) -> dict[str, float]:
    """How often uniformly random bits are an independent set of each size."""
    everything = 2 ** len(neighbours)
    sizes = Counter(
        mask.bit_count() for mask in range(everything) if is_independent(mask, neighbours)
    )
    return {str(size): sizes[size] / everything for size in sorted(sizes)}


def _by_count(masks: Counter[int]) -> Iterable[tuple[int, int]]:
    """Most frequent first; equals in the order of their masks, so that it never varies."""
    return sorted(masks.items(), key=lambda item: (-item[1], item[0]))


def _best_measured(masks: Counter[int], neighbours: Sequence[int]) -> int:
    """The largest measured independent set, the most frequent of equals; empty if none."""
    best = 0
    for mask, _ in _by_count(masks):
        if mask.bit_count() > best.bit_count() and is_independent(mask, neighbours):
            best = mask
    return best


def _after_repair(
    masks: Counter[int], neighbours: Sequence[int], optima: list[int]
) -> dict[str, Any]:
    """The rate of optimal sets when every shot is repaired, and when random bits are."""
    optimal = set(optima)
    everything = 2 ** len(neighbours)
    hits = sum(times for mask, times in masks.items() if repaired(mask, neighbours) in optimal)
    by_chance = sum(repaired(mask, neighbours) in optimal for mask in range(everything))
    return {"hit_rate": hits / masks.total(), "random_rate": by_chance / everything}


def _airports(mask: int, graph: dict[str, Any]) -> list[dict[str, str]]:
    chosen = [graph["airports"][node] for node in members(mask)]
    return [{"code": a["code"], "name": a["name"]} for a in chosen]
