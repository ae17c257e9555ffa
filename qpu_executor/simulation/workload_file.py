"""The workload file: which jobs come, how fast the QPU is, and when it is calibrated.

One YAML file describes a load for `qpu simulate` (`configs/workloads/` has
examples that run). Unknown keys, wrong types and impossible values are refused
with file, line, key path and the nearest known name, all of them in one message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from qpu_executor.documents.model import build
from qpu_executor.documents.problems import Problems, suggestion
from qpu_executor.documents.source import parse_mapping, read_text
from qpu_executor.errors import ConfigError
from qpu_executor.model.values import Instant, JobClass
from qpu_executor.simulation.engine import SimulatedSite
from qpu_executor.simulation.qpu_model import (
    BreakdownLaw,
    CalibrationLaw,
    QpuRules,
    QpuTiming,
)
from qpu_executor.simulation.scenario import Scenario
from qpu_executor.simulation.stage import START_AT
from qpu_executor.simulation.workload_keys import Workload

WHAT = "a workload file: arrivals or batch, job_classes, jobs, qpu"


def _no_rules(qpu: str, starts_on: str, days: float) -> QpuRules:
    return QpuRules()


def _any_day(day: str) -> Instant:
    return START_AT


@dataclass(frozen=True, slots=True)
class KnownSite:
    """What a workload file may name of the site that it is rehearsed for.

    `rules`: what the site says of a QPU, for a rehearsal that starts on a day (ISO 8601) and
    in which jobs come for so many days. `begins`: when a day begins; raises ValueError for no
    day.
    """

    classes: tuple[JobClass, ...]
    qpus: tuple[str, ...]
    rules: Callable[[str, str, float], QpuRules] = _no_rules
    begins: Callable[[str], Instant] = _any_day


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
    try:
        site.begins(found.starts_on)
    except ValueError as error:
        problems.add(("starts_on",), f"{found.starts_on} is no day: {error}")
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
    bounds = [site.rules(name, found.starts_on, 0.0) for name in _qpus_of(found, site)]
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
    names = _qpus_of(found, site)
    return Scenario(
        name,
        found.title or name,
        found.model(),
        SimulatedSite(
            site.classes,
            tuple(_timing(found, qpu, site) for qpu in names),
            site.begins(found.starts_on),
        ),
        batch=None if found.batch is None else found.batch.jobs,
        load=0.0 if found.arrivals is None else found.arrivals.load,
        days=0.0 if found.arrivals is None else found.arrivals.days,
    )


def _timing(found: Workload, name: str, site: KnownSite) -> QpuTiming:
    """The file's own calibrations go before the site's plan."""
    qpu, law, breakdowns = found.qpu, found.qpu.calibration, found.qpu.breakdowns
    days = 0.0 if found.arrivals is None else found.arrivals.days
    rules = site.rules(name, found.starts_on, days)
    if "calibration" in qpu.model_fields_set:
        rules = replace(rules, plan=None)
    elif rules.plan is not None:
        law = None
    return QpuTiming(
        name,
        setup_s=qpu.setup_s,
        resume_s=qpu.resume_s,
        chunk_s=qpu.chunk_s,
        layout_s=qpu.layout_s,
        calibration=None
        if law is None
        else CalibrationLaw(law.every_s, law.lasts_s, law.announced),
        max_chunk_shots=qpu.max_chunk_shots,
        shot_rate_hz=sum(found.shot_rate_hz) / 2,
        breakdowns=(
            None
            if breakdowns is None
            else BreakdownLaw(breakdowns.mean_between_s, breakdowns.repair_s)
        ),
        rules=rules,
    )
