"""The scheduling core's one door: events in, commands out.

A task's walk: `TaskSubmitted` lets it wait, `Placement.fill` gives it to a QPU
with room and sends a chunk, `ChunkFinished` counts the shots, and
`Placement.go_on` decides whether it ends, goes on, or gives way to one that goes
before it. Equal events at equal instants give equal commands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from qpu_executor.errors import InternalError
from qpu_executor.model.events import (
    CalibrationDue,
    CalibrationEnded,
    CalibrationReported,
    CalibrationStarted,
    ChunkFinished,
    ChunkLost,
    ChunkRefused,
    ChunkStarted,
    ChunkStopped,
    ChunkUnanswered,
    ClassesChanged,
    Event,
    QpuDrained,
    QpuRegistered,
    QpuReported,
    QpuResumed,
    TaskCancelAsked,
    TaskHoldAsked,
    TaskReleaseAsked,
    TaskStopAsked,
    TaskSubmitted,
    WarmHoldAsked,
    WindowsChanged,
    WokenUp,
)
from qpu_executor.model.states import ChunkState, TaskState, WaitReason
from qpu_executor.model.values import ChunkId, Instant, TaskSpec
from qpu_executor.scheduling.admission import Credit, Limits, Refusal
from qpu_executor.scheduling.agenda import Agenda
from qpu_executor.scheduling.boundaries import Blocked, room
from qpu_executor.scheduling.charging import ChargingTable, Ended, how_it_ended
from qpu_executor.scheduling.chunking import measured_shot_s
from qpu_executor.scheduling.commands import Command
from qpu_executor.scheduling.explain import QpuView, Waiting, view, wait_reason, waiting
from qpu_executor.scheduling.fair_share import FairShareRules, ShareView, UsageLedger
from qpu_executor.scheduling.gates import Gates
from qpu_executor.scheduling.holding import Holding
from qpu_executor.scheduling.lineup import Lineup, lineup
from qpu_executor.scheduling.metering import Meter
from qpu_executor.scheduling.minimum_share import DEFAULT_HORIZON_S, MinimumShares
from qpu_executor.scheduling.ordering import Ordering, Priority
from qpu_executor.scheduling.placement import Placement
from qpu_executor.scheduling.queue import Queue
from qpu_executor.scheduling.recorder import Recorder
from qpu_executor.scheduling.restore import StoredChunk, rebuild
from qpu_executor.scheduling.selfcheck import check_core
from qpu_executor.scheduling.state import Chunk, CoreState, Qpu, Task
from qpu_executor.scheduling.timekeeper import Timekeeper
from qpu_executor.scheduling.timing_admission import timing_refusal_everywhere
from qpu_executor.scheduling.why import Why, why

DEFAULT_MAX_FAULTS = 3
"""Consecutive device faults after which a task is FAILED."""


class Scheduler:
    """Decides which shots a QPU takes next. After an InternalError, discard it and rebuild."""

    def __init__(
        self,
        *,
        ordering: Ordering | None = None,
        max_faults: int = DEFAULT_MAX_FAULTS,
        fair_share: FairShareRules | None = None,
        charging: ChargingTable | None = None,
        share_horizon_s: float = DEFAULT_HORIZON_S,
        credits: Iterable[Credit] = (),
    ) -> None:
        """`share_horizon_s`: see `minimum_share.py`. `credits`: of accounts that have a limit."""
        self._ordering: Ordering = Priority() if ordering is None else ordering
        self._max_faults = max_faults
        self._state = CoreState()
        self._usage = UsageLedger(fair_share or FairShareRules())
        self._shares = MinimumShares(share_horizon_s)
        self._agenda = Agenda()
        self._gates = Gates(self._state.tasks, self._agenda)
        self._queue = Queue(
            self._state.tasks, self._ordering, self._usage, self._gate, self._agenda
        )
        self._limits = Limits(credits)
        self._meter = Meter(
            charging or ChargingTable(), self._usage, self._shares, self._limits, self._queue
        )
        self._recorder = Recorder(self._limits)
        self._placement = Placement(
            self._state,
            self._queue,
            self._recorder,
            self._shares,
            self._gates,
            self._agenda,
            self._limits,
        )
        self._holding = Holding(
            self._state,
            self._queue,
            self._recorder,
            self._placement,
            self._agenda,
            self._meter,
        )
        self._time = Timekeeper(
            self._state,
            self._queue,
            self._recorder,
            self._placement,
            self._agenda,
            self._gates,
            self._holding,
        )
        self._now: Instant = 0
        self._restored = False
        self._handlers: dict[type, Callable[[Any], None]] = {
            ClassesChanged: self._classes_changed,
            QpuRegistered: self._qpu_registered,
            QpuReported: self._qpu_reported,
            TaskSubmitted: self._task_submitted,
            TaskCancelAsked: self._cancel_asked,
            TaskHoldAsked: self._hold_asked,
            TaskReleaseAsked: self._release_asked,
            ChunkStarted: self._chunk_started,
            ChunkFinished: self._chunk_finished,
            ChunkStopped: self._chunk_stopped,
            ChunkLost: self._chunk_lost,
            ChunkRefused: self._chunk_refused,
            ChunkUnanswered: self._chunk_unanswered,
            TaskStopAsked: self._time.stop_asked,
            QpuDrained: lambda event: self._open_or_close(self._time.drained(event)),
            QpuResumed: lambda event: self._open_or_close(self._time.resumed(event)),
            WarmHoldAsked: lambda event: self._holding.hold_asked(event, self._now),
            WindowsChanged: lambda event: self._time.windows_changed(event, self._now),
            CalibrationDue: lambda event: self._time.calibration_due(event, self._now),
            CalibrationStarted: lambda event: self._time.calibration_started(event, self._now),
            CalibrationEnded: lambda event: self._time.calibration_ended(event, self._now),
            CalibrationReported: lambda event: self._time.calibration_reported(event, self._now),
            WokenUp: self._woken_up,
        }

    # -- the door ---------------------------------------------------------------

    def handle(self, event: Event, now: Instant) -> list[Command]:
        """Take in what happened and say what to do, in the order in which to do it.

        Events about tasks that have ended or about chunks that have ended give
        no commands. Raises InternalError if `now` goes back, or if the event
        can't be (a task submitted twice, a chunk that was never sent).
        """
        if now < self._now:
            raise InternalError(f"time went back from {self._now} to {now} us", where=str(event))
        handler = self._handlers.get(type(event))
        if handler is None:
            raise InternalError(f"not an event of the core: {event!r}")
        self._now = now
        commands = self._recorder.begin()
        if self._restored:
            self._restored = False
            self._time.take_over(now)
        self._time.pass_time(now)
        handler(event)
        for task in self._recorder.discarded:
            self._meter.discarded(task, now)
        self._recorder.discarded.clear()
        self._time.settle(now)
        return commands

    def next_wakeup(self) -> Instant | None:
        """When to post `WokenUp` at the latest; None: nothing waits for a moment in time."""
        changes = (
            self._ordering.next_change(self._now),
            self._queue.next_rerank(),
            self._agenda.first_at(),
        )
        return min((at for at in changes if at is not None), default=None)

    def _gate(self, task: Task, qpu: str, now: Instant) -> Blocked | None:
        if self._limits.active:
            blocked = self._limits.blocked(task, now)
            if blocked is not None:
                return blocked
        found = room(task, self._state.qpus[qpu], now)
        return found if isinstance(found, Blocked) else None

    def restore(
        self,
        task: TaskSpec,
        state: TaskState,
        *,
        shots_done: int,
        faults: int,
        chunk: StoredChunk | None,
        next_chunk_n: int,
        started_at: Instant | None = None,
        epoch: tuple[str, str | None] | None = None,
    ) -> None:
        """Take back a stored task that hasn't ended, without a command.

        `started_at`: when its first chunk was sent, if one was. `epoch`: QPU and id of
        the epoch of its counted shots, if they have to come from one (None: unknown).

        `chunk`: the one that was out, if any; `faults`: its consecutive device
        faults. Waiting tasks are looked at with the next event. What was asked
        of the task before (cancel, hold of a running one) is posted again as
        events. Raises InternalError for what can't have been stored.
        """
        rebuild(
            self._state,
            self._queue,
            self._now,
            task,
            state,
            shots_done=shots_done,
            faults=faults,
            stored=chunk,
            next_chunk_n=next_chunk_n,
        )
        restored = self._state.tasks[task.task_id]
        self._limits.moved(restored, None, state)
        self._limits.expect(restored, self._expected_charge_s(task, restored.remaining))
        self._time.restored(restored, started_at, epoch)
        self._restored = True

    def recall_usage(
        self, account: str, owner: str, job_class: str, charged_s: float, at: Instant
    ) -> None:
        """Count what was charged to a user before this core began (seconds, as of `at`)."""
        self._usage.charge(self._usage.standing(account, owner), charged_s, at)
        found = self._state.job_class(job_class)
        self._limits.recall(found, account, owner, charged_s, at)

    # -- views ------------------------------------------------------------------

    def refusal(self, task: TaskSpec) -> Refusal | None:
        """Which limit keeps a task from being admitted now; None if none does."""
        return self._limits.refusal(
            self._state.job_class(task.job_class),
            task.account,
            task.owner,
            self._expected_charge_s(task, task.shots),
            self._now,
        )

    def waiting(self, task_id: int) -> Waiting | None:
        """Why a task waits now and how many go before it; None if it runs or isn't alive."""
        return waiting(self._state, self._queue, task_id, self._now)

    def reason(self, task_id: int) -> WaitReason | None:
        """Why a task waits now; None if it runs or isn't alive. Cheap, unlike `waiting`."""
        return wait_reason(self._state, self._queue, task_id, self._now)

    def qpu(self, name: str) -> QpuView | None:
        """A QPU as the core sees it; None if it isn't registered."""
        return view(self._state, self._queue, name)

    def why(self, task_id: int) -> Why | None:
        """Where a task stands: the parts of its place, and who goes before it."""
        return why(self._state, self._queue, self._usage, self._shares, task_id, self._now)

    def lineup(self, task_id: int, limit: int = 20) -> Lineup | None:
        """Who goes before a waiting task, the first `limit` by name; None if it has no place."""
        return lineup(self._state, self._queue, task_id, self._now, limit)

    def shares(self) -> list[ShareView]:
        """Where every account and user stands against its share."""
        return self._usage.view(self._now)

    def hold_refusal(self, qpu: str, account: str, kept_s: float, now: Instant) -> Refusal | None:
        """Which limit keeps an account from having a QPU kept for so long; None if none does."""
        emulated = self._state.qpu(qpu).spec.emulated
        charged_s = self._meter.table.hold_s(kept_s, emulated=emulated)
        return self._limits.hold_refusal(account, charged_s, now)

    def timing_refusal(self, task: TaskSpec) -> str | None:
        """Why no QPU of a task that is submitted now could ever grant its `timing`."""
        return timing_refusal_everywhere(self._state, task)

    def check(self) -> None:
        """Check the core's laws and indexes; cost grows with the tasks. Raises InternalError."""
        check_core(self._state, self._queue, self._now, settled=not self._restored)

    # -- the site ---------------------------------------------------------------

    def _classes_changed(self, event: ClassesChanged) -> None:
        self._state.classes = {one.name: one for one in event.classes}
        self._shares.define(event.classes)
        self._limits.define(event.classes, self._state.tasks.values())
        self._queue.reclass(self._state.classes, self._now)
        for name in self._state.qpus:
            self._queue.unpark(name, self._now)
        self._placement.fill(tuple(self._state.qpus), self._now)

    def _qpu_registered(self, event: QpuRegistered) -> None:
        qpu = self._state.qpu(event.qpu.name)
        qpu.spec = event.qpu
        qpu.registered = True
        qpu.overhang = len(qpu.running)
        qpu.state, qpu.reason = event.qpu.state, event.qpu.reason
        self._time.joined(qpu, self._now)
        self._open_or_close(qpu)

    def _qpu_reported(self, event: QpuReported) -> None:
        qpu = self._state.qpus.get(event.qpu)
        if qpu is None or not qpu.registered:
            raise InternalError("a state was reported before the QPU joined", where=event.qpu)
        qpu.state, qpu.reason = event.state, event.reason
        self._open_or_close(qpu)

    def _open_or_close(self, qpu: Qpu) -> None:
        if qpu.up:
            self._queue.open(qpu.spec.name, self._now)
            self._placement.fill((qpu.spec.name,), self._now)
        else:
            self._queue.close(qpu.spec.name)

    def _woken_up(self, event: WokenUp) -> None:
        self._queue.rerank(self._now)
        self._queue.refresh(self._now)
        self._placement.fill(tuple(self._state.qpus), self._now)

    # -- what is asked of tasks ---------------------------------------------------

    def _task_submitted(self, event: TaskSubmitted) -> None:
        spec = event.task
        if spec.task_id in self._state.tasks:
            raise self._recorder.story.error("submitted twice", spec.task_id)
        task = self._queue.admit(spec, self._state.job_class(spec.job_class))
        self._gates.watch(task)
        self._limits.expect(task, self._expected_charge_s(spec, spec.shots))
        if spec.held:
            self._recorder.task(task, TaskState.HELD)
        else:
            self._placement.make_ready(task, self._now)

    def _cancel_asked(self, event: TaskCancelAsked) -> None:
        task = self._state.tasks.get(event.task_id)
        if task is None:
            return
        if task.chunk is not None:
            task.cancel_asked = True
            self._recorder.stop(task.chunk, event.reason or "cancelled")
            return
        self._placement.end(task, self._now, TaskState.CANCELLED)

    def _hold_asked(self, event: TaskHoldAsked) -> None:
        task = self._state.tasks.get(event.task_id)
        if task is None:
            return
        if task.state is TaskState.RUNNING:
            task.hold_asked = True
        elif task.state is TaskState.QUEUED:
            self._placement.stop_waiting(task, self._now, TaskState.HELD)

    def _release_asked(self, event: TaskReleaseAsked) -> None:
        task = self._state.tasks.get(event.task_id)
        if task is None:
            return
        task.hold_asked = False
        if task.state is TaskState.HELD:
            self._placement.make_ready(task, self._now)

    # -- what QPUs say about chunks -------------------------------------------------

    def _out(self, chunk: ChunkId) -> Task | None:
        """The task whose chunk is out under this id; None if that chunk has ended."""
        task = self._state.tasks.get(chunk.task_id)
        if task is None:
            return None
        if chunk.n >= task.next_n:
            raise self._recorder.story.error(f"chunk {chunk.n} was never sent", chunk.task_id)
        return task if task.chunk is not None and task.chunk.id.n == chunk.n else None

    def _chunk_started(self, event: ChunkStarted) -> None:
        task = self._out(event.chunk)
        if task is None or task.chunk is None or task.chunk.state is ChunkState.RUNNING:
            return
        self._recorder.chunk(task.chunk, ChunkState.RUNNING)

    def _chunk_unanswered(self, event: ChunkUnanswered) -> None:
        task = self._out(event.chunk)
        if task is None or task.chunk is None or task.chunk.state is ChunkState.UNKNOWN:
            return
        self._recorder.chunk(task.chunk, ChunkState.UNKNOWN, reason=event.reason)

    def _chunk_finished(self, event: ChunkFinished) -> None:
        task = self._out(event.chunk)
        if task is None:
            return
        if event.shots > 0:
            self._count(task, ChunkState.FINISHED, event.shots, event.device_s, event.setup_s)
        else:
            reason = "the QPU ended the chunk without a shot"
            self._lose(task, reason, True, event.device_s, event.setup_s)

    def _chunk_stopped(self, event: ChunkStopped) -> None:
        task = self._out(event.chunk)
        if task is not None:
            self._count(task, ChunkState.STOPPED, event.shots, event.device_s, event.setup_s)

    def _chunk_lost(self, event: ChunkLost) -> None:
        task = self._out(event.chunk)
        if task is not None:
            self._lose(task, event.reason, event.fault, event.device_s, event.setup_s)

    def _chunk_refused(self, event: ChunkRefused) -> None:
        task = self._out(event.chunk)
        if task is None:
            return
        qpu, _ = self._end_chunk(task, ChunkState.LOST, 0, event.reason)
        if task.cancel_asked:
            self._placement.end(task, self._now, TaskState.CANCELLED)
        else:
            self._placement.end(
                task, self._now, TaskState.FAILED, error=event.reason, permanent=True
            )
        self._placement.fill((qpu.spec.name,), self._now)

    def _expected_charge_s(self, spec: TaskSpec, shots: int) -> float:
        """Seconds that shots of a task are expected to be charged."""
        shot_s = self._state.shot_s(spec.shot_s, spec.qpus)
        first = self._state.qpus.get(spec.qpus[0])
        emulated = first is not None and first.spec.emulated
        return self._meter.table.chunk_s(
            Ended.FINISHED,
            setup_s=0.0,
            device_s=shots * shot_s,
            resumed=False,
            emulated=emulated,
        )

    # -- the end of a chunk -----------------------------------------------------------

    def _count(
        self, task: Task, state: ChunkState, shots: int, device_s: float, setup_s: float
    ) -> None:
        """The chunk delivered shots: those that the task still needs count, the rest is surplus."""
        counted = min(max(shots, 0), task.remaining)
        qpu, chunk = self._end_chunk(task, state, counted, "", device_s=device_s, setup_s=setup_s)
        qpu.shot_s = measured_shot_s(qpu.shot_s, shots, device_s)
        task.shots_done += counted
        if counted:
            task.faults = 0
        self._time.chunk_ended(qpu, self._now)
        if not task.remaining:
            self._holding.begin_linger(task, qpu, self._now)
        self._placement.go_on(task, qpu, chunk, self._now)

    def _lose(self, task: Task, reason: str, fault: bool, device_s: float, setup_s: float) -> None:
        """The chunk's shots don't count. Too many faults in a row end the task."""
        qpu, chunk = self._end_chunk(
            task, ChunkState.LOST, 0, reason, device_s=device_s, setup_s=setup_s, fault=fault
        )
        task.faults += fault
        if task.faults < self._max_faults or task.cancel_asked:
            self._placement.go_on(task, qpu, chunk, self._now)
            return
        error = f"{task.faults} device faults in a row on {qpu.spec.name}, the last one: {reason}"
        self._placement.end(task, self._now, TaskState.FAILED, error=error)
        self._placement.fill((qpu.spec.name,), self._now)

    def _end_chunk(
        self,
        task: Task,
        state: ChunkState,
        counted: int,
        reason: str,
        *,
        device_s: float = 0.0,
        setup_s: float = 0.0,
        fault: bool = False,
    ) -> tuple[Qpu, Chunk]:
        chunk = task.chunk
        assert chunk is not None
        qpu = self._state.qpus[chunk.qpu]
        ended = how_it_ended(state, fault=fault)
        charged_s = self._meter.chunk_ended(
            task, chunk, qpu, ended, setup_s=setup_s, device_s=device_s, now=self._now
        )
        note = "; ".join(part for part in (reason, chunk.note) if part)
        self._recorder.chunk(chunk, state, counted=counted, reason=note, charged_s=charged_s)
        task.chunk = None
        del qpu.running[task.task_id]
        if qpu.overhang:
            qpu.overhang = min(qpu.overhang, len(qpu.running))
        return qpu, chunk
