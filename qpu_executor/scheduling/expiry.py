"""Tasks whose time is over: their own limit, or the end of their session's allocation.

A task is FAILED then, with what it has counted; its chunk, if one is out, is stopped first.
"""

from __future__ import annotations

from qpu_executor.model.states import TaskState, WaitReason
from qpu_executor.model.timing import Instant
from qpu_executor.scheduling.placement import Placement
from qpu_executor.scheduling.recorder import Recorder
from qpu_executor.scheduling.state import CoreState, Task, TaskClock


class Expiry:
    """Ends tasks when their time has come. The agenda says when to look at which of them."""

    def __init__(self, state: CoreState, recorder: Recorder, placement: Placement) -> None:
        self._state = state
        self._recorder = recorder
        self._placement = placement
        self._later: list[int] = []

    def pass_time(self, task: Task, clock: TaskClock, now: Instant) -> None:
        """End a task that has no chunk out; one that has is seen to after the event."""
        if _why_over(clock, task, now) is None:
            return
        if task.chunk is None:
            self._end(task.task_id, now)
        else:
            self._later.append(task.task_id)

    def settle(self, now: Instant) -> None:
        """After the event: stop what still runs, unless the event was its end."""
        if self._later:
            for task_id in self._later:
                self._end(task_id, now)
            self._later.clear()

    def _end(self, task_id: int, now: Instant) -> None:
        task = self._state.tasks.get(task_id)
        if task is None or task.clock is None:
            return
        over = _why_over(task.clock, task, now)
        if over is None:
            return
        error, stop = over
        chunk = task.chunk
        if chunk is None:
            self._placement.end(task, now, TaskState.FAILED, error=error)
            return
        chunk.fails = error
        self._recorder.stop_noted(chunk, stop)


def _why_over(clock: TaskClock, task: Task, now: Instant) -> tuple[str, str] | None:
    """The task's error, and why its chunk is stopped; None while it has time."""
    counted = f"{task.shots_done} of {task.shots} shots were counted before"
    limit_s, ends_at = clock.timing.time_limit_s, clock.timing.session_ends_at
    if clock.limit_at is not None and clock.limit_at <= now:
        error = f"TimeLimit: {limit_s:g} s since its first chunk are over, {counted}"
        return error, "the task's time limit"
    if ends_at is not None and ends_at <= now:
        what = f"{WaitReason.SESSION_ENDING}: its session's allocation has ended"
        return f"{what}, {counted}", f"overran: {what}"
    return None
