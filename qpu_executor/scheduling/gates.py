"""Begin times and dependencies: what keeps a queued task out of the order for now.

A deferred task is QUEUED and in no bucket's heap, so it costs no decision
anything. A task that ended before this core knew of the one that depends on it
counts as met: whoever admits tasks looks up how it ended.
"""

from __future__ import annotations

from qpu_executor.model.states import DependencyKind, TaskState
from qpu_executor.model.timing import Instant
from qpu_executor.scheduling.agenda import Agenda
from qpu_executor.scheduling.state import Task, TaskClock


class Gates:
    """Knows which live tasks wait for which others. `tasks`: the core's live tasks by id."""

    def __init__(self, tasks: dict[int, Task], agenda: Agenda) -> None:
        self._tasks = tasks
        self._agenda = agenda
        self._waiters: dict[int, dict[int, None]] = {}

    def watch(self, task: Task) -> None:
        """Note what a new task depends on, of the tasks that are alive, and when its time ends."""
        clock = task.clock
        if clock is None:
            return
        self.watch_end(task)
        for dependency in clock.timing.depends_on:
            if dependency.task_id in self._tasks and dependency.task_id != task.task_id:
                clock.unmet.add(dependency.task_id)
                self._waiters.setdefault(dependency.task_id, {})[task.task_id] = None

    def watch_end(self, task: Task) -> None:
        """Look at a task when its session's allocation ends, if that is known."""
        if task.clock is not None and task.clock.timing.session_ends_at is not None:
            self._agenda.add(task.clock.timing.session_ends_at, task.task_id)

    def keeps(self, task: Task, now: Instant) -> bool:
        """True if a queued task has to wait for an instant or a task; it is deferred then."""
        clock = task.clock
        if clock is None:
            return False
        begin_at = clock.timing.begin_at
        early = begin_at is not None and begin_at > now
        clock.deferred = early or bool(clock.unmet)
        if early and begin_at is not None:
            self._agenda.add(begin_at, task.task_id)
        return clock.deferred

    def ended(self, task: Task, state: TaskState) -> tuple[list[Task], list[tuple[Task, str]]]:
        """A task has ended. Returns deferred tasks to look at again, and (task, why) to fail."""
        if task.clock is not None:
            self._unwatch(task, task.clock)
        freed: list[Task] = []
        doomed: list[tuple[Task, str]] = []
        for waiter_id in self._waiters.pop(task.task_id, ()):
            waiter = self._tasks[waiter_id]
            clock = waiter.clock
            assert clock is not None
            clock.unmet.discard(task.task_id)
            if state is not TaskState.COMPLETED and _wants_success(waiter, task.task_id):
                doomed.append((waiter, f"it depends on task {task.task_id}, which is {state}"))
            elif clock.deferred and not clock.unmet:
                freed.append(waiter)
        return freed, doomed

    def _unwatch(self, task: Task, clock: TaskClock) -> None:
        for other in clock.unmet:
            self._waiters.get(other, {}).pop(task.task_id, None)


def _wants_success(waiter: Task, task_id: int) -> bool:
    clock = waiter.clock
    return clock is not None and any(
        one.task_id == task_id and one.kind is DependencyKind.AFTER_OK
        for one in clock.timing.depends_on
    )
