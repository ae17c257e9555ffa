"""The reference rehearsal: fixed loads, the baselines, and what the shipped policy is to reach.

Three loads on one QPU (1 to 5 shots a second, 2 s to set up or resume a task,
calibrations every 1 to 4 h for 5 to 15 min that wait for the running chunk): a
closed batch, an open system, and one account that floods it. A chunk is 50 shots.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from qpu_executor.model.values import JobClass
from qpu_executor.simulation.baselines import BASELINES, FIFO_WHOLE, SHORT_FIRST
from qpu_executor.simulation.engine import SimulatedSite
from qpu_executor.simulation.grid import Setting
from qpu_executor.simulation.metrics import Figures, Spread
from qpu_executor.simulation.policy import Policy
from qpu_executor.simulation.qpu_model import CalibrationLaw, QpuTiming
from qpu_executor.simulation.results import Aim, ScenarioResult
from qpu_executor.simulation.scenario import Scenario
from qpu_executor.simulation.workload import Flood, WorkloadModel

PRODUCTION, DEVELOPMENT = "production", "development"
CLOSED, OPEN, FLOODED = "closed", "open", "flooded"

CHUNK_SHOTS = 50
DAYS = 14.0
_WHOLE_DAY_S = 86_400.0
"""Longer than 50 shots take, so that the device's limit makes the chunks."""


def reference_site() -> SimulatedSite:
    """One QPU, two classes."""
    classes = (
        JobClass(PRODUCTION, priority=300, chunk_s=_WHOLE_DAY_S),
        JobClass(DEVELOPMENT, priority=100, chunk_s=_WHOLE_DAY_S),
    )
    law = CalibrationLaw(announced=False)
    qpu = QpuTiming("qpu", max_chunk_shots=CHUNK_SHOTS, calibration=law)
    return SimulatedSite(classes, (qpu,))


def reference_scenarios(days: float = DAYS) -> tuple[Scenario, ...]:
    """The three loads. `days`: length of the open ones."""
    site, model = reference_site(), WorkloadModel()
    flooded = WorkloadModel(flood=Flood(model.accounts[0], 0.6))
    return (
        Scenario(CLOSED, "Closed batch of 12 mixed hybrid jobs", model, site, batch=12),
        Scenario(OPEN, f"Open system at load 0.7, {days:g} days", model, site, load=0.7, days=days),
        Scenario(
            FLOODED,
            f"One account of ten sends 60 % of the jobs, load 0.8, {days:g} days",
            flooded,
            site,
            load=0.8,
            days=days,
        ),
    )


def reference_setting(tested: tuple[Policy, ...], days: float = DAYS) -> Setting:
    """Baselines first, then the policies to test."""
    return Setting(reference_scenarios(days), (*BASELINES.values(), *tested))


def aims(results: tuple[ScenarioResult, ...], policy: str) -> tuple[Aim, ...]:
    """What `policy` is to reach, and what it reached, pooled and seed by seed."""
    closed, opened, flooded = results
    found = [
        _aim(
            closed,
            "closed batch: utilisation of calibrated time",
            lambda mine, _: mine.calibrated_utilisation,
            (policy, policy),
            0.96,
            at_least=True,
        )
    ]
    for job_class, mean, p95 in ((PRODUCTION, 0.55, 0.80), (DEVELOPMENT, 1.05, 1.45)):
        what = f"open system: {job_class} delay against {SHORT_FIRST.name}"
        pair = (policy, SHORT_FIRST.name)
        found.append(_aim(opened, f"{what}, mean", partial(_mean_ratio, job_class), pair, mean))
        found.append(_aim(opened, f"{what}, p95", partial(_p95_ratio, job_class), pair, p95))
    pair = (policy, FIFO_WHOLE.name)
    what = "one account floods:"
    lost = f"{what} points of utilisation below {FIFO_WHOLE.name}"
    found.append(_aim(flooded, f"{what} the others' job stretch", _others_stretch, pair, 1.8))
    found.append(_aim(flooded, lost, _points_lost, pair, 1.0))
    return tuple(found)


_Measure = Callable[[Figures, Figures], float]
"""Of a policy's figures, and its rival's on the same jobs."""


def _aim(
    result: ScenarioResult,
    what: str,
    measure: _Measure,
    pair: tuple[str, str],
    bound: float,
    *,
    at_least: bool = False,
) -> Aim:
    mine, rival = pair
    reached = measure(result.of(mine), result.of(rival))
    seeds = zip(result.by_seed[mine], result.by_seed[rival], strict=True)
    by_seed = tuple(measure(one, other) for one, other in seeds)
    return Aim(what, reached, bound, at_least, by_seed)


def _mean_ratio(job_class: str, mine: Figures, rival: Figures) -> float:
    return _ratio(_delay(mine, job_class).mean, _delay(rival, job_class).mean)


def _p95_ratio(job_class: str, mine: Figures, rival: Figures) -> float:
    return _ratio(_delay(mine, job_class).p95, _delay(rival, job_class).p95)


def _others_stretch(mine: Figures, _: Figures) -> float:
    stretch = None if mine.others is None else mine.others.job_stretch.mean
    return math.nan if stretch is None else stretch


def _points_lost(mine: Figures, rival: Figures) -> float:
    return 100 * (rival.calibrated_utilisation - mine.calibrated_utilisation)


def _delay(row: Figures, job_class: str) -> Spread:
    found = row.of_class(job_class)
    return Spread.of(()) if found is None else found.delay_s


def _ratio(mine: float | None, rival: float | None) -> float:
    """Not a number where one of them has no value: an aim that isn't met."""
    return math.nan if mine is None or not rival else mine / rival
