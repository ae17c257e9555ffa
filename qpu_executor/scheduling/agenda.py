"""The instants at which the core has to look at a QPU or a task again although nothing happened.

What is found stale when its instant comes costs one look and does no harm, so
nothing is ever taken out before its time.
"""

from __future__ import annotations

from heapq import heappop, heappush

from qpu_executor.model.timing import Instant

Subject = str | int
"""A QPU's name or a task's id."""

_QPU, _TASK = 0, 1


class Agenda:
    """Instants in their order, each with its subject, once."""

    __slots__ = ("_heap", "_known")

    def __init__(self) -> None:
        self._heap: list[tuple[Instant, int, Subject]] = []
        self._known: set[tuple[Instant, Subject]] = set()

    def add(self, at: Instant, subject: Subject) -> None:
        """Look at `subject` when `at` has come."""
        if (at, subject) in self._known:
            return
        self._known.add((at, subject))
        heappush(self._heap, (at, _TASK if isinstance(subject, int) else _QPU, subject))

    def first_at(self) -> Instant | None:
        """The next instant; None if there is none."""
        return self._heap[0][0] if self._heap else None

    def take(self, now: Instant) -> list[tuple[Instant, Subject]]:
        """Everything whose instant has come, in its order."""
        taken: list[tuple[Instant, Subject]] = []
        while self._heap and self._heap[0][0] <= now:
            at, _, subject = heappop(self._heap)
            self._known.discard((at, subject))
            taken.append((at, subject))
        return taken
