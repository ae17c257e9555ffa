"""The scheduling core's one door: events in, commands out.

A task's walk: `TaskSubmitted` lets it wait, `Placement.fill` gives it to a QPU
with room and sends a chunk, `ChunkFinished` counts the shots, and
`Placement.go_on` decides whether it ends, goes on, or gives way to one that goes
before it. Each kind of event has a handler: `task_events.py`, `chunk_events.py`,
`site_events.py`, `calendar_events.py`, `holding.py`. Equal events at equal instants give
equal commands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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
    StoppingRuleMet,
    TaskCancelAsked,
    TaskHoldAsked,
    TaskRebound,
    TaskReleaseAsked,
    TaskStopAsked,
    TaskSubmitted,
    WarmHoldAsked,
    WindowsChanged,
    WokenUp,
)
from qpu_executor.model.states import TaskState, WaitReason
from qpu_executor.model.values import Instant, TaskSpec
from qpu_executor.scheduling.admission import Credit, Limits, Refusal
from qpu_executor.scheduling.agenda import Agenda
from qpu_executor.scheduling.boundaries import Blocked, room
from qpu_executor.scheduling.calendar_events import CalendarEvents
from qpu_executor.scheduling.charging import ChargingTable
from qpu_executor.scheduling.chunk_events import ChunkEvents
from qpu_executor.scheduling.commands import Command
from qpu_executor.scheduling.explain import (
    ChunkView,
    QpuView,
    Waiting,
    chunk_out,
    view,
    wait_reason,
    waiting,
)
from qpu_executor.scheduling.fair_share import FairShareRules, ShareView, UsageLedger
from qpu_executor.scheduling.gates import Gates
from qpu_executor.scheduling.holding import Holding
from qpu_executor.scheduling.lineup import Lineup, lineup
from qpu_executor.scheduling.listing import in_line, running
from qpu_executor.scheduling.metering import Meter
from qpu_executor.scheduling.minimum_share import DEFAULT_HORIZON_S, MinimumShares
from qpu_executor.scheduling.ordering import Ordering, Priority
from qpu_executor.scheduling.placement import Placement
from qpu_executor.scheduling.queue import Queue
from qpu_executor.scheduling.recorder import Recorder
from qpu_executor.scheduling.restore import StoredChunk, rebuild
from qpu_executor.scheduling.selfcheck import check_core
from qpu_executor.scheduling.site_events import SiteEvents
from qpu_executor.scheduling.state import CoreState, Task
from qpu_executor.scheduling.task_events import TaskEvents
from qpu_executor.scheduling.timekeeper import Timekeeper
from qpu_executor.scheduling.timing_admission import timing_refusal_everywhere
from qpu_executor.scheduling.why import Why, why

DEFAULT_MAX_FAULTS = 3
"""Consecutive device faults after which a task is FAILED."""

Handler = Callable[[Any, Instant], None]
"""Takes in an event of one kind at an instant."""


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
            charging or ChargingTable(),
            self._usage,
            self._shares,
            self._limits,
            self._queue,
            self._state,
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
        self._handlers = self._doors(max_faults)

    def _doors(self, max_faults: int) -> dict[type, Handler]:
        """Who takes in which event."""
        state, queue, recorder, placement = (
            self._state,
            self._queue,
            self._recorder,
            self._placement,
        )
        tasks = TaskEvents(
            state, queue, recorder, placement, self._gates, self._limits, self._meter
        )
        chunks = ChunkEvents(
            state, queue, recorder, placement, self._time, self._holding, self._meter, max_faults
        )
        calendar = CalendarEvents(state, queue, recorder, placement, self._agenda, self._time)
        site = SiteEvents(state, queue, placement, calendar, self._shares, self._limits)
        return {
            ClassesChanged: site.classes_changed,
            QpuRegistered: site.qpu_registered,
            QpuReported: site.qpu_reported,
            QpuDrained: site.qpu_drained,
            QpuResumed: site.qpu_resumed,
            WokenUp: site.woken_up,
            TaskSubmitted: tasks.submitted,
            TaskCancelAsked: tasks.cancel_asked,
            TaskHoldAsked: tasks.hold_asked,
            TaskReleaseAsked: tasks.release_asked,
            TaskStopAsked: tasks.stop_asked,
            TaskRebound: tasks.rebound,
            StoppingRuleMet: tasks.stopping_rule_met,
            ChunkStarted: chunks.started,
            ChunkFinished: chunks.finished,
            ChunkStopped: chunks.stopped,
            ChunkLost: chunks.lost,
            ChunkRefused: chunks.refused,
            ChunkUnanswered: chunks.unanswered,
            WarmHoldAsked: self._holding.hold_asked,
            WindowsChanged: calendar.windows_changed,
            CalibrationDue: calendar.calibration_due,
            CalibrationStarted: calendar.calibration_started,
            CalibrationEnded: calendar.calibration_ended,
            CalibrationReported: calendar.calibration_reported,
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
        handler(event, now)
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
        self._limits.expect(restored, self._meter.expected_s(task, restored.remaining))
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
            self._meter.expected_s(task, task.shots),
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

    def chunk_out(self, task_id: int) -> ChunkView | None:
        """A task's chunk that hasn't ended; None if there is none."""
        return chunk_out(self._state, task_id)

    def why(self, task_id: int) -> Why | None:
        """Where a task stands: the parts of its place, and who goes before it."""
        return why(self._state, self._queue, self._usage, self._shares, task_id, self._now)

    def lineup(self, task_id: int, limit: int = 20) -> Lineup | None:
        """Who goes before a waiting task, the first `limit` by name; None if it has no place."""
        return lineup(self._state, self._queue, task_id, self._now, limit)

    def running(self) -> list[int]:
        """Ids of the tasks that run, by id."""
        return running(self._state)

    def in_line(self) -> Iterator[int]:
        """Ids of the tasks that wait in the order, the first in line first. Not to be kept."""
        return in_line(self._state, self._queue, self._now)

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
