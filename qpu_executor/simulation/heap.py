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
    """A heap with deterministic ties: equal pushes give equal pops.

    `foreground`: how many of the events aren't of the kind that goes on for ever
    (calibrations, breakdowns), whatever the users do.
    """

    __slots__ = ("_heap", "_numbers", "foreground")

    def __init__(self) -> None:
        self._heap: list[tuple[Instant, int, Action, Any, bool]] = []
        self._numbers = count()
        self.foreground = 0

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def next_at(self) -> Instant | None:
        """When the next event happens; None if nothing will."""
        return self._heap[0][0] if self._heap else None

    def push(
        self, at: Instant, action: Action, argument: Any = None, *, background: bool = False
    ) -> None:
        """Let `action(argument)` happen at an instant."""
        self.foreground += not background
        heappush(self._heap, (at, next(self._numbers), action, argument, background))

    def pop(self) -> tuple[Instant, Action, Any]:
        """Take the next event out. Raises IndexError if there is none."""
        at, _, action, argument, background = heappop(self._heap)
        self.foreground -= not background
        return at, action, argument
