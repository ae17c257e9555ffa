"""Warm holds: what is asked, when a QPU is kept, and what is recorded and charged for it.

Any number of sessions may be granted lingers on one QPU; it is kept for one of them at a
time. A contiguous run ends the linger that is on, and no other session's run.
"""

from __future__ import annotations

from dataclasses import replace

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
        """After each event: see to every QPU that is kept. False: there is none."""
        watched = tuple(self._held)
        for name in watched:
            qpu = self._state.qpus[name]
            if qpu.hold is not None:
                self._watch_hold(qpu, qpu.hold, now)
            if qpu.hold is None:
                del self._held[name]
        return bool(watched)

    def hold_asked(self, event: WarmHoldAsked, now: Instant) -> None:
        """A session wants to keep the QPU between its tasks, or for a run; or no longer."""
        qpu = self._state.known(event.qpu)
        name, session_id = event.qpu, event.session_id
        before = qpu.hold
        own = before is not None and before.session_id == session_id
        run = event.contiguous and qpu.spec.max_run_s > 0.0
        if before is not None and not own and before.contiguous and event.contiguous:
            return
        qpu.lingers = {
            other: one
            for other, one in qpu.lingers.items()
            if other != session_id and one.until_at > now
        }
        if own or run:
            self._end_hold(qpu, now)
        self._placement.touched[name] = None
        granted = WarmHold(
            session_id,
            min(event.linger_s, qpu.spec.max_linger_s),
            event.until_at,
            event.contiguous,
            account=event.account,
            owner=event.owner,
            granted_at=now,
            idle_s=qpu.spec.max_run_idle_s,
        )
        if event.contiguous:
            if own and before is not None and before.contiguous:
                granted.granted_at = before.granted_at
            latest_at = after(granted.granted_at, qpu.spec.max_run_s)
            granted.until_at = min(event.until_at, latest_at)
            if granted.until_at > now:
                self._keep(qpu, granted)
        elif granted.linger_s > 0.0 and granted.until_at > now:
            qpu.lingers[session_id] = granted

    def begin_linger(self, task: Task, qpu: Qpu, now: Instant) -> None:
        """A task has ended on the QPU: keep the QPU for its session, if that was granted."""
        session_id = task.bucket.needs.session_id
        wish = None if session_id is None else qpu.lingers.get(session_id)
        if wish is None or qpu.hold is not None:
            return
        closed = qpu.calibration.closes(now) or now >= wish.until_at
        if not closed and not self._queue.waits_of(wish.session_id, qpu.spec.name):
            self._keep(qpu, replace(wish, kept_since=now))

    def _keep(self, qpu: Qpu, hold: WarmHold) -> None:
        name = qpu.spec.name
        qpu.hold = hold
        self._held[name] = None
        self._agenda.add(hold.ends_at(), name)
        self._queue.keep_for(name, hold.session_id)

    def _watch_hold(self, qpu: Qpu, hold: WarmHold, now: Instant) -> None:
        """After each event: note when a QPU that is kept falls idle, works, or is let go."""
        used = bool(qpu.running) or qpu.calibration.closes(now) or not qpu.up
        if now >= hold.ends_at() or (used and not hold.contiguous):
            self._end_hold(qpu, now)
            self._placement.touched[qpu.spec.name] = None
        elif used:
            self._save_hold(qpu, hold, now)
        elif hold.kept_since is None:
            hold.kept_since = now
            self._agenda.add(hold.ends_at(), qpu.spec.name)

    def _end_hold(self, qpu: Qpu, now: Instant) -> None:
        hold = qpu.hold
        if hold is not None:
            self._save_hold(qpu, hold, now)
            self._queue.keep_for(qpu.spec.name, None)
            qpu.hold = None

    def _save_hold(self, qpu: Qpu, hold: WarmHold, now: Instant) -> None:
        if hold.kept_since is None:
            return
        kept_s = seconds_between(hold.kept_since, now)
        if kept_s > 0.0:
            charged_s = self._meter.hold_ended(hold, qpu, kept_s, now)
            self._recorder.hold(qpu.spec.name, hold.session_id, hold.kept_since, now, charged_s)
        hold.kept_since = None
