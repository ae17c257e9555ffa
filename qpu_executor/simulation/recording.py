"""The causes in a manager's journal: who submitted and asked what, and what befell the QPUs.

Outcomes are left out: what a task waited, and when its chunks ran, is for the
rehearsal to find out. What follows from an outcome is kept as such: a task of a
session that was submitted after another one had ended is submitted in the
rehearsal as long after that other one's end as it was then (its think time). So
a policy that is quicker is asked for more, as it would have been. What somebody
asked of a task (hold, release, cancel, requeue) comes as long after its submission
as it did then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from qpu_executor.model.events import (
    CalibrationReported,
    QpuDrained,
    QpuResumed,
    TaskCancelAsked,
    TaskHoldAsked,
    TaskRebound,
    TaskReleaseAsked,
    TaskStopAsked,
    WarmHoldAsked,
    WindowsChanged,
)
from qpu_executor.model.states import TaskState
from qpu_executor.model.values import Instant, TaskSpec


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One row of a journal. `state`: of rows that tell a task's new state."""

    at: Instant
    kind: str
    task_id: int | None
    state: TaskState | None
    data: Mapping[str, Any]


TaskEvent = TaskCancelAsked | TaskHoldAsked | TaskReleaseAsked | TaskStopAsked | TaskRebound

SiteEvent = QpuDrained | QpuResumed | WindowsChanged | WarmHoldAsked | CalibrationReported


@dataclass(frozen=True, slots=True)
class Asked:
    """Something that was asked of a task, so long after its submission."""

    after_s: float
    event: TaskEvent


@dataclass(frozen=True, slots=True)
class RecordedTask:
    """A submission. `after`: the task whose end it followed, None where it came by itself.

    `spec`: with the recording's instants. `delay_s`: after that end, or after the start of
    the recording. `shot_s`: seconds that its shots took, by QPU (where it took none: not).
    """

    spec: TaskSpec
    after: int | None
    delay_s: float
    shot_s: Mapping[str, float]
    asked: tuple[Asked, ...] = ()


class Effect(Enum):
    """What an outage does to the chunk that runs."""

    WAITS = "waits"
    """It is taken to its end; the QPU takes nothing new."""
    STOPS = "stops"
    """It is stopped, and the shots that it took count."""
    LOSES = "loses"
    """Its shots are lost: the device failed."""


@dataclass(frozen=True, slots=True)
class Outage:
    """A QPU took nothing for a while. `begins_s`: from the start of the recording."""

    qpu: str
    begins_s: float
    lasts_s: float
    reason: str = "closed"
    effect: Effect = Effect.WAITS


@dataclass(frozen=True, slots=True)
class RecordedCalibration:
    """A calibration that nobody's policy decided on. Seconds from the recording's start.

    `told_s`: when it was said that one is due at `due_s` (None: before the next chunk);
    `told_s` None: nobody said so, and it began at `begins_s`.
    """

    qpu: str
    begins_s: float
    lasts_s: float
    told_s: float | None = None
    due_s: float | None = None
    epoch: str | None = None
    quality: float | None = None


@dataclass(frozen=True, slots=True)
class SiteAct:
    """What an operator or a session asked of a QPU, with the recording's instants."""

    at_s: float
    event: SiteEvent


@dataclass(frozen=True, slots=True)
class Measured:
    """How fast a QPU was: means. Durations as in `ShotTiming`; `shot_s` None: it took none."""

    shot_s: float | None = None
    setup_s: float = 0.0
    switch_s: float = 0.0
    layout_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Recording:
    """What is played again. `start_at`, `end_at`: the first and the last of the journal's
    instants. `shot_s`: mean over all shots. `qpus`: those that tasks could go to.
    """

    tasks: tuple[RecordedTask, ...]
    outages: tuple[Outage, ...]
    calibrations: tuple[RecordedCalibration, ...]
    acts: tuple[SiteAct, ...]
    qpus: Mapping[str, Measured]
    shot_s: float
    start_at: Instant
    end_at: Instant
