"""A rehearsal as Markdown."""

from __future__ import annotations

from qpu_executor.model.events import WindowsChanged
from qpu_executor.simulation.baselines import BASELINES, EXCLUSIVE
from qpu_executor.simulation.results import Results, ScenarioResult
from qpu_executor.simulation.tables import (
    TextTable,
    account_table,
    aim_table,
    class_table,
    keep_table,
    policy_table,
    qpu_table,
)


def markdown(results: Results) -> str:
    """The whole report; ends in a newline."""
    parts = [f"# {results.title}", seeds_line(results)]
    kept = keep_table(results)
    if kept is not None:
        parts += ["## What keeping the QPU warm costs", _table(kept)]
    for one in results.scenarios:
        if one.scenario.title != results.title:
            parts.append(f"## {one.scenario.title}")
        parts += [_table(qpu_table(one)), _table(class_table(one)), *notes(one)]
        accounts = account_table(one)
        if accounts is not None:
            parts.append(_table(accounts))
    if results.aims:
        parts += ["## Aims", _table(aim_table(results))]
    parts += ["## Policies", _table(policy_table(results))]
    return "\n\n".join(parts) + "\n"


def notes(one: ScenarioResult) -> list[str]:
    """What has to be said where a baseline isn't to be compared figure by figure."""
    names, found = {row.policy for row in one.rows}, []
    if EXCLUSIVE.name in names:
        words = (
            f"Under {EXCLUSIVE.name} the jobs wait, not their tasks: see their delay and stretch."
        )
        found.append(words)
    recorded = one.scenario.recording
    told = recorded is not None and any(
        isinstance(act.event, WindowsChanged) and act.event.windows for act in recorded.acts
    )
    if names & set(BASELINES) and (told or any(q.rules.windows for q in one.scenario.site.qpus)):
        found.append(
            "The baselines know no calendar: what they run when a window begins runs on, and"
            " reservations keep nobody out."
        )
    return found


def seeds_line(results: Results) -> str:
    """Which seeds, and what the words of the tables mean."""
    seeds = results.seeds
    which = f"{len(seeds)} seeds ({_range(seeds)}), pooled."
    if len(seeds) == 1:
        which = f"Seed {seeds[0]}."
    words = (
        " Wait: ready until the first chunk. Delay: ready until the end, less shots and one set-up."
    )
    if any(one.scenario.recording is not None for one in results.scenarios):
        return f"What was asked, and what befell the QPUs, as recorded.{words}"
    return f"{which}{words} Stretch: turnaround over the one alone on the QPU."


def _range(seeds: tuple[int, ...]) -> str:
    if list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(str(seed) for seed in seeds)


def _table(table: TextTable) -> str:
    lines = [table.head, ("---",) * len(table.head), *table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
