"""What came out of a rehearsal: tables of figures, aims, and pictures' raw material."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from qpu_executor.simulation.grid import Cell, Setting
from qpu_executor.simulation.metrics import Figures, figures
from qpu_executor.simulation.record import RunRecord, Span
from qpu_executor.simulation.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Lane:
    """What the QPUs did under one policy, for one seed. `makespan_s`: when the last job ended."""

    policy: str
    makespan_s: float
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class ScenarioResult:
    """One scenario. `bound`: utilisation of calibrated time that nothing exceeds, if known.

    `lanes`: one for each policy, of `lanes_seed`; empty if none was recorded.
    `by_seed`: policy -> the figures of each seed alone, in the order of the seeds.
    """

    scenario: Scenario
    rows: tuple[Figures, ...]
    by_seed: dict[str, tuple[Figures, ...]]
    bound: float | None
    lanes: tuple[Lane, ...]
    lanes_seed: int | None

    def of(self, policy: str) -> Figures:
        """A policy's figures. Raises KeyError for one that wasn't rehearsed."""
        for row in self.rows:
            if row.policy == policy:
                return row
        raise KeyError(policy)


@dataclass(frozen=True, slots=True)
class Aim:
    """Something to reach. `bound`: at most this, or at least where `at_least`.

    `reached`: by all seeds pooled; `by_seed`: by each seed alone, which says how much
    they differ.
    """

    what: str
    reached: float
    bound: float
    at_least: bool = False
    by_seed: tuple[float, ...] = ()

    @property
    def met(self) -> bool:
        """Reached, without rounding."""
        return self.reached >= self.bound if self.at_least else self.reached <= self.bound


@dataclass(frozen=True, slots=True)
class Results:
    """A whole rehearsal. `titles`: policy -> what it is."""

    title: str
    seeds: tuple[int, ...]
    titles: dict[str, str]
    scenarios: tuple[ScenarioResult, ...]
    aims: tuple[Aim, ...] = ()

    def document(self) -> dict[str, Any]:
        """As JSON values: what `--json` prints. The same rehearsal gives the same document."""
        return {
            "title": self.title,
            "seeds": list(self.seeds),
            "policies": self.titles,
            "scenarios": [_scenario(one) for one in self.scenarios],
            "aims": [_aim(one) for one in self.aims],
        }


def gather(
    setting: Setting, seeds: Sequence[int], played: Iterable[tuple[Cell, RunRecord]]
) -> tuple[ScenarioResult, ...]:
    """Pool the records of all cells. `played` in any order."""
    records: dict[tuple[int, int], list[RunRecord]] = {}
    spans_seed: int | None = None
    for cell, record in played:
        records.setdefault((cell.scenario, cell.policy), []).append(record)
        spans_seed = cell.seed if cell.spans_until_s else spans_seed
    found = []
    for i, scenario in enumerate(setting.scenarios):
        mine = [
            sorted(records[i, p], key=lambda one: one.seed) for p in range(len(setting.policies))
        ]
        found.append(_gather_one(scenario, mine, seeds, spans_seed))
    return tuple(found)


def _gather_one(
    scenario: Scenario,
    records: Sequence[Sequence[RunRecord]],
    seeds: Sequence[int],
    spans_seed: int | None,
) -> ScenarioResult:
    names = [one.name for one in scenario.site.classes]
    days = scenario.days
    bounds = [bound for seed in seeds if (bound := scenario.bound(seed)) is not None]
    recorded = [one for group in records for one in group if one.spans]
    return ScenarioResult(
        scenario=scenario,
        rows=tuple(figures(group, names, days) for group in records),
        by_seed={
            group[0].policy: tuple(figures([one], names, days) for one in group)
            for group in records
        },
        bound=fmean(bounds) if bounds else None,
        lanes=tuple(Lane(one.policy, one.makespan_s, tuple(one.spans)) for one in recorded),
        lanes_seed=spans_seed if recorded else None,
    )


def _scenario(one: ScenarioResult) -> dict[str, Any]:
    return {
        "name": one.scenario.name,
        "title": one.scenario.title,
        "load": one.scenario.load or None,
        "days": one.scenario.days or None,
        "batch": one.scenario.batch,
        "bound_calibrated_utilisation": one.bound,
        "rows": [asdict(row) for row in one.rows],
    }


def _aim(one: Aim) -> dict[str, Any]:
    """JSON has no word for a ratio that can't be formed but null."""
    reached = None if math.isnan(one.reached) else one.reached
    by_seed = [None if math.isnan(value) else value for value in one.by_seed]
    return {**asdict(one), "reached": reached, "by_seed": by_seed, "met": one.met}
