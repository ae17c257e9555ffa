"""A rehearsal's QPUs fail, are closed, and come back.

Breakdowns are drawn, one after the other, whatever the policy; outages of a
recording come when they came. Maintenance windows are the core's to plan with; who
knows no calendar meets them as a surprise.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from qpu_executor.model.events import QpuReported, WindowsChanged
from qpu_executor.model.states import QpuState, WindowKind
from qpu_executor.model.timing import Window
from qpu_executor.model.values import MICROSECONDS, Instant
from qpu_executor.simulation.qpu_model import RunningChunk, SimulatedQpu, instant
from qpu_executor.simulation.recording import Effect, Outage
from qpu_executor.simulation.stage import Stage

OUTAGE, MAINTENANCE = "outage", "maintenance"
"""What spans of closed QPUs are called."""

EndChunk = Callable[[RunningChunk, Effect], None]
"""Ends a chunk that runs when its QPU closes."""


class Outages:
    """A QPU that is closed for two reasons opens when the last of them is over."""

    def __init__(self, stage: Stage, end_chunk: EndChunk) -> None:
        self._stage = stage
        self._end_chunk = end_chunk
        self._qpus: dict[str, SimulatedQpu] = {}
        self._random: dict[str, Random] = {}

    def begin(self, qpu: SimulatedQpu, random: Random) -> None:
        """A QPU has joined. `random`: of its breakdowns."""
        name, timing = qpu.timing.name, qpu.timing
        self._qpus[name], self._random[name] = qpu, random
        for outage in timing.outages:
            self._stage.later(outage.begins_s, self._closes, outage)
        if timing.rules.windows:
            self.windows(name, timing.rules.windows)
        self._plan_breakdown(qpu)

    def windows(self, qpu: str, windows: tuple[Window, ...]) -> None:
        """The QPU's windows are now these."""
        stage = self._stage
        if stage.policy.site_rules:
            stage.post(WindowsChanged(qpu, windows))
        for window in windows:
            begins_at = max(stage.now, window.starts_at - stage.start_at)
            ends_at = window.ends_at - stage.start_at
            if window.kind is not WindowKind.MAINTENANCE or ends_at <= stage.now:
                continue
            lasts_s = (ends_at - begins_at) / MICROSECONDS
            if stage.policy.site_rules:
                stage.heap.push(begins_at, self._note, (qpu, ends_at, MAINTENANCE), background=True)
            else:
                outage = Outage(qpu, begins_at / MICROSECONDS, lasts_s, MAINTENANCE)
                stage.heap.push(begins_at, self._closes, outage, background=True)

    def _plan_breakdown(self, qpu: SimulatedQpu) -> None:
        law = qpu.timing.breakdowns
        if law is not None:
            in_s = self._random[qpu.timing.name].expovariate(1.0 / law.mean_between_s)
            self._stage.later(in_s, self._breaks, qpu, background=True)

    def _breaks(self, qpu: SimulatedQpu) -> None:
        law = qpu.timing.breakdowns
        assert law is not None
        begins_s = self._stage.now / MICROSECONDS
        outage = Outage(qpu.timing.name, begins_s, law.repair_s, "breakdown", Effect.LOSES)
        self._closes(outage)
        self._stage.later(law.repair_s, self._plan_breakdown, qpu, background=True)

    def _closes(self, outage: Outage) -> None:
        stage, name = self._stage, outage.qpu
        qpu = self._qpus[name]
        qpu.down += 1
        if qpu.down == 1:
            stage.post(QpuReported(name, QpuState.DOWN, outage.reason))
        if outage.effect is not Effect.WAITS:
            for chunk in list(qpu.running.values()):
                self._end_chunk(chunk, outage.effect)
        ends_at = stage.now + instant(outage.lasts_s)
        what = MAINTENANCE if outage.reason == MAINTENANCE else OUTAGE
        self._note((name, ends_at, what))
        stage.heap.push(ends_at, self._opens, qpu, background=True)

    def _opens(self, qpu: SimulatedQpu) -> None:
        qpu.down -= 1
        if not qpu.down:
            state = QpuState.DRAINING if qpu.due else QpuState.UP
            self._stage.post(QpuReported(qpu.timing.name, state))

    def _note(self, closing: tuple[str, Instant, str]) -> None:
        """The time counts as closed; what still runs when it begins goes before."""
        name, ends_at, what = closing
        qpu = self._qpus[name]
        begins_at = max((one.ends_at for one in qpu.running.values()), default=self._stage.now)
        if begins_at < ends_at:
            qpu.closed.append((begins_at, ends_at))
            self._stage.note_span(name, begins_at, ends_at, what)
