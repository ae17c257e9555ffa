"""A rehearsal as one HTML file that needs nothing else."""

from __future__ import annotations

from html import escape

from qpu_executor.simulation import charts, gantt
from qpu_executor.simulation.report import notes, seeds_line
from qpu_executor.simulation.results import Results, ScenarioResult
from qpu_executor.simulation.tables import (
    TextTable,
    account_table,
    aim_table,
    class_table,
    policy_table,
    qpu_table,
)

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #22272e; background: #fff;
       max-width: 1120px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; }
h3 { font-size: 1rem; margin: 1.6rem 0 .4rem; }
p.note { color: #6b7480; }
svg { width: 100%; height: auto; font-family: system-ui, sans-serif; }
table { border-collapse: collapse; width: 100%; font-size: .86rem; margin: .6rem 0; }
th { text-align: left; border-bottom: 2px solid #22272e; padding: .3rem .6rem .3rem 0;
     vertical-align: bottom; }
td { border-bottom: 1px solid #e3e6ea; padding: .25rem .6rem .25rem 0;
     font-variant-numeric: tabular-nums; }
td:nth-child(-n+2) { white-space: nowrap; }
td.met { color: #2b7a46; } td.missed { color: #b3262c; font-weight: 600; }
"""


def html(results: Results, tested: str) -> str:
    """The whole page. `tested`: the policy whose jobs are drawn one by one."""
    parts = [f"<h1>{escape(results.title)}</h1>", _note(seeds_line(results))]
    if results.aims:
        parts += ["<h2>Aims</h2>", _table(aim_table(results))]
    for one in results.scenarios:
        if one.scenario.title != results.title:
            parts.append(f"<h2>{escape(one.scenario.title)}</h2>")
        parts += _scenario(one, tested)
    parts += ["<h2>Policies</h2>", _table(policy_table(results))]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(results.title)}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _scenario(one: ScenarioResult, tested: str) -> list[str]:
    parts = list[str]()
    if one.lanes:
        cut = any(lane.makespan_s > gantt.LONGEST_S for lane in one.lanes)
        until = "; the first 24 h" if cut else ""
        recorded = one.scenario.recording is not None
        which = "the recording" if recorded else f"seed {one.lanes_seed}"
        parts += [
            f"<h3>What the QPU did ({which}{until})</h3>",
            gantt.comparison(one),
        ]
        jobs = gantt.jobs(one, tested)
        if jobs is not None:
            parts += [f"<h3>Whose shots, job by job, under {escape(tested)}</h3>", jobs]
    parts += [
        "<h3>Share of the open time in shots</h3>",
        charts.utilisation(one),
        _table(qpu_table(one)),
        "<h3>Task delay</h3>",
        _note(_how_to_read(one)),
        charts.delays(one),
    ]
    if one.scenario.recording is None:
        parts += ["<h3>Job stretch</h3>", charts.stretches(one)]
    parts.append(_table(class_table(one)))
    accounts = account_table(one)
    if accounts is not None:
        parts += ["<h3>The flooding account and the others</h3>", _table(accounts)]
    return parts


def _how_to_read(one: ScenarioResult) -> str:
    words = "Bar: median to p95. Line: to p99. Dot and number: mean. Logarithmic."
    return " ".join([words, *notes(one)])


def _note(words: str) -> str:
    return f'<p class="note">{escape(words)}</p>'


def _table(table: TextTable) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.head)
    rows = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in table.rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _cell(cell: str) -> str:
    mark = f' class="{cell}"' if cell in ("met", "missed") else ""
    return f"<td{mark}>{escape(cell)}</td>"
