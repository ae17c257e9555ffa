"""What a linger costs: the same jobs on the same QPU, which is kept warm for some of them.

Everything but the site's bounds is the same in all scenarios: the same jobs ask, and the
site grants nothing (gap filling), lingers of several lengths, or contiguous runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from qpu_executor.simulation.engine import SimulatedSite
from qpu_executor.simulation.grid import Setting
from qpu_executor.simulation.policy import Policy
from qpu_executor.simulation.qpu_model import QpuRules
from qpu_executor.simulation.reference import reference_site
from qpu_executor.simulation.scenario import Scenario
from qpu_executor.simulation.workload import QUANTUM_HEAVY, Asking, Keep, WorkloadModel

SHARE = 0.3
"""Of the jobs that ask, where jobs of any kind do."""

LOAD = 0.7
DAYS = 4.0
BATCH = 12
LINGERS_S = (5.0, 15.0, 30.0, 60.0)
RUNS_S = (600.0, 3600.0)
RUN_IDLE_S = 300.0
_WISH_S = 86_400.0
"""Jobs ask for more than any of these sites grants."""


@dataclass(frozen=True, slots=True)
class _Load:
    """Who asks, on which load. `short`: in names of scenarios."""

    short: str
    title: str
    share: float
    kind: str | None
    batch: int | None = None


_LOADS = (
    _Load("open", "open, 30 % of all jobs ask", SHARE, None),
    _Load("heavy", "open, the quantum-heavy jobs ask", 1.0, QUANTUM_HEAVY.name),
    _Load("batch", f"batch of {BATCH}, 30 % of all jobs ask", SHARE, None, BATCH),
)


def think_time_setting(policies: Sequence[Policy], days: float = DAYS) -> Setting:
    """Of each load gap filling first, then what is compared with it."""
    found = []
    for load in _LOADS:
        linger, run = Keep(_WISH_S), Keep(_WISH_S, contiguous=True)
        found.append(_scenario(load, "gaps", "gaps are filled", linger, reference_site(), days))
        for seconds in LINGERS_S:
            site = granting(reference_site(), linger_s=seconds)
            title = f"linger of {seconds:g} s"
            found.append(_scenario(load, f"linger-{seconds:g}", title, linger, site, days))
        for seconds in RUNS_S:
            site = granting(reference_site(), run_s=seconds)
            title = f"runs of {seconds:g} s"
            found.append(_scenario(load, f"run-{seconds:g}", title, run, site, days))
    return Setting(tuple(found), tuple(policies))


def beside_gap_filling(scenario: Scenario) -> tuple[Scenario, ...]:
    """A scenario, after the same jobs where the site grants nothing; alone if nobody asks."""
    if scenario.model.asking is None:
        return (scenario,)
    nothing = replace(
        scenario,
        name=f"{scenario.name}-gaps",
        title=f"{scenario.title}: gaps are filled",
        site=granting(scenario.site),
    )
    return nothing, replace(scenario, title=f"{scenario.title}: kept warm, as the site grants")


def granting(site: SimulatedSite, linger_s: float = 0.0, run_s: float = 0.0) -> SimulatedSite:
    """The site with these bounds for all of its QPUs."""

    def kept(rules: QpuRules) -> QpuRules:
        return replace(rules, max_linger_s=linger_s, max_run_s=run_s, max_run_idle_s=RUN_IDLE_S)

    return replace(site, qpus=tuple(replace(one, rules=kept(one.rules)) for one in site.qpus))


def _scenario(
    load: _Load, name: str, title: str, keep: Keep, site: SimulatedSite, days: float
) -> Scenario:
    model = WorkloadModel(asking=Asking(load.share, keep, load.kind))
    name, title = f"{load.short}-{name}", f"{load.title}: {title}"
    if load.batch is not None:
        return Scenario(name, title, model, site, batch=load.batch)
    return Scenario(name, title, model, site, load=LOAD, days=days)
