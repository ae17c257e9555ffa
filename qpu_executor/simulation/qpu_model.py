"""The QPUs of a rehearsal: how long chunks take, and when calibrations close a QPU.

A chunk takes its shots at its job's rate, after a set-up for a task's first
chunk on the QPU, or a shorter one for a task that is taken up again after
another task or a calibration. A calibration becomes due some time after the end
of the last one and closes the QPU for its length. One that was announced is
planned with: no chunk is sent that might still run then. One that comes as a
surprise waits for the running chunk.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from qpu_executor.model.values import MICROSECONDS, ChunkId, Instant

_CALIBRATION_FACTOR = 7919
_POLLING_FACTOR = 104_729


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
class QpuTiming:
    """A QPU to rehearse on. `max_chunk_shots`: None for no limit of the device.

    `shot_rate_hz`: what the core expects before the first measurement.
    `setup_s`: before a task's first chunk; `resume_s`: before a chunk of a task
    that isn't the one that ran last. `calibration`: None for none. `closings`: known
    times at which it takes nothing, as (begins, lasts) in seconds; they come as a surprise.
    `max_linger_s`, `max_run_s`, `max_run_idle_s`: for how long jobs may keep it, as in `QpuSpec`.
    """

    name: str
    setup_s: float = 2.0
    resume_s: float = 2.0
    calibration: CalibrationLaw | None = CalibrationLaw()
    slots: int = 1
    min_chunk_shots: int = 1
    max_chunk_shots: int | None = None
    shot_rate_hz: float | None = None
    closings: tuple[tuple[float, float], ...] = ()
    max_linger_s: float = 0.0
    max_run_s: float = 0.0
    max_run_idle_s: float | None = None


@dataclass(slots=True, eq=False)
class RunningChunk:
    """A chunk at a QPU. `starts_at`: when its shots begin, after the set-up of `setup_s`.

    `gone`: it was stopped, so that its planned end means nothing.
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
        """Shots that are complete at an instant."""
        done_s = max(0, now - self.starts_at) / MICROSECONDS
        return min(self.shots, int(done_s * self.rate_hz))


@dataclass(slots=True, eq=False)
class SimulatedQpu:
    """One QPU. `due`: a calibration waits, `closes_s`: or a closing of that length;
    `calibrating_until`: it runs, None if not.

    `used`: false until its first task comes: a QPU that nobody has used yet
    isn't calibrated before that.
    """

    timing: QpuTiming
    random: Random
    running: dict[ChunkId, RunningChunk] = field(default_factory=dict)
    due: bool = False
    closes_s: float = 0.0
    calibrating_until: Instant | None = None
    used: bool = False
    last_task: int | None = None
    known_tasks: set[int] = field(default_factory=set)
    useful_s: float = 0.0
    overhead_s: float = 0.0
    calibrating_s: float = 0.0
    calibrations: int = 0

    def next_due(self, now: Instant) -> Instant | None:
        """Draw when the next calibration is due; None if there are none."""
        law = self.timing.calibration
        return None if law is None else now + instant(self.random.uniform(*law.every_s))

    def begin_calibration(self, now: Instant) -> Instant:
        """Close, as long as the law draws or the closing that is due lasts; returns the end."""
        law = self.timing.calibration
        length_s = self.closes_s if law is None else self.random.uniform(*law.lasts_s)
        self.due, self.last_task = False, None
        self.calibrating_s += length_s
        self.calibrations += 1
        self.calibrating_until = now + instant(length_s)
        return self.calibrating_until

    def begin_chunk(self, chunk: ChunkId, shots: int, rate_hz: float, now: Instant) -> RunningChunk:
        """Take a chunk in."""
        task_id, overhead_s = chunk.task_id, 0.0
        if task_id not in self.known_tasks:
            self.known_tasks.add(task_id)
            overhead_s = self.timing.setup_s
        elif task_id != self.last_task:
            overhead_s = self.timing.resume_s
        self.used, self.last_task = True, task_id
        self.overhead_s += overhead_s
        starts_at = now + instant(overhead_s)
        ends_at = now + instant(overhead_s + shots / rate_hz)
        running = RunningChunk(chunk, self, shots, rate_hz, now, starts_at, ends_at, overhead_s)
        self.running[chunk] = running
        return running

    def end_chunk(self, chunk: RunningChunk, shots: int) -> float:
        """A chunk has ended with `shots` shots; returns the seconds that they took."""
        del self.running[chunk.id]
        chunk.gone = True
        device_s = shots / chunk.rate_hz
        self.useful_s += device_s
        return device_s

    def forget(self, task_id: int) -> None:
        """A task has ended."""
        self.known_tasks.discard(task_id)
        if self.last_task == task_id:
            self.last_task = None


def calibration_random(seed: int, n: int) -> Random:
    """The draws of the `n`th QPU's calibrations: the same under every policy."""
    return Random(seed * _CALIBRATION_FACTOR + 1 + n * _POLLING_FACTOR)  # noqa: S311


def polling_random(seed: int) -> Random:
    """The draws of how long an end stays unnoticed, where it is polled for."""
    return Random(seed * _POLLING_FACTOR + 3)  # noqa: S311
