"""The tables of a report, as text, for Markdown and HTML alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from qpu_executor.simulation.metrics import AccountFigures, Figures, Spread
from qpu_executor.simulation.results import Aim, Results, ScenarioResult


@dataclass(frozen=True, slots=True)
class TextTable:
    """Cells as text; the first column names the row."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def number(value: float | None, digits: int = 0) -> str:
    """A number for a cell, never "-0"; a dash where there is none."""
    return "-" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"


def percent(share: float | None) -> str:
    """A fraction of 1 as per cent, one digit."""
    return "-" if share is None else f"{100 * share:.1f}"


def spread(one: Spread, digits: int = 0) -> str:
    """`mean / p50 / p95 / p99`."""
    return " / ".join(number(value, digits) for value in (one.mean, one.p50, one.p95, one.p99))


def qpu_table(result: ScenarioResult) -> TextTable:
    """What the QPU did under each policy; what never happened has no column."""
    columns: list[tuple[str, Callable[[Figures], str]]] = [
        ("policy", lambda row: row.policy),
        ("in shots, % of open time", lambda row: percent(row.calibrated_utilisation)),
        ("in shots, % of all time", lambda row: percent(row.utilisation)),
        ("in set-ups, %", lambda row: percent(row.overhead)),
        ("closed, %", lambda row: percent(row.closed)),
        ("makespan, h", lambda row: number(row.makespan_s / 3600, 2)),
    ]
    if result.scenario.batch is not None:
        columns.append(("over the shortest possible", lambda row: number(row.against_bound, 2)))
    columns.append(("shots repeated", lambda row: str(row.shots_repeated)))
    if any(row.refusals for row in result.rows):
        columns.append(("refused, offered again", lambda row: str(row.refusals)))
    if any(row.tasks_failed for row in result.rows):
        columns.append(("tasks failed", lambda row: str(row.tasks_failed)))
    if any(row.tasks_left for row in result.rows):
        columns.append(("left over", lambda row: str(row.tasks_left)))
    rows = [tuple(cell(row) for _, cell in columns) for row in result.rows]
    if result.bound is not None:
        blank = ("",) * (len(columns) - 2)
        rows.append(("(no schedule exceeds)", percent(result.bound), *blank))
    return TextTable(tuple(name for name, _ in columns), tuple(rows))


def class_table(result: ScenarioResult) -> TextTable:
    """How long each class's tasks and jobs waited under each policy. A recording has no jobs."""
    head = (
        "policy",
        "class",
        "task wait, s: mean / p50 / p95 / p99",
        "task delay, s: mean / p50 / p95 / p99",
        "job delay, h: mean / p95",
        "job stretch: mean / p95",
    )
    columns = len(head) if result.scenario.recording is None else len(head) - 2
    rows = []
    for row in result.rows:
        for one in row.classes:
            hours = [
                None if v is None else v / 3600 for v in (one.job_delay_s.mean, one.job_delay_s.p95)
            ]
            rows.append(
                (
                    row.policy,
                    one.job_class,
                    spread(one.wait_s),
                    spread(one.delay_s),
                    f"{number(hours[0], 2)} / {number(hours[1], 2)}",
                    _mean_p95(one.job_stretch, 2),
                )
            )
    return TextTable(head[:columns], tuple(row[:columns] for row in rows))


def account_table(result: ScenarioResult) -> TextTable | None:
    """The account that uses most, and the others; None unless one floods the QPU."""
    if result.scenario.model.flood is None:
        return None
    head = (
        "policy",
        "the others' job stretch: mean / p95",
        "the others' task delay, s: mean / p95",
        "the flooding account's job stretch: mean / p95",
        "its task delay, s: mean / p95",
    )
    rows = tuple((row.policy, *_pair(row.others), *_pair(row.heaviest)) for row in result.rows)
    return TextTable(head, rows)


def keep_table(results: Results) -> TextTable | None:
    """What keeping the QPU warm costs, against the gap filling before it; None unless
    somebody asked for it.
    """
    rows: list[tuple[str, ...]] = []
    base: ScenarioResult | None = None
    for result in results.scenarios:
        grants = any(
            one.rules.max_linger_s or one.rules.max_run_s for one in result.scenario.site.qpus
        )
        base = base if grants else result
        for row in result.rows:
            if row.asking is not None and row.not_asking is not None:
                cost = None if base is None or not grants else _cost(row, base.of(row.policy))
                rows.append(
                    (
                        result.scenario.title,
                        row.policy,
                        percent(row.calibrated_utilisation),
                        percent(row.kept),
                        *_pair(row.asking),
                        *_pair(row.not_asking),
                        number(cost, 2),
                    )
                )
    head = (
        "load, and how the QPU is kept",
        "policy",
        "in shots, % of calibrated time",
        "kept idle, %",
        "askers' job stretch: mean / p95",
        "askers' task delay, s: mean / p95",
        "the others' job stretch: mean / p95",
        "the others' task delay, s: mean / p95",
        "the others' delay over gap filling",
    )
    return TextTable(head, tuple(rows)) if rows else None


def _cost(row: Figures, base: Figures) -> float | None:
    """Mean task delay of those who didn't ask, over that where gaps are filled."""
    mine = None if row.not_asking is None else row.not_asking.delay_s.mean
    before = None if base.not_asking is None else base.not_asking.delay_s.mean
    return None if mine is None or not before else mine / before


def aim_table(results: Results) -> TextTable:
    """What was to be reached, and what was."""
    head = ("aim", "wanted", "reached", "", "seed by seed: median [least, most]")
    return TextTable(head, tuple(_aim_row(aim) for aim in results.aims))


def policy_table(results: Results) -> TextTable:
    """What the names stand for."""
    return TextTable(("policy", "what it is"), tuple(results.titles.items()))


def _pair(one: AccountFigures | None) -> tuple[str, str]:
    return ("-", "-") if one is None else (_mean_p95(one.job_stretch, 2), _mean_p95(one.delay_s, 0))


def _mean_p95(one: Spread, digits: int) -> str:
    return f"{number(one.mean, digits)} / {number(one.p95, digits)}"


def _aim_row(aim: Aim) -> tuple[str, ...]:
    sign = ">=" if aim.at_least else "<="
    each = "-"
    if aim.by_seed:
        least, most = min(aim.by_seed), max(aim.by_seed)
        each = f"{median(aim.by_seed):.3f} [{least:.3f}, {most:.3f}]"
    verdict = "met" if aim.met else "missed"
    return (aim.what, f"{sign} {aim.bound:g}", f"{aim.reached:.3f}", verdict, each)
