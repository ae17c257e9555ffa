"""Future events in the order of their instants; those of one instant in the order of entry."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any

from qpu_executor.model.values import Instant

Action = Callable[[Any], None]
"""What happens then; it is handed the argument that was pushed with it."""


class EventHeap:
    """A heap with deterministic ties: equal pushes give equal pops."""

    __slots__ = ("_heap", "_numbers")

    def __init__(self) -> None:
        self._heap: list[tuple[Instant, int, Action, Any]] = []
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def next_at(self) -> Instant | None:
        """When the next event happens; None if nothing will."""
        return self._heap[0][0] if self._heap else None

    def push(self, at: Instant, action: Action, argument: Any = None) -> None:
        """Let `action(argument)` happen at an instant."""
        heappush(self._heap, (at, next(self._numbers), action, argument))

    def pop(self) -> tuple[Instant, Action, Any]:
        """Take the next event out. Raises IndexError if there is none."""
        at, _, action, argument = heappop(self._heap)
        return at, action, argument
