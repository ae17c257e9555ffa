"""Hybrid jobs as loops of think time and quantum task, drawn from seeded models.

A job thinks, submits one round of quantum tasks (one, or a scan of several at
once), waits for the last of them, and thinks again. `WorkloadModel.closed`
draws a batch that is there from the start, `WorkloadModel.open` arrivals whose
demand is a given share of the QPU's time. Durations are seconds from the start
of the rehearsal. The order of the random draws is part of the interface: a seed
names the same jobs for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random
from statistics import fmean

DAY_S = 86_400.0

_MEAN_SAMPLES = 300
_MEAN_FIRST_SEED = 10_000


@dataclass(frozen=True, slots=True)
class Round:
    """Think, then submit `width` tasks of `shots` shots each, at once."""

    think_s: float
    shots: int
    width: int = 1


@dataclass(frozen=True, slots=True)
class Keep:
    """Keep the QPU warm for `seconds` after each task, or (`contiguous`) for a run.

    What is granted is bounded by the site, which may be nothing.
    """

    seconds: float
    contiguous: bool = False


@dataclass(frozen=True, slots=True)
class Asking:
    """This share of the jobs asks to keep the QPU. `kind`: only jobs of that kind."""

    share: float
    keep: Keep
    kind: str | None = None


class PathSaid(StrEnum):
    """What the jobs say of the work that follows from a task."""

    TRUTH = "truth"
    NOTHING = "nothing"
    LIES = "lies"
    """The truth times anything from a hundredth to a hundred, drawn for each job."""


@dataclass(frozen=True, slots=True)
class HybridJob:
    """One job. `rate_hz`: shots a second of its programs, which have all one register
    `layout` (None: it doesn't matter). `keep`: what it asks of the QPU. `path_factor`: what
    it says of its work to come is the truth times that (None: nothing).
    """

    job_id: int
    job_class: str
    kind: str
    account: str
    arrives_s: float
    rate_hz: float
    rounds: tuple[Round, ...]
    layout: str | None = None
    keep: Keep | None = None
    path_factor: float | None = 1.0

    @property
    def quantum_s(self) -> float:
        """Seconds that its shots take."""
        return sum(one.width * one.shots / self.rate_hz for one in self.rounds)

    def alone_s(self, setup_s: float) -> float:
        """Its turnaround if nobody else used the QPU and nothing were calibrated."""
        return self.rounds[0].think_s + self.path_s(0, setup_s)

    def path_s(self, n: int, setup_s: float) -> float:
        """As `alone_s`, from the moment at which the tasks of its `n`th round are ready."""
        rest = self.rounds[n:]
        work_s = sum(one.width * (setup_s + one.shots / self.rate_hz) for one in rest)
        return work_s + sum(one.think_s for one in rest[1:])


@dataclass(frozen=True, slots=True)
class JobKind:
    """A kind of job: inclusive ranges from which each round is drawn evenly."""

    name: str
    think_s: tuple[float, float]
    shots: tuple[int, int]
    rounds: tuple[int, int]
    width: tuple[int, int] = (1, 1)


QUANTUM_HEAVY = JobKind("quantum-heavy", (1, 10), (500, 1000), (5, 20))
BALANCED = JobKind("balanced", (60, 200), (200, 600), (10, 30))
CLASSICAL_HEAVY = JobKind("classical-heavy", (200, 600), (100, 300), (10, 30))
HYBRID_KINDS = (QUANTUM_HEAVY, BALANCED, CLASSICAL_HEAVY)


@dataclass(frozen=True, slots=True)
class Flood:
    """One account sends this share of the jobs; the others share the rest evenly."""

    account: str
    share: float


@dataclass(frozen=True, slots=True)
class WorkloadModel:
    """What jobs are like. `class_shares`: (class, share of the jobs), shares adding up to 1.

    `layouts`: how many register layouts there are; 0: they don't matter.
    """

    kinds: tuple[JobKind, ...] = HYBRID_KINDS
    class_shares: tuple[tuple[str, float], ...] = (("production", 0.3), ("development", 0.7))
    accounts: tuple[str, ...] = tuple(f"account-{i}" for i in range(10))
    rate_hz: tuple[float, float] = (1.0, 5.0)
    flood: Flood | None = None
    layouts: int = 0
    asking: Asking | None = None
    path_said: PathSaid = PathSaid.TRUTH

    def closed(self, seed: int, jobs: int) -> list[HybridJob]:
        """A batch of `jobs` jobs at 0, the kinds taking turns."""
        random = Random(seed)  # noqa: S311
        kinds = self.kinds
        drawn = [self._draw(random, i, kinds[i % len(kinds)]) for i in range(jobs)]
        return self._with_words(seed, self._laid_out(seed, drawn))

    def open(self, seed: int, load: float, days: float) -> list[HybridJob]:
        """Poisson arrivals during `days` days whose shots take `load` of that time on average."""
        random = Random(seed)  # noqa: S311
        per_s = load / self.mean_quantum_s()
        at_s, jobs = 0.0, list[HybridJob]()
        while True:
            at_s += random.expovariate(per_s)
            if at_s > days * DAY_S:
                return self._with_words(seed, self._laid_out(seed, jobs))
            account = None if self.flood is None else self._flooding(random, self.flood)
            jobs.append(self._draw(random, len(jobs), None, at_s, account))

    def mean_quantum_s(self) -> float:
        """Seconds of shots in an average job, from a sample that is always the same."""
        return fmean(
            self._draw(Random(_MEAN_FIRST_SEED + i), i, kind).quantum_s  # noqa: S311
            for i in range(_MEAN_SAMPLES)
            for kind in self.kinds
        )

    def _draw(
        self,
        random: Random,
        job_id: int,
        kind: JobKind | None,
        arrives_s: float = 0.0,
        account: str | None = None,
    ) -> HybridJob:
        kind = kind or random.choice(self.kinds)
        rounds = tuple(_round(random, kind) for _ in range(random.randint(*kind.rounds)))
        job_class = self._class(random.random())
        if account is None:
            account = self.accounts[random.randrange(len(self.accounts))]
        rate_hz = random.uniform(*self.rate_hz)
        return HybridJob(job_id, job_class, kind.name, account, arrives_s, rate_hz, rounds)

    def _laid_out(self, seed: int, jobs: list[HybridJob]) -> list[HybridJob]:
        """With a layout each; drawn apart, so that the jobs are the same without."""
        if not self.layouts:
            return jobs
        random = Random(f"layouts of {seed}")  # noqa: S311
        return [replace(one, layout=f"layout-{random.randrange(self.layouts)}") for one in jobs]

    def _with_words(self, seed: int, jobs: list[HybridJob]) -> list[HybridJob]:
        """What the jobs ask and say, drawn apart: the jobs of a seed stay what they are.

        Whoever asks under one share also asks under a larger one.
        """
        asks, lies = Random(f"{seed} asks"), Random(f"{seed} lies")  # noqa: S311
        asking, found = self.asking, []
        for job in jobs:
            drawn, power = asks.random(), lies.uniform(-2.0, 2.0)
            keep = None
            if asking is not None and drawn < asking.share and asking.kind in (None, job.kind):
                keep = asking.keep
            factor = {PathSaid.TRUTH: 1.0, PathSaid.NOTHING: None, PathSaid.LIES: 10.0**power}
            found.append(replace(job, keep=keep, path_factor=factor[self.path_said]))
        return found

    def _class(self, drawn: float) -> str:
        for name, share in self.class_shares[:-1]:
            if drawn < share:
                return name
            drawn -= share
        return self.class_shares[-1][0]

    def _flooding(self, random: Random, flood: Flood) -> str:
        if random.random() < flood.share:
            return flood.account
        others = [name for name in self.accounts if name != flood.account]
        return others[random.randrange(len(others))]


def _round(random: Random, kind: JobKind) -> Round:
    think_s = random.uniform(*kind.think_s)
    shots = random.randint(*kind.shots)
    low, high = kind.width
    return Round(think_s, shots, low if low == high else random.randint(low, high))


def shortest_makespan_s(jobs: Sequence[HybridJob], setup_s: float, closed_s: float = 0.0) -> float:
    """No schedule of a closed batch on one QPU is shorter than this.

    The QPU's work and the time in which it was closed after the shortest lead-in, or the
    longest job alone.
    """
    tasks = sum(one.width for job in jobs for one in job.rounds)
    work_s = sum(job.quantum_s for job in jobs) + setup_s * tasks
    lead_in_s = min(job.rounds[0].think_s for job in jobs)
    return max(lead_in_s + work_s + closed_s, max(job.alone_s(setup_s) for job in jobs))
