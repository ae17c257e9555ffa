"""Independent sets of small graphs, as bit masks: bit i of a mask is node i."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

MOST_NODES = 24
"""All sets are looked at: beyond this it takes too long."""


def adjacency(nodes: int, edges: Iterable[Sequence[int]]) -> list[int]:
    """For every node the mask of its neighbours."""
    masks = [0] * nodes
    for a, b in edges:
        masks[a] |= 1 << b
        masks[b] |= 1 << a
    return masks


def members(mask: int) -> list[int]:
    """The nodes of a mask, in order."""
    return [node for node in range(mask.bit_length()) if mask >> node & 1]


def is_independent(mask: int, neighbours: Sequence[int]) -> bool:
    """Whether no two nodes of a set are neighbours."""
    return not any(neighbours[node] & mask for node in members(mask))


def largest(neighbours: Sequence[int]) -> list[int]:
    """All largest independent sets, exactly, in ascending order of their masks.

    Raises:
        ValueError: more than MOST_NODES nodes.
    """
    if len(neighbours) > MOST_NODES:
        raise ValueError(f"{len(neighbours)} nodes are too many to look at every set")
    best: list[int] = [0]
    size = 0

    def extend(chosen: int, count: int, free: int) -> None:
        """Decide the lowest free node: in, or out; cut where the rest can't reach the best."""
        nonlocal best, size
        if count + free.bit_count() < size:
            return
        if not free:
            if count > size:
                best, size = [], count
            best.append(chosen)
            return
        node = free & -free
        extend(chosen | node, count + 1, free & ~node & ~neighbours[node.bit_length() - 1])
        extend(chosen, count, free & ~node)

    extend(0, 0, (1 << len(neighbours)) - 1)
    return sorted(set(best))


def repaired(mask: int, neighbours: Sequence[int]) -> int:
    """The independent set that a set becomes by dropping and then adding nodes greedily.

    The node with the most conflicts goes first (the highest of equals); then nodes
    that are free come in, those with the fewest neighbours first.
    """
    while not is_independent(mask, neighbours):
        worst = max(members(mask), key=lambda node: ((neighbours[node] & mask).bit_count(), node))
        mask &= ~(1 << worst)
    for node in sorted(range(len(neighbours)), key=lambda n: (neighbours[n].bit_count(), n)):
        if not (mask >> node & 1 or neighbours[node] & mask):
            mask |= 1 << node
    return mask
