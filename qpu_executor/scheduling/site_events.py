"""What changes of the site: its classes, its QPUs, and what operators close and open."""

from __future__ import annotations

from qpu_executor.errors import InternalError
from qpu_executor.model.events import (
    ClassesChanged,
    QpuDrained,
    QpuRegistered,
    QpuReported,
    QpuResumed,
    WokenUp,
)
from qpu_executor.model.timing import Instant
from qpu_executor.scheduling.admission import Limits
from qpu_executor.scheduling.calendar_events import CalendarEvents
from qpu_executor.scheduling.minimum_share import MinimumShares
from qpu_executor.scheduling.placement import Placement
from qpu_executor.scheduling.queue import Queue
from qpu_executor.scheduling.state import CoreState, Qpu


class SiteEvents:
    """Takes in events about the site as a whole, and lets the tasks that wait profit."""

    def __init__(
        self,
        state: CoreState,
        queue: Queue,
        placement: Placement,
        calendar: CalendarEvents,
        shares: MinimumShares,
        limits: Limits,
    ) -> None:
        self._state = state
        self._queue = queue
        self._placement = placement
        self._calendar = calendar
        self._shares = shares
        self._limits = limits

    def classes_changed(self, event: ClassesChanged, now: Instant) -> None:
        """The site's classes are now these, for tasks that wait as well."""
        self._state.classes = {one.name: one for one in event.classes}
        self._shares.define(event.classes)
        self._limits.define(event.classes, self._state.tasks.values())
        self._queue.reclass(self._state.classes, now)
        for name in self._state.qpus:
            self._queue.unpark(name, now)
        self._placement.fill(tuple(self._state.qpus), now)

    def qpu_registered(self, event: QpuRegistered, now: Instant) -> None:
        """A QPU joined, or is another one than it was."""
        qpu = self._state.qpu(event.qpu.name)
        qpu.spec = event.qpu
        qpu.registered = True
        qpu.overhang = len(qpu.running)
        qpu.state, qpu.reason = event.qpu.state, event.qpu.reason
        self._calendar.joined(qpu, now)
        self._open_or_close(qpu, now)

    def qpu_reported(self, event: QpuReported, now: Instant) -> None:
        """A QPU's state was seen. Raises InternalError for one that never joined."""
        qpu = self._state.qpus.get(event.qpu)
        if qpu is None or not qpu.registered:
            raise InternalError("a state was reported before the QPU joined", where=event.qpu)
        qpu.state, qpu.reason = event.state, event.reason
        self._open_or_close(qpu, now)

    def qpu_drained(self, event: QpuDrained, now: Instant) -> None:
        """An operator wants nothing new to go there."""
        qpu = self._state.known(event.qpu)
        qpu.drained = event.reason or "drained"
        self._open_or_close(qpu, now)

    def qpu_resumed(self, event: QpuResumed, now: Instant) -> None:
        """The drain is taken back."""
        qpu = self._state.known(event.qpu)
        qpu.drained = None
        self._open_or_close(qpu, now)

    def woken_up(self, event: WokenUp, now: Instant) -> None:
        """An instant has come: keys that follow the time are looked at again."""
        self._queue.rerank(now)
        self._queue.refresh(now)
        self._placement.fill(tuple(self._state.qpus), now)

    def _open_or_close(self, qpu: Qpu, now: Instant) -> None:
        if qpu.up:
            self._queue.open(qpu.spec.name, now)
            self._placement.fill((qpu.spec.name,), now)
        else:
            self._queue.close(qpu.spec.name)
