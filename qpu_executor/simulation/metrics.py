"""Figures of the rehearsals of one policy, pooled over its seeds.

Percentiles are nearest-rank: the smallest value that at least that share of the
values doesn't exceed. A figure without any value is None, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from qpu_executor.simulation.record import RunRecord


def percentile(ordered: Sequence[float], share: float) -> float:
    """Nearest rank in ascending values, of which there is at least one."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True)
class Spread:
    """How values are spread; `count`: how many there are."""

    count: int
    mean: float | None
    p50: float | None
    p95: float | None
    p99: float | None

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The spread of values, in any order."""
        ordered = sorted(values)
        if not ordered:
            return cls(0, None, None, None, None)
        shares = (percentile(ordered, share) for share in (0.50, 0.95, 0.99))
        return cls(len(ordered), fmean(ordered), *shares)


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One job class. `wait_s`: ready until the first chunk; `delay_s`: all waiting of a task.

    `job_delay_s`, `job_stretch`: turnaround of jobs less, and over, the one alone.
    """

    job_class: str
    wait_s: Spread
    delay_s: Spread
    job_delay_s: Spread
    job_stretch: Spread


@dataclass(frozen=True, slots=True)
class AccountFigures:
    """Jobs of one account, or of all but one."""

    accounts: str
    delay_s: Spread
    job_stretch: Spread


@dataclass(frozen=True, slots=True)
class Figures:
    """One policy. Utilisations and shares are fractions of 1, means over the seeds.

    `utilisation`: shots' share of the time; `calibrated_utilisation`: of the time in
    which the QPUs were open; `closed`: share of the time in which they were not
    (calibrations, outages, maintenance). `against_bound`: makespan over the shortest possible
    one (closed batches). `shots_repeated`: delivered, but not counted. `tasks_left`:
    held, or not run for another reason, when nothing more could happen. `refusals`:
    times that a limit refused a task, which was then offered again later.
    `heaviest`, `others`: the account that used most, and everybody else. `kept`: share of
    the time in which a QPU was kept idle; `asking`, `not_asking`: jobs that asked for that,
    and the others, where any did.
    """

    policy: str
    seeds: int
    utilisation: float
    calibrated_utilisation: float
    overhead: float
    closed: float
    makespan_s: float
    against_bound: float | None
    shots_counted: int
    shots_repeated: int
    tasks_failed: int
    tasks_left: int
    refusals: int
    classes: tuple[ClassFigures, ...]
    heaviest: AccountFigures | None
    others: AccountFigures | None
    kept: float = 0.0
    asking: AccountFigures | None = None
    not_asking: AccountFigures | None = None

    def of_class(self, name: str) -> ClassFigures | None:
        """The figures of a class; None if none of its tasks ran."""
        return next((one for one in self.classes if one.job_class == name), None)


def figures(records: Sequence[RunRecord], classes: Sequence[str], days: float = 0.0) -> Figures:
    """Pool records of one policy. `classes`: in the order of the report, those without tasks
    are left out; `days`: length of the arrivals (open systems)."""
    found = {task.job_class for one in records for task in one.tasks}
    names = [name for name in classes if name in found]
    heaviest, others = _accounts(records)
    bound = [one.makespan_s / one.bound_s for one in records if one.bound_s]
    return Figures(
        policy=records[0].policy,
        seeds=len(records),
        utilisation=fmean(one.utilisation(days) for one in records),
        calibrated_utilisation=fmean(one.calibrated_utilisation for one in records),
        overhead=fmean(one.share(one.overhead_s) for one in records),
        closed=fmean(one.share(one.closed_s) for one in records),
        makespan_s=fmean(one.makespan_s for one in records),
        against_bound=fmean(bound) if bound else None,
        shots_counted=sum(one.shots_counted for one in records),
        shots_repeated=sum(one.shots_delivered - one.shots_counted for one in records),
        tasks_failed=sum(one.tasks_failed for one in records),
        tasks_left=sum(one.tasks_left for one in records),
        refusals=sum(one.refusals for one in records),
        classes=tuple(_of_class(records, name) for name in names),
        heaviest=heaviest,
        others=others,
        kept=fmean(one.kept_s / (one.slots * one.makespan_s) for one in records),
        asking=_asking(records, "asking", asked=True),
        not_asking=_asking(records, "the others", asked=False),
    )


def _of_class(records: Sequence[RunRecord], name: str) -> ClassFigures:
    tasks = [task for one in records for task in one.tasks if task.job_class == name]
    jobs = [job for one in records for job in one.jobs if job.job_class == name]
    return ClassFigures(
        job_class=name,
        wait_s=Spread.of(task.wait_s for task in tasks),
        delay_s=Spread.of(task.delay_s for task in tasks),
        job_delay_s=Spread.of(job.delay_s for job in jobs),
        job_stretch=Spread.of(job.stretch for job in jobs),
    )


def _asking(records: Sequence[RunRecord], title: str, *, asked: bool) -> AccountFigures | None:
    """Jobs that asked to keep the QPU, or those that didn't; None where nobody asked."""
    if not any(job.asked for one in records for job in one.jobs):
        return None
    tasks = (x for one in records for x in one.tasks if x.asked is asked)
    jobs = (x for one in records for x in one.jobs if x.asked is asked)
    return AccountFigures(
        title, Spread.of(x.delay_s for x in tasks), Spread.of(x.stretch for x in jobs)
    )


def _accounts(
    records: Sequence[RunRecord],
) -> tuple[AccountFigures | None, AccountFigures | None]:
    used: dict[str, float] = {}
    for one in records:
        for task in one.tasks:
            used[task.account] = used.get(task.account, 0.0) + task.quantum_s
    if len(used) < 2:
        return None, None
    most = max(sorted(used), key=lambda name: used[name])
    return (
        _of_accounts(records, most, most, wanted=True),
        _of_accounts(records, f"all but {most}", most, wanted=False),
    )


def _of_accounts(
    records: Sequence[RunRecord], title: str, account: str, *, wanted: bool
) -> AccountFigures:
    tasks = (x for one in records for x in one.tasks if (x.account == account) is wanted)
    jobs = (x for one in records for x in one.jobs if (x.account == account) is wanted)
    return AccountFigures(
        title, Spread.of(x.delay_s for x in tasks), Spread.of(x.stretch for x in jobs)
    )
