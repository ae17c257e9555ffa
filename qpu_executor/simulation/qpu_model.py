"""The QPUs of a rehearsal: how long chunks take, and what closes a QPU.

A chunk takes its shots at its task's rate, after a set-up: for a task's first
chunk on the QPU, a shorter one for a task that is taken up again after another
task or a calibration, and more where the register layout has to be changed. A
calibration becomes due some time after the end of the last one and closes the
QPU for its length. One that was announced is planned with: no chunk is sent that
might still run then. One that comes as a surprise waits for the running chunk.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from qpu_executor.model.timing import CalibrationPlan, Window
from qpu_executor.model.values import MICROSECONDS, ChunkId, Instant, QpuSpec

if TYPE_CHECKING:
    from qpu_executor.simulation.recording import Outage, RecordedCalibration

_CALIBRATION_FACTOR = 7919
_POLLING_FACTOR = 104_729
_BREAKDOWN_FACTOR = 15_485_863


def instant(seconds: float) -> Instant:
    """Seconds from the start of the rehearsal, as an instant."""
    return round(seconds * MICROSECONDS)


@dataclass(frozen=True, slots=True)
class CalibrationLaw:
    """Calibrations become due `every_s` after the last one and take `lasts_s` (even draws).

    `announced`: the core hears of the next one as soon as the last one is over.
    """

    every_s: tuple[float, float] = (3600.0, 14_400.0)
    lasts_s: tuple[float, float] = (300.0, 900.0)
    announced: bool = True


@dataclass(frozen=True, slots=True)
class BreakdownLaw:
    """The QPU fails at random, `mean_between_s` apart on average (exponential draws), and
    is down for `repair_s`. What runs is lost.
    """

    mean_between_s: float
    repair_s: float


@dataclass(frozen=True, slots=True)
class QpuRules:
    """What a site says of a QPU, whatever the machine is like: see `QpuSpec`.

    `plan`: its calibration plan, which the machine then keeps to.
    """

    plan: CalibrationPlan | None = None
    windows: tuple[Window, ...] = ()
    group_tasks: int = 0
    group_s: float = 0.0
    max_linger_s: float = 0.0
    max_run_s: float = 0.0
    max_run_idle_s: float | None = None


@dataclass(frozen=True, slots=True)
class QpuTiming:
    """A QPU to rehearse on. `max_chunk_shots`: None for no limit of the device.

    `shot_rate_hz`: what the core expects before the first measurement.
    `setup_s`: before a task's first chunk; `resume_s`: before a chunk of a task
    that isn't the one that ran last; `chunk_s`: before every chunk, and `layout_s` before
    one with another register layout, on top of those. `calibration`: None for none.
    `breakdowns`: None for none. `outages`, `calibrations`: those of a recording.
    """

    name: str
    setup_s: float = 2.0
    resume_s: float = 2.0
    calibration: CalibrationLaw | None = CalibrationLaw()
    slots: int = 1
    min_chunk_shots: int = 1
    max_chunk_shots: int | None = None
    shot_rate_hz: float | None = None
    chunk_s: float = 0.0
    layout_s: float = 0.0
    partial_results: bool = True
    breakdowns: BreakdownLaw | None = None
    rules: QpuRules = QpuRules()
    outages: tuple[Outage, ...] = ()
    calibrations: tuple[RecordedCalibration, ...] = ()

    @property
    def first_setup_s(self) -> float:
        """Seconds before the first shot of a task, if its layout is the right one."""
        return self.setup_s + self.chunk_s

    def spec(self, *, site_rules: bool) -> QpuSpec:
        """As the core is told. `site_rules`: whether it knows the site's rules, too."""
        rules = self.rules if site_rules else QpuRules()
        return QpuSpec(
            self.name,
            slots=self.slots,
            min_chunk_shots=self.min_chunk_shots,
            max_chunk_shots=self.max_chunk_shots,
            shot_rate_hz=self.shot_rate_hz,
            setup_s=self.chunk_s,
            switch_s=max(self.setup_s, self.resume_s),
            layout_s=self.layout_s,
            group_tasks=rules.group_tasks,
            group_s=rules.group_s,
            max_linger_s=rules.max_linger_s,
            max_run_s=rules.max_run_s,
            max_run_idle_s=rules.max_run_idle_s,
            partial_results=self.partial_results,
            calibration=rules.plan,
        )


@dataclass(slots=True, eq=False)
class RunningChunk:
    """A chunk at a QPU. `starts_at`: when its shots begin, after the set-up of `setup_s`.

    `gone`: it ended, so that its planned end means nothing.
    """

    id: ChunkId
    qpu: SimulatedQpu
    shots: int
    rate_hz: float
    sent_at: Instant
    starts_at: Instant
    ends_at: Instant
    setup_s: float
    gone: bool = False

    def shots_by(self, now: Instant) -> int:
        """Shots that are complete at an instant; one that ends then is."""
        done_s = max(0, now - self.starts_at) / MICROSECONDS
        return min(self.shots, int(done_s * self.rate_hz + 1e-9))

    def setup_by(self, now: Instant) -> float:
        """Seconds of set-up that it has had at an instant."""
        return min(self.setup_s, (now - self.sent_at) / MICROSECONDS)

    def device_by(self, now: Instant) -> float:
        """Seconds since its first shot began."""
        if now >= self.ends_at:
            return self.shots / self.rate_hz
        return max(0, now - self.starts_at) / MICROSECONDS


@dataclass(slots=True, eq=False)
class SimulatedQpu:
    """One QPU. `due`: a calibration waits for the running chunk. `calibrating_until`: it
    runs, None if not. `down`: for how many reasons it reports that it takes nothing.
    `calibrated`, `closed` otherwise: when, as (begin, end), in any order.

    `used`: false until its first task comes: a QPU that nobody has used yet
    isn't calibrated before that.
    """

    timing: QpuTiming
    random: Random
    running: dict[ChunkId, RunningChunk] = field(default_factory=dict)
    due: bool = False
    calibrating_until: Instant | None = None
    down: int = 0
    used: bool = False
    last_task: int | None = None
    layout: str | None = None
    known_tasks: set[int] = field(default_factory=set)
    useful_s: float = 0.0
    overhead_s: float = 0.0
    calibrations: int = 0
    calibrated: list[tuple[Instant, Instant]] = field(default_factory=list)
    closed: list[tuple[Instant, Instant]] = field(default_factory=list)

    def next_due(self, now: Instant) -> Instant | None:
        """Draw when the next calibration is due; None if there are none."""
        law = self.timing.calibration
        return None if law is None else now + instant(self.random.uniform(*law.every_s))

    def begin_calibration(self, now: Instant) -> Instant:
        """Close for as long as the recording, the plan or the law says; returns the end."""
        self.due, self.last_task = False, None
        self.calibrating_until = now + instant(self._calibration_s())
        self.calibrations += 1
        self.calibrated.append((now, self.calibrating_until))
        return self.calibrating_until

    def _calibration_s(self) -> float:
        recorded, law, plan = self.timing.calibrations, self.timing.calibration, self.timing.rules
        if recorded:
            return recorded[min(self.calibrations, len(recorded) - 1)].lasts_s
        if plan.plan is not None:
            return plan.plan.length_s
        return 0.0 if law is None else self.random.uniform(*law.lasts_s)

    def begin_chunk(
        self, chunk: ChunkId, shots: int, rate_hz: float, now: Instant, layout: str | None = None
    ) -> RunningChunk:
        """Take a chunk in."""
        overhead_s = self._overhead_s(chunk.task_id, layout)
        self.known_tasks.add(chunk.task_id)
        self.used, self.last_task = True, chunk.task_id
        self.layout = layout or self.layout
        starts_at = now + instant(overhead_s)
        ends_at = now + instant(overhead_s + shots / rate_hz)
        running = RunningChunk(chunk, self, shots, rate_hz, now, starts_at, ends_at, overhead_s)
        self.running[chunk] = running
        return running

    def _overhead_s(self, task_id: int, layout: str | None) -> float:
        timing = self.timing
        overhead_s = timing.chunk_s
        if task_id not in self.known_tasks:
            overhead_s += timing.setup_s
        elif task_id != self.last_task:
            overhead_s += timing.resume_s
        if layout is not None and layout != self.layout:
            overhead_s += timing.layout_s
        return overhead_s

    def end_chunk(self, chunk: RunningChunk, shots: int, now: Instant) -> float:
        """A chunk has ended with `shots` shots; returns the seconds since its first one began."""
        del self.running[chunk.id]
        chunk.gone = True
        self.overhead_s += chunk.setup_by(now)
        self.useful_s += shots / chunk.rate_hz
        return chunk.device_by(now)

    def forget(self, task_id: int) -> None:
        """A task has ended."""
        self.known_tasks.discard(task_id)
        if self.last_task == task_id:
            self.last_task = None


def total_s(stretches: Iterable[tuple[Instant, Instant]], until: Instant) -> float:
    """Seconds up to an instant that are in one of the stretches at least."""
    total, reached = 0, 0
    for begin, end in sorted(stretches):
        begin, end = max(begin, reached), min(end, until)
        if end > begin:
            total += end - begin
            reached = end
    return total / MICROSECONDS


def calibration_random(seed: int, n: int) -> Random:
    """The draws of the `n`th QPU's calibrations: the same under every policy."""
    return Random(seed * _CALIBRATION_FACTOR + 1 + n * _POLLING_FACTOR)  # noqa: S311


def breakdown_random(seed: int, n: int) -> Random:
    """The draws of the `n`th QPU's breakdowns: the same under every policy."""
    return Random(seed * _BREAKDOWN_FACTOR + 5 + n * _POLLING_FACTOR)  # noqa: S311


def polling_random(seed: int) -> Random:
    """The draws of how long an end stays unnoticed, where it is polled for."""
    return Random(seed * _POLLING_FACTOR + 3)  # noqa: S311
