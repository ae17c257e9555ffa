"""The workload file: which jobs come, how fast the QPU is, and when it is calibrated.

One YAML file describes a load for `qpu simulate` (`configs/workloads/` has
examples that run). Unknown keys, wrong types and impossible values are refused
with file, line, key path and the nearest known name, all of them in one message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from qpu_executor.documents.model import build
from qpu_executor.documents.problems import Problems, suggestion
from qpu_executor.documents.source import parse_mapping, read_text
from qpu_executor.errors import ConfigError
from qpu_executor.model.values import JobClass
from qpu_executor.simulation.engine import SimulatedSite
from qpu_executor.simulation.qpu_model import CalibrationLaw, QpuTiming
from qpu_executor.simulation.scenario import Scenario
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

WHAT = "a workload file: arrivals or batch, job_classes, jobs, qpu"


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


class Qpu(_Part):
    """The QPU's timing. `names`: which of the site's QPUs take part (default: its first).

    `setup_s`: before a task's first chunk; `resume_s`: before a task is taken up
    again. `calibration: null` for none. `max_chunk_shots`: limit of the device.
    """

    names: list[str] | None = Field(default=None, min_length=1)
    setup_s: Seconds = 2.0
    resume_s: Seconds = 2.0
    max_chunk_shots: Count | None = None
    calibration: Calibration | None = Calibration()


def _plain(kind: JobKind) -> Jobs:
    return Jobs(think_s=kind.think_s, shots=kind.shots, rounds=kind.rounds, width=kind.width)


class Workload(_Part):
    """A whole workload file. `job_classes`: class -> share of the jobs, adding up to 1.

    `accounts`: names, or how many. `jobs`: kind -> what it is like (default: the
    three hybrid kinds). `shot_rate_hz`: of a job's programs. `seeds`: how many
    draws of the load are rehearsed, beginning with `first_seed`.
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
            flood=None if self.flood is None else Flood(self.flood.account, self.flood.share),
            path_said=self.path_said,
            asking=None if self.keep_warm is None else self.keep_warm.asking(),
        )


@dataclass(frozen=True, slots=True)
class KeepBounds:
    """For how long jobs may keep a QPU of the site, as in `QpuSpec`."""

    max_linger_s: float = 0.0
    max_run_s: float = 0.0
    max_run_idle_s: float | None = None


@dataclass(frozen=True, slots=True)
class KnownSite:
    """What a workload file may name of the site that it is rehearsed for. `bounds`: by QPU."""

    classes: tuple[JobClass, ...]
    qpus: tuple[str, ...]
    bounds: Mapping[str, KeepBounds] = field(default_factory=dict)


def read_workload(path: Path, site: KnownSite) -> tuple[Workload, Scenario]:
    """Read a workload file for a site. Raises ConfigError with every problem in it."""
    return parse_workload(read_text(path, "workload file"), str(path), path.stem, site)


def parse_workload(text: str, file: str, name: str, site: KnownSite) -> tuple[Workload, Scenario]:
    """Read a workload file's text; `file` names it in messages. Raises ConfigError."""
    problems = Problems(file)
    raw = parse_mapping(text, problems, WHAT)
    found = build(Workload, raw, problems)
    if found is not None:
        _check(found, site, problems)
    problems.raise_if_any()
    if found is None:
        raise ConfigError(f"{file}: not a valid workload file")
    return found, _scenario(found, name, site)


def _check(found: Workload, site: KnownSite, problems: Problems) -> None:
    """What depends on other keys, and on the site."""
    if (found.arrivals is None) == (found.batch is None):
        problems.add((), "either 'arrivals' or 'batch' has to be given, and not both")
    _check_names(found.job_classes, [one.name for one in site.classes], problems)
    total = sum(found.job_classes.values())
    if abs(total - 1) > 1e-6:
        problems.add(("job_classes",), f"the shares add up to {total:g}, not to 1")
    _check_shots(found, site, problems)
    _check_keeping(found, site, problems)
    for i, qpu in enumerate(found.qpu.names or ()):
        if qpu not in site.qpus:
            text = f"the site has no QPU '{qpu}'{suggestion(qpu, site.qpus)}"
            problems.add(("qpu", "names", i), text)
    accounts = found.account_names()
    if found.flood is not None:
        account = found.flood.account
        if account not in accounts:
            text = f"there is no account '{account}'{suggestion(account, accounts)}"
            problems.add(("flood", "account"), text)
        elif len(accounts) < 2:
            problems.add(("flood",), "one account alone can't flood others")


def _check_names(names: Iterable[str], known: list[str], problems: Problems) -> None:
    for name in names:
        if name not in known:
            text = f"the site has no job class '{name}'{suggestion(name, known)}"
            problems.add(("job_classes", name), text)


def _check_shots(found: Workload, site: KnownSite, problems: Problems) -> None:
    """No task may be one that the site refuses whatever else is going on."""
    for one in site.classes:
        if one.max_shots is None or not found.job_classes.get(one.name):
            continue
        for name, kind in found.jobs.items():
            if kind.shots[1] > one.max_shots:
                text = f"class '{one.name}' takes at most {one.max_shots} shots a task"
                problems.add(("jobs", name, "shots"), text)


def _check_keeping(found: Workload, site: KnownSite, problems: Problems) -> None:
    """What is asked has to be granted by one of the QPUs, or nothing would be rehearsed."""
    asked = found.keep_warm
    if asked is None:
        return
    bounds = [site.bounds.get(name, KeepBounds()) for name in _qpus_of(found, site)]
    if asked.linger_s and not any(one.max_linger_s for one in bounds):
        problems.add(("keep_warm", "linger_s"), "no QPU of the site has keep_warm.max_linger_s")
    if asked.run_s and not any(one.max_run_s for one in bounds):
        problems.add(("keep_warm", "run_s"), "no QPU of the site has keep_warm.max_run_s")
    if asked.kind is not None and asked.kind not in found.jobs:
        text = f"there is no kind of job '{asked.kind}'{suggestion(asked.kind, found.jobs)}"
        problems.add(("keep_warm", "kind"), text)


def _qpus_of(found: Workload, site: KnownSite) -> list[str]:
    return list(dict.fromkeys(found.qpu.names or site.qpus[:1]))


def _scenario(found: Workload, name: str, site: KnownSite) -> Scenario:
    law = found.qpu.calibration
    calibration = None if law is None else CalibrationLaw(law.every_s, law.lasts_s, law.announced)
    timings = tuple(
        QpuTiming(
            qpu,
            setup_s=found.qpu.setup_s,
            resume_s=found.qpu.resume_s,
            calibration=calibration,
            max_chunk_shots=found.qpu.max_chunk_shots,
            shot_rate_hz=sum(found.shot_rate_hz) / 2,
            **asdict(site.bounds.get(qpu, KeepBounds())),
        )
        for qpu in _qpus_of(found, site)
    )
    return Scenario(
        name,
        found.title or name,
        found.model(),
        SimulatedSite(site.classes, timings),
        batch=None if found.batch is None else found.batch.jobs,
        load=0.0 if found.arrivals is None else found.arrivals.load,
        days=0.0 if found.arrivals is None else found.arrivals.days,
    )
