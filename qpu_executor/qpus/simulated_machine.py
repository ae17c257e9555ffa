"""A simulated QPU between events: what it does by itself as time goes by.

No clock and no waiting: every method is told what time it is, brings the machine
up to that moment, and answers. So a machine that nobody looked at for a day is in
the same state as one that was watched.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from qpu_executor.model.states import QpuState
from qpu_executor.model.values import MICROSECONDS, Instant
from qpu_executor.qpus.base import (
    CalibrationStatus,
    ChunkOrder,
    ChunkOutcome,
    Health,
    OutcomeKind,
)
from qpu_executor.qpus.shot_source import atoms_of
from qpu_executor.qpus.simulated_downtime import Closing
from qpu_executor.qpus.simulated_drift import CalibrationDrift, Deviations
from qpu_executor.qpus.simulated_memory import ChunkEnd, MachineState, SimulatedChunk
from qpu_executor.qpus.simulated_settings import SimulatedSettings
from qpu_executor.qpus.simulated_timing import ShotTimes

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Machine:
    """`state` is changed here only. One chunk occupies the machine at a time."""

    def __init__(self, name: str, settings: SimulatedSettings, state: MachineState) -> None:
        self.state = state
        self._name = name
        self._settings = settings
        noise = settings.noise
        self._drift = None if noise is None else CalibrationDrift(noise.drift, settings.timing.seed)

    @property
    def occupied_by(self) -> SimulatedChunk | None:
        """The chunk whose shots are being taken (or set up)."""
        return next((one for one in self.state.chunks.values() if one.end is None), None)

    def health(self, now: Instant) -> Health:
        """Whether a chunk would be taken now; `until`: when that is expected to change."""
        self._advance(now)
        state, calibration = self.state, self._calibration(now)
        closing = self._closing_at(now)
        if closing is not None and self._instant(closing.starts_s) <= now:
            until = self._instant(closing.ends_s)
            what = closing.reason if closing.planned else f"{closing.reason}, under repair"
            return Health(QpuState.DOWN, f"{what} until {_said(until)}", until, calibration)
        if state.calibrating_until is not None:
            until = state.calibrating_until
            reason = f"calibrating until {_said(until)}"
            return Health(QpuState.DOWN, reason, until, calibration)
        ahead = [] if closing is None else [self._instant(closing.starts_s)]
        if self.occupied_by is None and (wanted := self._calibration_wanted_at()) is not None:
            ahead.append(wanted)
        return Health(QpuState.UP, until=min(ahead, default=None), calibration=calibration)

    def accept(self, order: ChunkOrder, layout: str | None, now: Instant) -> SimulatedChunk:
        """The chunk begins: its set-up, then its shots. The machine must be UP and free."""
        self._advance(now)
        state, task = self.state, order.chunk.task_id
        chunk = SimulatedChunk(
            id=order.chunk,
            program=order.program,
            first_shot=order.first_shot,
            shots=order.shots,
            seed=order.seed,
            accepted_at=now,
            setup_s=self._settings.timing.setup_of(state.last_task, task, state.layout, layout),
            epoch=self._epoch_name(),
            atoms=atoms_of(order.program),
            deviations=self._deviations(now),
        )
        state.chunks[chunk.id] = chunk
        state.last_task = task
        state.layout = layout if layout is not None else state.layout
        return chunk

    def planned_end(self, chunk: SimulatedChunk) -> ChunkEnd:
        """How the chunk ends if nobody stops it: with all its shots, unless the QPU closes,
        can't load a register, or fails.
        """
        undisturbed = self._undisturbed_end(chunk)
        closing = self._closing_at(chunk.accepted_at)
        if closing is None or (at := self._instant(closing.starts_s)) >= undisturbed.at:
            return undisturbed
        at = max(at, chunk.accepted_at)
        if closing.planned:
            message = f"the QPU closed for {closing.reason}"
            return ChunkEnd(OutcomeKind.STOPPED, at, self._partial(chunk, at), message)
        return ChunkEnd(OutcomeKind.FAULT, at, 0, f"{closing.reason} of the QPU")

    def _undisturbed_end(self, chunk: SimulatedChunk) -> ChunkEnd:
        """How it ends if the QPU doesn't close."""
        times = self._times(chunk)
        done_at = chunk.accepted_at + _us(chunk.setup_s + times.total_s)
        fails_after = self._settings.chunk_faults.fails_after(chunk.id)
        if fails_after is not None:
            at = chunk.accepted_at + _us(fails_after * (chunk.setup_s + times.total_s))
            return ChunkEnd(OutcomeKind.FAULT, at, 0, "the QPU failed during the chunk")
        if not times.loaded:
            message = f"the register of {chunk.atoms} atoms couldn't be loaded"
            return ChunkEnd(OutcomeKind.FAULT, done_at, 0, message)
        return ChunkEnd(OutcomeKind.FINISHED, done_at, chunk.shots)

    def stopped_end(self, chunk: SimulatedChunk, now: Instant) -> ChunkEnd:
        """How the chunk ends if it is stopped now."""
        planned = self.planned_end(chunk)
        if planned.at <= now:
            return planned
        return ChunkEnd(OutcomeKind.STOPPED, now, self._partial(chunk, now), "stopped")

    def end(self, chunk: SimulatedChunk, end: ChunkEnd) -> None:
        """The chunk doesn't occupy the machine any more; its counts are still to be read."""
        chunk.end = end
        self.state.idle_since = max(self.state.idle_since, end.at)

    def settle(
        self, chunk: SimulatedChunk, now: Instant, counts: Mapping[str, int], **changes: object
    ) -> ChunkOutcome:
        """The ended chunk's outcome, remembered from now on. `changes`: fields that differ."""
        end = chunk.end
        assert end is not None
        elapsed_s = max(0, end.at - chunk.accepted_at) / MICROSECONDS
        setup_s = min(chunk.setup_s, elapsed_s)
        facts: dict[str, object] = {
            "kind": end.kind,
            "counts": dict(counts),
            "device_s": elapsed_s - setup_s,
            "setup_s": setup_s,
            "epoch": chunk.epoch,
            "message": end.message,
            "started_at": chunk.accepted_at,
            "ended_at": end.at,
            "health": self.health(max(now, end.at)),
            **changes,
        }
        outcome = ChunkOutcome(**facts)  # type: ignore[arg-type]
        self.state.settle(chunk.id, outcome)
        return outcome

    def ask_calibration(self, now: Instant) -> None:
        """Calibrate as soon as no chunk runs. Asking again, or while one runs, changes nothing."""
        self._advance(now)
        state = self.state
        if state.calibrating_until is None and state.calibration_asked is None:
            state.calibration_asked = now
        self._advance(now)

    # -- what happens by itself ---------------------------------------------------

    def _advance(self, now: Instant) -> None:
        """Begin and end the calibrations that time has brought since the last look."""
        state, plan = self.state, self._settings.calibration
        while plan is not None:
            if state.calibrating_until is not None:
                if state.calibrating_until > now:
                    return
                state.epoch += 1
                state.epoch_since = state.calibrating_until
                state.idle_since = max(state.idle_since, state.calibrating_until)
                state.calibrating_until = None
            wanted = self._calibration_wanted_at()
            if wanted is None or self.occupied_by is not None:
                return
            begins_at = self._open_from(max(wanted, state.idle_since))
            if begins_at > now:
                return
            state.calibrating_until = begins_at + _us(plan.takes_s(state.epoch))
            state.calibration_asked = None

    def _calibration_wanted_at(self) -> Instant | None:
        """When the next calibration begins if the machine is free; None: nobody starts one."""
        asked, plan = self.state.calibration_asked, self._settings.calibration
        due = self._due_at() if plan is not None and plan.by == "device" else None
        return min((one for one in (asked, due) if one is not None), default=None)

    def _due_at(self) -> Instant | None:
        plan = self._settings.calibration
        if plan is None:
            return None
        return self.state.epoch_since + _us(plan.due_after_s(self.state.epoch))

    def _calibration(self, now: Instant) -> CalibrationStatus:
        state = self.state
        if state.calibrating_until is not None:
            return CalibrationStatus(None, running=True)
        return CalibrationStatus(
            self._epoch_name(),
            since=state.epoch_since,
            due_at=self._due_at(),
            quality=self._quality(now),
        )

    def _quality(self, now: Instant) -> float | None:
        """As it was when the QPU last measured it, which it does at every new epoch."""
        plan, noise = self._settings.calibration, self._settings.noise
        if noise is None:
            return None if plan is None else plan.quality_of(self.state.epoch)
        since = self.state.epoch_since
        passed = (now - since) // _us(noise.check_every_s)
        measured = self._deviations(since + passed * _us(noise.check_every_s))
        return None if measured is None else round(measured.quality, 3)

    def _deviations(self, at: Instant) -> Deviations | None:
        """What the machine is off by in the epoch of now; None without noise."""
        if self._drift is None:
            return None
        return self._drift.at(self.state.epoch, (at - self.state.epoch_since) / MICROSECONDS)

    def _times(self, chunk: SimulatedChunk) -> ShotTimes:
        return self._settings.timing.shots_of(chunk.id, chunk.shots, chunk.atoms)

    def _epoch_name(self) -> str:
        began = _EPOCH + timedelta(microseconds=self.state.epoch_since)
        return f"{self._name}-{self.state.epoch}-{began:%Y%m%dT%H%M%S}"

    def _partial(self, chunk: SimulatedChunk, at: Instant) -> int:
        if not self._settings.partial_results:
            return 0
        elapsed_s = (at - chunk.accepted_at) / MICROSECONDS - chunk.setup_s
        return self._times(chunk).taken_by(elapsed_s)

    # -- instants, and seconds since the machine was first opened ---------------------

    def _closing_at(self, at: Instant) -> Closing | None:
        return self._settings.downtime.next_at(self._seconds(at))

    def _open_from(self, at: Instant) -> Instant:
        return max(at, self._instant(self._settings.downtime.open_from(self._seconds(at))))

    def _seconds(self, at: Instant) -> float:
        return max(0, at - self.state.born_at) / MICROSECONDS

    def _instant(self, seconds: float) -> Instant:
        return self.state.born_at + _us(seconds)


def _us(seconds: float) -> int:
    return round(seconds * MICROSECONDS)


def _said(at: Instant) -> str:
    return f"{_EPOCH + timedelta(microseconds=at):%Y-%m-%d %H:%M:%S} UTC"
