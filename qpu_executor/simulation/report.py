"""A rehearsal as Markdown."""

from __future__ import annotations

from qpu_executor.simulation.results import Results
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
        parts += [f"## {one.scenario.title}", _table(qpu_table(one)), _table(class_table(one))]
        accounts = account_table(one)
        if accounts is not None:
            parts.append(_table(accounts))
    if results.aims:
        parts += ["## Aims", _table(aim_table(results))]
    parts += ["## Policies", _table(policy_table(results))]
    return "\n\n".join(parts) + "\n"


def seeds_line(results: Results) -> str:
    """Which seeds, and what the words of the tables mean."""
    seeds = results.seeds
    which = f"{len(seeds)} seeds ({_range(seeds)}), pooled."
    if len(seeds) == 1:
        which = f"Seed {seeds[0]}."
    if any(one.scenario.recording is not None for one in results.scenarios):
        which = "Submissions and closings as they were recorded."
    return (
        f"{which} Wait: ready until the first chunk. Delay: ready until the end, less"
        " shots and one set-up. Stretch: turnaround over the one alone on the QPU."
    )


def _range(seeds: tuple[int, ...]) -> str:
    if list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(str(seed) for seed in seeds)


def _table(table: TextTable) -> str:
    lines = [table.head, ("---",) * len(table.head), *table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
