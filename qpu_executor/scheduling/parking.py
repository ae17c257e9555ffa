"""Heads of buckets that can't start on a QPU now, until something could change that.

A head is put here when its turn comes and no chunk of it may start. It isn't
looked at again before the instant that was named for it, or an event about
the QPU's calendar, so a decision never scans what can't run.
"""

from __future__ import annotations

from qpu_executor.model.timing import Instant
from qpu_executor.scheduling.state import Head


class Parking:
    """The parked heads of one QPU, stale ones included, by when to look again."""

    __slots__ = ("_lots", "size")

    def __init__(self) -> None:
        self._lots: dict[Instant | None, list[Head]] = {}
        self.size = 0

    def put(self, head: Head, until: Instant | None) -> None:
        """Park a head; `until` None: until `take_all`."""
        self._lots.setdefault(until, []).append(head)
        self.size += 1

    def take(self, now: Instant) -> list[Head]:
        """The heads whose instant has come, if they are still the heads of their buckets."""
        due = [until for until in self._lots if until is not None and until <= now]
        return self._valid([head for until in sorted(due) for head in self._lots.pop(until)])

    def take_all(self) -> list[Head]:
        """Every head that is still the head of its bucket."""
        heads = [head for lot in self._lots.values() for head in lot]
        self._lots.clear()
        return self._valid(heads)

    def heads(self) -> list[Head]:
        """What is parked, stale heads included (for checks)."""
        return [head for lot in self._lots.values() for head in lot]

    def _valid(self, taken: list[Head]) -> list[Head]:
        self.size -= len(taken)
        return [head for head in taken if head[2].head is head]
