"""What is asked of tasks: a new one, cancel, hold, release, stop, another session."""

from __future__ import annotations

from dataclasses import replace

from qpu_executor.model.events import (
    StoppingRuleMet,
    TaskCancelAsked,
    TaskHoldAsked,
    TaskRebound,
    TaskReleaseAsked,
    TaskStopAsked,
    TaskSubmitted,
)
from qpu_executor.model.states import TaskState
from qpu_executor.model.timing import Instant, Timing
from qpu_executor.scheduling.admission import Limits
from qpu_executor.scheduling.gates import Gates
from qpu_executor.scheduling.metering import Meter
from qpu_executor.scheduling.placement import Placement
from qpu_executor.scheduling.queue import Queue
from qpu_executor.scheduling.recorder import Recorder
from qpu_executor.scheduling.state import CoreState, TaskClock


class TaskEvents:
    """Takes in what users and operators ask. What a task can't do any more is left undone."""

    def __init__(
        self,
        state: CoreState,
        queue: Queue,
        recorder: Recorder,
        placement: Placement,
        gates: Gates,
        limits: Limits,
        meter: Meter,
    ) -> None:
        self._state = state
        self._queue = queue
        self._recorder = recorder
        self._placement = placement
        self._gates = gates
        self._limits = limits
        self._meter = meter

    def submitted(self, event: TaskSubmitted, now: Instant) -> None:
        """A new task waits, or starts at once. Raises InternalError for a known id."""
        spec = event.task
        if spec.task_id in self._state.tasks:
            raise self._recorder.story.error("submitted twice", spec.task_id)
        task = self._queue.admit(spec, self._state.job_class(spec.job_class))
        self._gates.watch(task)
        self._limits.expect(task, self._meter.expected_s(spec, spec.shots))
        if spec.held:
            self._recorder.task(task, TaskState.HELD)
        else:
            self._placement.make_ready(task, now)

    def cancel_asked(self, event: TaskCancelAsked, now: Instant) -> None:
        """End the task: at once, or with the end of its chunk, which is asked for."""
        task = self._state.tasks.get(event.task_id)
        if task is None:
            return
        if task.chunk is not None:
            task.cancel_asked = True
            self._recorder.stop(task.chunk, event.reason or "cancelled")
            return
        self._placement.end(task, now, TaskState.CANCELLED)

    def hold_asked(self, event: TaskHoldAsked, now: Instant) -> None:
        """Keep the task back; a chunk that is out ends first."""
        task = self._state.tasks.get(event.task_id)
        if task is None:
            return
        if task.state is TaskState.RUNNING:
            task.hold_asked = True
        elif task.state is TaskState.QUEUED:
            self._placement.stop_waiting(task, now, TaskState.HELD)

    def release_asked(self, event: TaskReleaseAsked, now: Instant) -> None:
        """Let a held task wait again."""
        task = self._state.tasks.get(event.task_id)
        if task is None:
            return
        task.hold_asked = False
        if task.state is TaskState.HELD:
            self._placement.make_ready(task, now)

    def rebound(self, event: TaskRebound, now: Instant) -> None:
        """The task belongs to another session, and its time ends with that one's."""
        task = self._state.tasks.get(event.task_id)
        if task is None:
            return
        if task.clock is None and event.session_ends_at is not None:
            task.clock = TaskClock(Timing())
        if task.clock is not None:
            timing = task.clock.timing
            task.clock.timing = replace(timing, session_ends_at=event.session_ends_at)
            self._gates.watch_end(task)
        self._queue.rebind(task, event.session_id, event.session_ends_at, now)
        self._placement.fill(task.bucket.needs.qpus, now)

    def stopping_rule_met(self, event: StoppingRuleMet, now: Instant) -> None:
        """The task ends at once, or with the chunk that it has out (whose shots count)."""
        task = self._state.tasks.get(event.task_id)
        if task is None:
            return
        stop = task.early_stop
        if stop is None or event.shots < stop.min_shots:
            raise self._recorder.story.error("no stopping rule of it can be met", task.task_id)
        stop.shots, stop.reason = event.shots, event.reason
        if task.chunk is None and task.enough is not None:
            self._placement.end(task, now, TaskState.COMPLETED, stopped_early=task.enough)

    def stop_asked(self, event: TaskStopAsked, now: Instant) -> None:
        """Stop the task's chunk; the task waits again with what the QPU gave."""
        task = self._state.tasks.get(event.task_id)
        if task is not None and task.chunk is not None:
            task.chunk.requeues = True
            self._recorder.stop_noted(task.chunk, event.reason or "an operator stopped it")
