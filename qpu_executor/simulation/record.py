"""What a rehearsal leaves behind: one value a task, a job and a stretch of QPU time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class TaskOutcome(NamedTuple):
    """A task that completed. `wait_s`: ready until its first chunk was sent.

    `delay_s`: ready until its end, less its shots and one set-up: all the time
    in which it waited, was put aside, or was taken up again. `asked`: its job asked to
    keep the QPU.
    """

    job_class: str
    account: str
    kind: str
    wait_s: float
    delay_s: float
    quantum_s: float
    asked: bool = False


class JobOutcome(NamedTuple):
    """A job that completed. `alone_s`: its turnaround alone on the QPU. `asked`: to keep it."""

    job_class: str
    account: str
    kind: str
    turnaround_s: float
    alone_s: float
    asked: bool = False

    @property
    def delay_s(self) -> float:
        """Turnaround beyond the one alone."""
        return self.turnaround_s - self.alone_s

    @property
    def stretch(self) -> float:
        """Turnaround over the one alone: 1 is as if nobody else were there."""
        return self.turnaround_s / self.alone_s


class Span(NamedTuple):
    """A stretch of QPU time, seconds from the start. `task_id`: None where it was closed;
    `job_class` then says why.
    """

    qpu: str
    begins_s: float
    ends_s: float
    task_id: int | None
    job_id: int | None
    job_class: str


class ChunkSent(NamedTuple):
    """One decision of the core, for comparing orders: the shots of a task from `first_shot` on."""

    qpu: str
    task_id: int
    n: int
    shots: int
    first_shot: int


@dataclass(slots=True)
class RunRecord:
    """One policy on one seed's jobs. Seconds are those of the rehearsed time.

    `useful_s`, `overhead_s`, `calibrating_s`: QPU time in shots, in set-ups, in
    calibrations, over all `slots` of all QPUs; `closed_s`: in calibrations, outages and
    maintenance; `kept_s`: in which a QPU was kept idle. `shots_delivered` exceeds
    `shots_counted` by what was repeated or thrown away. `tasks_failed`: tasks that didn't
    complete; `tasks_left`: those that were held, or otherwise not run, when nothing more
    could happen; `refusals`: times that a limit refused one. `spans` and `chunks` only
    where they were asked for.
    """

    policy: str
    seed: int
    makespan_s: float = 0.0
    slots: int = 1
    useful_s: float = 0.0
    overhead_s: float = 0.0
    calibrating_s: float = 0.0
    closed_s: float = 0.0
    kept_s: float = 0.0
    calibrations: int = 0
    shots_asked: int = 0
    shots_counted: int = 0
    shots_delivered: int = 0
    decisions: int = 0
    tasks_failed: int = 0
    tasks_left: int = 0
    refusals: int = 0
    bound_s: float = 0.0
    tasks: list[TaskOutcome] = field(default_factory=list)
    jobs: list[JobOutcome] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    chunks: list[ChunkSent] = field(default_factory=list)

    def share(self, seconds: float) -> float:
        """These seconds' share of the QPUs' time up to the end of the last job."""
        time_s = self.slots * self.makespan_s
        return seconds / time_s if time_s else 0.0

    def utilisation(self, days: float = 0.0) -> float:
        """Share of the QPUs' time in shots, over the makespan or `days` days if that is longer."""
        time_s = self.slots * max(self.makespan_s, days * 86_400.0)
        return self.useful_s / time_s if time_s else 0.0

    @property
    def calibrated_utilisation(self) -> float:
        """Share of the time in shots, of the time in which the QPUs weren't closed."""
        open_s = self.slots * self.makespan_s - self.closed_s
        return self.useful_s / open_s if open_s > 0 else 0.0
