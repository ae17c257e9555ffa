"""What instants and calendars mean for tasks and QPUs: begin times, limits, windows, calibrations.

`pass_time` runs before an event is looked at, `settle` after it: so what an
event finds is never older than its instant, and what follows from the time is
decided once the event is known.
"""

from __future__ import annotations

from qpu_executor.model.states import QpuState, TaskState, WaitReason
from qpu_executor.model.timing import Instant, after
from qpu_executor.scheduling import calibration
from qpu_executor.scheduling.agenda import Agenda
from qpu_executor.scheduling.boundaries import next_boundary
from qpu_executor.scheduling.expiry import Expiry
from qpu_executor.scheduling.gates import Gates
from qpu_executor.scheduling.holding import Holding
from qpu_executor.scheduling.placement import Placement
from qpu_executor.scheduling.queue import Queue
from qpu_executor.scheduling.recorder import Recorder
from qpu_executor.scheduling.state import CoreState, Qpu, Task
from qpu_executor.scheduling.windows import in_order

FASTER = 0.9
"""A QPU whose seconds a shot fell below this part may fit what didn't fit before."""

NO_EPOCH = -1
"""`epoch_n` of stored shots that aren't known to be of the current epoch."""


class Timekeeper:
    """Changes what depends on the time, between the events and at their instants."""

    def __init__(
        self,
        state: CoreState,
        queue: Queue,
        recorder: Recorder,
        placement: Placement,
        agenda: Agenda,
        gates: Gates,
        holding: Holding,
    ) -> None:
        self._holding = holding
        self._state = state
        self._queue = queue
        self._recorder = recorder
        self._placement = placement
        self._agenda = agenda
        self._gates = gates
        self._back: list[Task] = []
        self._expiry = Expiry(state, recorder, placement)
        self._to_examine: dict[str, None] = {}
        self._due: dict[str, None] = {}

    # -- after a restart ---------------------------------------------------------------

    def restored(
        self, task: Task, started_at: Instant | None, epoch: tuple[str, str | None] | None
    ) -> None:
        """A stored task is back. `take_over` sees to it once all of them are."""
        clock = task.clock
        if clock is None:
            return
        limit_s = clock.timing.time_limit_s
        if limit_s is not None and started_at is not None:
            clock.limit_at = after(started_at, limit_s)
            self._agenda.add(clock.limit_at, task.task_id)
        if clock.timing.session_ends_at is not None:
            self._agenda.add(clock.timing.session_ends_at, task.task_id)
        if task.shots_done and task.bucket.needs.one_epoch:
            name, epoch_id = ("", None) if epoch is None else epoch
            qpu = self._state.qpu(name or task.bucket.needs.qpus[0])
            same = epoch_id is not None and epoch_id == qpu.calibration.epoch
            clock.epoch = (qpu.spec.name, qpu.calibration.epoch_n if same else NO_EPOCH)
            qpu.one_epoch[task.task_id] = None
        self._back.append(task)

    def take_over(self, now: Instant) -> None:
        """All stored tasks are back: what they depend on is known, and so is the epoch."""
        for task in self._back:
            if task.state is not TaskState.RUNNING:
                self._gates.watch(task)
        for task in self._back:
            if task.task_id not in self._state.tasks:
                continue
            self._placement.look_again(task, now)
            clock = task.clock
            if clock is None or clock.epoch is None or clock.epoch[1] != NO_EPOCH:
                continue
            if task.chunk is not None:
                task.chunk.epoch_n = NO_EPOCH
            else:
                self.leave_epoch(task, self._state.qpus[clock.epoch[0]], now)
        self._back.clear()
        self._placement.touched.update(dict.fromkeys(self._state.qpus))

    # -- around every event ------------------------------------------------------------

    def pass_time(self, now: Instant) -> None:
        """Do what the instants up to `now` ask for and nothing but the time decides."""
        for _, subject in self._agenda.take(now):
            if isinstance(subject, str):
                self._to_examine[subject] = None
                continue
            task = self._state.tasks.get(subject)
            if task is None or task.clock is None:
                continue
            if task.clock.deferred:
                self._placement.look_again(task, now)
            self._expiry.pass_time(task, task.clock, now)
        for name in self._to_examine:
            qpu = self._state.qpus[name]
            qpu.windows = in_order(qpu.windows, now)
            if calibration.give_up_waiting(qpu.calibration, qpu.spec.calibration, now):
                self._due.pop(name, None)
                self._queue.unpark(name, now)
            else:
                self._queue.unpark(name, now, due_only=True)
            self._placement.touched[name] = None

    def settle(self, now: Instant) -> None:
        """Stop what has come to its end, ask for calibrations, and fill what was touched."""
        self._expiry.settle(now)
        if self._to_examine:
            for name in self._to_examine:
                self._examine(self._state.qpus[name], now)
            self._to_examine.clear()
        if self._due:
            self._ask_what_is_due(now)
        if self._placement.touched:
            self._fill_touched(now)
        if self._holding.any and self._holding.watch(now):
            self._fill_touched(now)

    def _ask_what_is_due(self, now: Instant) -> None:
        for name in tuple(self._due):
            qpu = self._state.qpus[name]
            if not calibration.wants_start(qpu.calibration, qpu.spec.calibration, now):
                del self._due[name]
            elif not qpu.running and qpu.state is not QpuState.DOWN:
                del self._due[name]
                qpu.calibration.asked = True
                self._recorder.calibrate(name, qpu.calibration.due_reason)

    def _fill_touched(self, now: Instant) -> None:
        touched = self._placement.touched
        while touched:
            names = tuple(touched)
            touched.clear()
            self._placement.fill(names, now)

    def chunk_ended(self, qpu: Qpu, now: Instant) -> None:
        """The QPU's rate may have changed, so that more fits before a boundary."""
        shot_s = qpu.shot_s
        if shot_s is None:
            return
        if qpu.parked_shot_s is None or shot_s < FASTER * qpu.parked_shot_s:
            qpu.parked_shot_s = shot_s
            self._queue.unpark(qpu.spec.name, now)
            self._placement.touched[qpu.spec.name] = None

    # -- what events about QPUs ask for ---------------------------------------------------

    def note_due(self, qpu: Qpu, now: Instant) -> None:
        """Ask for the QPU's calibration once the QPU is idle, if that is the manager's part."""
        if calibration.wants_start(qpu.calibration, qpu.spec.calibration, now):
            self._due[qpu.spec.name] = None

    def not_due(self, qpu: str) -> None:
        """A QPU's calibration has started: nobody has to ask for it."""
        self._due.pop(qpu, None)

    def leave_epoch(self, task: Task, qpu: Qpu, now: Instant) -> None:
        """A new epoch has begun without the task's shots: it starts anew, or fails."""
        why = self._placement.leave_epoch(task, qpu.calibration.epoch_n - 1, qpu)
        if why is not None:
            self._placement.end(task, now, TaskState.FAILED, error=why)
        elif task.state is TaskState.QUEUED and task.entry is not None:
            task.entry = None
            self._queue.pull(task, now)
            self._placement.line_up(task, now)
            self._placement.touched.update(dict.fromkeys(task.bucket.needs.qpus))

    # -- inside ------------------------------------------------------------------------

    def _examine(self, qpu: Qpu, now: Instant) -> None:
        """An instant of the QPU's calendar has come: what still runs has overrun it."""
        self.note_due(qpu, now)
        for task_id, chunk in qpu.running.items():
            edge = next_boundary(qpu, self._state.tasks[task_id].bucket, now)
            if edge is None or edge.at > now:
                continue
            note = f"overran: {edge.reason} ({edge.detail})"
            if edge.stops:
                self._recorder.stop_noted(chunk, note)
            elif edge.reason is WaitReason.CALIBRATION and not chunk.note:
                chunk.note = note
