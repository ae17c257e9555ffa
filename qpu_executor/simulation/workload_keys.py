"""The keys of a workload file, and the ranges of their values."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from qpu_executor.simulation.workload import (
    BALANCED,
    CLASSICAL_HEAVY,
    QUANTUM_HEAVY,
    Asking,
    Flood,
    JobKind,
    Keep,
    PathSaid,
    WorkloadModel,
)

A_MONDAY = "2026-01-05"
"""When a rehearsal starts unless the file says so: the same day of the week for ever."""


def _ascending(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError(f"the first of [{pair[0]:g}, {pair[1]:g}] is the larger one")
    return pair


Seconds = Annotated[float, Field(ge=0, le=1e7)]
SecondsRange = Annotated[tuple[Seconds, Seconds], AfterValidator(_ascending)]
Hertz = Annotated[float, Field(gt=0, le=1e6)]
RateRange = Annotated[tuple[Hertz, Hertz], AfterValidator(_ascending)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
CountRange = Annotated[tuple[Count, Count], AfterValidator(_ascending)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Arrivals(_Part):
    """An open system: jobs arrive at random so that shots take `load` of the time."""

    load: float = Field(gt=0, le=2)
    days: float = Field(gt=0, le=366)


class Batch(_Part):
    """A closed batch: all jobs are there from the start, the kinds taking turns."""

    jobs: int = Field(ge=1, le=10_000)


class Jobs(_Part):
    """A kind of job: ranges from which every round is drawn evenly.

    `think_s`: classical seconds before each round; `shots`: of a task; `rounds`: of
    a job; `width`: tasks submitted at once in each round (a scan has many).
    """

    think_s: SecondsRange
    shots: CountRange
    rounds: CountRange
    width: CountRange = (1, 1)


class FloodSettings(_Part):
    """One of the accounts sends this share of the jobs."""

    account: str
    share: float = Field(gt=0, lt=1)


class KeepWarm(_Part):
    """This share of the jobs (`kind`: of those of that kind) asks to keep the QPU.

    Either `linger_s`, after each task, or `run_s`, for contiguous runs. What is granted is
    the site's to say (`keep_warm` of its QPUs); both are rehearsed, granted and not.
    """

    share: float = Field(gt=0, le=1)
    linger_s: Seconds | None = None
    run_s: Seconds | None = None
    kind: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.linger_s) == bool(self.run_s):
            raise ValueError("either linger_s or run_s has to be given, and not both")
        return self

    def asking(self) -> Asking:
        """As the model of the jobs knows it."""
        seconds = self.run_s or self.linger_s or 0.0
        return Asking(self.share, Keep(seconds, contiguous=bool(self.run_s)), self.kind)


class Calibration(_Part):
    """When calibrations become due after the last one, and how long they take.

    `announced`: true plans with them, so that no chunk runs across one; false lets them
    come as a surprise that waits for the running chunk.
    """

    every_s: SecondsRange = (3600.0, 14_400.0)
    lasts_s: SecondsRange = (300.0, 900.0)
    announced: bool = True

    @model_validator(mode="after")
    def _leaves_time(self) -> Self:
        if self.every_s[0] <= 0:
            raise ValueError("every_s must be more than 0, or the QPU would only calibrate")
        return self


class BreakdownSettings(_Part):
    """The QPU fails so often on average, and is down for so long; what runs is lost."""

    mean_between_s: float = Field(gt=0, le=1e9)
    repair_s: float = Field(gt=0, le=1e7)


class Qpu(_Part):
    """The QPU's timing. `names`: which of the site's QPUs take part (default: its first).

    `setup_s`: before a task's first chunk; `resume_s`: before a task is taken up
    again; `chunk_s`: before every chunk, `layout_s`: before one with another register
    layout, on top of those. `calibration: null` for none; left out: the site's plan, if it
    has one. `max_chunk_shots`: limit of the device. `breakdowns`: none unless given.
    """

    names: list[str] | None = Field(default=None, min_length=1)
    setup_s: Seconds = 2.0
    resume_s: Seconds = 2.0
    chunk_s: Seconds = 0.0
    layout_s: Seconds = 0.0
    max_chunk_shots: Count | None = None
    calibration: Calibration | None = Calibration()
    breakdowns: BreakdownSettings | None = None


def _plain(kind: JobKind) -> Jobs:
    return Jobs(think_s=kind.think_s, shots=kind.shots, rounds=kind.rounds, width=kind.width)


class Workload(_Part):
    """A whole workload file. `job_classes`: class -> share of the jobs, adding up to 1.

    `accounts`: names, or how many. `jobs`: kind -> what it is like (default: the
    three hybrid kinds). `shot_rate_hz`: of a job's programs. `layouts`: how many register
    layouts there are, of which every job has one (0: they don't matter). `starts_on`: the
    day on which the site's windows are looked up. `seeds`: how many draws of the load are
    rehearsed, beginning with `first_seed`.
    """

    title: str | None = None
    arrivals: Arrivals | None = None
    batch: Batch | None = None
    job_classes: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(min_length=1)
    accounts: Annotated[int, Field(ge=1, le=10_000)] | Annotated[list[str], Field(min_length=1)] = (
        10
    )
    flood: FloodSettings | None = None
    jobs: dict[str, Jobs] = Field(
        default={one.name: _plain(one) for one in (QUANTUM_HEAVY, BALANCED, CLASSICAL_HEAVY)},
        min_length=1,
    )
    shot_rate_hz: RateRange = (1.0, 5.0)
    keep_warm: KeepWarm | None = None
    path_said: PathSaid = PathSaid.TRUTH
    layouts: int = Field(default=0, ge=0, le=10_000)
    starts_on: str = Field(default=A_MONDAY, pattern=r"^\d{4}-\d{2}-\d{2}$")
    qpu: Qpu = Qpu()
    seeds: int = Field(default=5, ge=1, le=1000)
    first_seed: int = Field(default=0, ge=0, le=2**31)

    def account_names(self) -> tuple[str, ...]:
        """The accounts by name."""
        if isinstance(self.accounts, int):
            return tuple(f"account-{i}" for i in range(self.accounts))
        return tuple(self.accounts)

    def model(self) -> WorkloadModel:
        """What its jobs are like."""
        kinds = tuple(
            JobKind(name, one.think_s, one.shots, one.rounds, one.width)
            for name, one in self.jobs.items()
        )
        return WorkloadModel(
            kinds=kinds,
            class_shares=tuple(self.job_classes.items()),
            accounts=self.account_names(),
            rate_hz=self.shot_rate_hz,
            layouts=self.layouts,
            flood=None if self.flood is None else Flood(self.flood.account, self.flood.share),
            path_said=self.path_said,
            asking=None if self.keep_warm is None else self.keep_warm.asking(),
        )
