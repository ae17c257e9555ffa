"""Every policy on every seed of every scenario, over several processes, merged in order."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

from qpu_executor.simulation.policy import Policy
from qpu_executor.simulation.record import RunRecord
from qpu_executor.simulation.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Setting:
    """Scenarios and policies: what every seed is rehearsed with."""

    scenarios: tuple[Scenario, ...]
    policies: tuple[Policy, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """Indices into a setting, and a seed. `spans_until_s`: record QPU time up to then."""

    scenario: int
    policy: int
    seed: int
    spans_until_s: float = 0.0


def cells(
    setting: Setting,
    seeds: Sequence[int],
    *,
    spans_seed: int | None = None,
    spans_until_s: float = 0.0,
) -> list[Cell]:
    """All cells, scenario by scenario and policy by policy."""
    return [
        Cell(scenario, policy, seed, spans_until_s if seed == spans_seed else 0.0)
        for scenario in range(len(setting.scenarios))
        for policy in range(len(setting.policies))
        for seed in seeds
    ]


def play(
    setting: Setting, todo: Sequence[Cell], processes: int = 1
) -> Iterator[tuple[Cell, RunRecord]]:
    """The records in the order of `todo`, whichever process was first."""
    if processes <= 1:
        for cell in todo:
            yield cell, play_cell(setting, cell)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        yield from zip(todo, pool.map(partial(play_cell, setting), todo), strict=True)


def play_cell(setting: Setting, cell: Cell) -> RunRecord:
    """One rehearsal."""
    scenario, policy = setting.scenarios[cell.scenario], setting.policies[cell.policy]
    return scenario.rehearse(policy, cell.seed, spans_until_s=cell.spans_until_s)
