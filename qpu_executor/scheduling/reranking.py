"""Which waiting tasks get a new key, and when: how age and deadlines get their due.

Nearly all tasks come up in the order in which they became ready, so a plain line
of ids does, at a few bytes a task. The others (deadlines, tasks that became ready
again) are in a heap.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush

from qpu_executor.model.timing import Instant
from qpu_executor.scheduling.ordering import Ordering
from qpu_executor.scheduling.state import Task


class Reranking:
    """Ids of tasks by the instant that `Ordering.rerank_at` named for them."""

    def __init__(self, tasks: dict[int, Task], ordering: Ordering) -> None:
        self._tasks = tasks
        self._ordering = ordering
        self._line: deque[int] = deque()
        self._latest: Instant = 0
        self._heap: list[tuple[Instant, int]] = []
        self._in_heap: dict[int, Instant] = {}

    def add(self, task: Task, *, again: bool) -> None:
        """A task became ready; `again`: not for the first time."""
        at = self._ordering.rerank_at(task)
        if at is None:
            return
        if at >= self._latest and not again:
            self._latest = at
            self._line.append(task.task_id)
        else:
            self._in_heap[task.task_id] = at
            heappush(self._heap, (at, task.task_id))

    def next_at(self) -> Instant | None:
        """When the first task comes up; None if none will."""
        line, heap = self._line, self._heap
        while heap and not self._due_then(heap[0]):
            heappop(heap)
        while line:
            task = self._tasks.get(line[0])
            if task is not None and task.entry is not None and line[0] not in self._in_heap:
                at = self._ordering.rerank_at(task)
                if at is not None:
                    return min(at, heap[0][0]) if heap else at
            line.popleft()
        return heap[0][0] if heap else None

    def take(self, now: Instant) -> list[Task]:
        """The tasks whose instant has come."""
        taken = []
        while (at := self.next_at()) is not None and at <= now:
            if self._heap and self._heap[0][0] == at:
                task_id = heappop(self._heap)[1]
                del self._in_heap[task_id]
            else:
                task_id = self._line.popleft()
            taken.append(self._tasks[task_id])
        return taken

    def forget(self, task_id: int) -> None:
        """A task has ended."""
        self._in_heap.pop(task_id, None)

    def _due_then(self, one: tuple[Instant, int]) -> bool:
        at, task_id = one
        if self._in_heap.get(task_id) != at:
            return False
        if self._tasks[task_id].entry is None:
            del self._in_heap[task_id]
            return False
        return True
