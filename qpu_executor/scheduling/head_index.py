"""What one open QPU chooses from: the heads of the buckets that can go there, by job class.

Heads are lazy as well: one that its bucket has replaced stays until it reaches the top of
its heap. A head that can't start now is parked (`parking.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from heapq import heapify, heappop, heappush

from qpu_executor.model.timing import Instant
from qpu_executor.model.values import JobClass
from qpu_executor.scheduling.parking import Parking
from qpu_executor.scheduling.state import Head


class HeadIndex:
    """Shown and parked heads of one QPU. `size`: all of them, stale ones included."""

    __slots__ = ("_by_class", "_parking", "size")

    def __init__(self, heads: Iterable[Head]) -> None:
        self._by_class: dict[str, list[Head]] = {}
        self._parking = Parking()
        self.size = 0
        self.rebuild(heads)

    def rebuild(self, heads: Iterable[Head]) -> None:
        """Show these heads and no others; nothing is parked any more."""
        for heap in self._by_class.values():
            heap.clear()
        for head in heads:
            self._by_class.setdefault(head[2].job_class.name, []).append(head)
        for heap in self._by_class.values():
            heapify(heap)
        self._parking = Parking()
        self.size = sum(map(len, self._by_class.values()))

    def show(self, head: Head) -> None:
        """Add the new head of a bucket."""
        self.size += 1
        name = head[2].job_class.name
        heap = self._by_class.get(name)
        if heap is None:
            self._by_class[name] = [head]
        else:
            heappush(heap, head)

    def first(self, classes: Collection[str] | None = None) -> Head | None:
        """The head that goes first, of these classes (None: of all); None where none is."""
        found: Head | None = None
        for name, heap in self._by_class.items():
            if classes is not None and name not in classes:
                continue
            while heap and heap[0][2].head is not heap[0]:
                heappop(heap)
                self.size -= 1
            if heap and (found is None or heap[0] < found):
                found = heap[0]
        return found

    def take(self, head: Head) -> None:
        """Remove the head that `first` just gave."""
        taken = heappop(self._by_class[head[2].job_class.name])
        assert taken is head, "not the first of its class"
        self.size -= 1

    def park(self, head: Head, until: Instant | None) -> None:
        """Put a head aside until an instant, or (None) until `unpark`."""
        self.size += 1
        self._parking.put(head, until)

    def unpark(self, due_at: Instant | None) -> None:
        """Show what was parked until `due_at` or earlier again; None: all that is parked."""
        parking = self._parking
        if not parking.size:
            return
        self.size -= parking.size
        for head in parking.take_all() if due_at is None else parking.take(due_at):
            self.show(head)
        self.size += parking.size

    def top(self, job_class: str, count: int) -> list[Head]:
        """Some of the first heads of a class, in no order, stale ones included."""
        return self._by_class.get(job_class, [])[:count]

    def classes(self) -> list[JobClass]:
        """The classes that have heads here."""
        firsts = [self.first((name,)) for name in self._by_class]
        return [head[2].job_class for head in firsts if head is not None]

    def heads(self) -> list[Head]:
        """All that are shown, stale ones included (for checks)."""
        return [head for heap in self._by_class.values() for head in heap]

    def parked(self) -> list[Head]:
        """All that are parked, stale ones included (for checks)."""
        return self._parking.heads()
