"""Warm holds: what is asked, when a QPU is kept, and what is recorded and charged for it."""

from __future__ import annotations

from qpu_executor.model.events import WarmHoldAsked
from qpu_executor.model.timing import Instant, after, seconds_between
from qpu_executor.scheduling.agenda import Agenda
from qpu_executor.scheduling.metering import Meter
from qpu_executor.scheduling.placement import Placement
from qpu_executor.scheduling.queue import Queue
from qpu_executor.scheduling.recorder import Recorder
from qpu_executor.scheduling.state import CoreState, Qpu, Task
from qpu_executor.scheduling.warm_hold import WarmHold


class Holding:
    """Grants, begins and ends the holds of all QPUs."""

    def __init__(
        self,
        state: CoreState,
        queue: Queue,
        recorder: Recorder,
        placement: Placement,
        agenda: Agenda,
        meter: Meter,
    ) -> None:
        self._state = state
        self._queue = queue
        self._recorder = recorder
        self._placement = placement
        self._agenda = agenda
        self._meter = meter
        self._held: dict[str, None] = {}

    @property
    def any(self) -> bool:
        """Whether a QPU may be kept for anybody."""
        return bool(self._held)

    def watch(self, now: Instant) -> bool:
        """After each event: see to every QPU that may be kept. False: there is none."""
        watched = tuple(self._held)
        for name in watched:
            qpu = self._state.qpus[name]
            if qpu.hold is not None:
                self._watch_hold(qpu, qpu.hold, now)
            if qpu.hold is None:
                del self._held[name]
        return bool(watched)

    def hold_asked(self, event: WarmHoldAsked, now: Instant) -> None:
        """A session wants to keep the QPU between its tasks, or for a run."""
        qpu = self._state.known(event.qpu)
        self._end_hold(qpu, now)
        qpu.hold = None
        linger_s = min(event.linger_s, qpu.spec.max_linger_s)
        until_at = event.until_at
        if event.contiguous:
            until_at = min(until_at, after(now, qpu.spec.max_run_s))
        if until_at > now and (event.contiguous or linger_s > 0.0):
            qpu.hold = WarmHold(
                event.session_id,
                linger_s,
                until_at,
                event.contiguous,
                account=event.account,
                owner=event.owner,
            )
            self._agenda.add(until_at, event.qpu)
            self._held[event.qpu] = None
            if event.contiguous:
                self._queue.keep_for(event.qpu, event.session_id)
        self._placement.touched[event.qpu] = None

    def begin_linger(self, task: Task, qpu: Qpu, now: Instant) -> None:
        """A task has ended on the QPU: keep the QPU for its session, if that was granted."""
        hold = qpu.hold
        if hold is None or hold.contiguous or hold.session_id != task.bucket.needs.session_id:
            return
        closed = qpu.calibration.closes(now) or now >= hold.until_at
        if not closed and not self._queue.waits_of(hold.session_id, qpu.spec.name):
            hold.kept_since = now
            self._agenda.add(hold.ends_at(), qpu.spec.name)
            self._queue.keep_for(qpu.spec.name, hold.session_id)

    def _watch_hold(self, qpu: Qpu, hold: WarmHold, now: Instant) -> None:
        """After each event: note when a QPU that is kept falls idle, works, or is let go."""
        over = now >= hold.ends_at() and hold.on
        if over or now >= hold.until_at:
            self._end_hold(qpu, now)
            if now >= hold.until_at:
                qpu.hold = None
            self._placement.touched[qpu.spec.name] = None
        elif hold.kept_since is not None and self._is_used(qpu, now):
            self._save_hold(qpu, hold, now)
            if not hold.contiguous:
                self._queue.keep_for(qpu.spec.name, None)
        elif hold.contiguous and hold.kept_since is None and not self._is_used(qpu, now):
            hold.kept_since = now

    def _is_used(self, qpu: Qpu, now: Instant) -> bool:
        """True unless the QPU is idle only because it is kept."""
        return bool(qpu.running) or qpu.calibration.closes(now) or not qpu.up

    def _end_hold(self, qpu: Qpu, now: Instant) -> None:
        hold = qpu.hold
        if hold is not None:
            self._save_hold(qpu, hold, now)
            self._queue.keep_for(qpu.spec.name, None)

    def _save_hold(self, qpu: Qpu, hold: WarmHold, now: Instant) -> None:
        if hold.kept_since is None:
            return
        kept_s = seconds_between(hold.kept_since, now)
        if kept_s > 0.0:
            charged_s = self._meter.hold_ended(hold, qpu, kept_s, now)
            self._recorder.hold(qpu.spec.name, hold.session_id, hold.kept_since, now, charged_s)
        hold.kept_since = None
