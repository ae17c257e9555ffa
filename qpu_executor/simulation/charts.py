"""Plots that compare policies: how the QPU was used, and who waited how long."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from qpu_executor.simulation.metrics import ClassFigures, Spread
from qpu_executor.simulation.palette import COLOURS, class_colours
from qpu_executor.simulation.results import ScenarioResult
from qpu_executor.simulation.svg import (
    FAINT,
    INK,
    dot,
    legend,
    line,
    picture,
    rect,
    text,
)

WIDTH, LEFT, RIGHT = 1080.0, 170.0, 70.0
PLOT = WIDTH - LEFT - RIGHT


def utilisation(result: ScenarioResult) -> str:
    """A bar for each policy, and the bound where there is one."""
    height, top = 20.0, 8.0
    bottom = top + len(result.rows) * (height + 8)
    parts = []
    for share in range(0, 101, 20):
        x = LEFT + PLOT * share / 100
        parts += [line(x, top, x, bottom), _mark(x, bottom, f"{share} %")]
    for n, row in enumerate(result.rows):
        y = top + n * (height + 8)
        width = PLOT * row.calibrated_utilisation
        value = f"{100 * row.calibrated_utilisation:.1f} %"
        parts += [
            text(LEFT - 8, y + 15, row.policy, anchor="end"),
            rect(LEFT, y, width, height, COLOURS[0], radius=2),
            text(LEFT + width - 6, y + 15, value, anchor="end", colour="#fff"),
        ]
    if result.bound is not None:
        x = LEFT + PLOT * result.bound
        parts += [
            line(x, top, x, bottom, INK, dash="4 3"),
            text(x + 4, top + 12, f"{100 * result.bound:.1f} %", size=11, colour=FAINT),
        ]
    return picture(WIDTH, bottom + 24, parts, "Share of the open time in shots, by policy")


def delays(result: ScenarioResult) -> str:
    """Task delay of each class under each policy: median to p95, mean as a dot, to p99 thin."""
    return _ranges(
        result, lambda one: one.delay_s, low=1.0, unit="s", label="Task delay by policy and class"
    )


def stretches(result: ScenarioResult) -> str:
    """Job stretch of each class under each policy, drawn as delays are."""
    return _ranges(
        result,
        lambda one: one.job_stretch,
        low=1.0,
        unit="",
        label="Job stretch by policy and class",
    )


def _ranges(
    result: ScenarioResult,
    pick: Callable[[ClassFigures], Spread],
    *,
    low: float,
    unit: str,
    label: str,
) -> str:
    """Ranges on a logarithmic axis from `low`; smaller values stand at its left end."""
    colours = class_colours(result)
    shown = [
        (row.policy, [(one.job_class, pick(one)) for one in row.classes]) for row in result.rows
    ]
    most = max((s.p99 or low for _, rows in shown for _, s in rows), default=low)
    decades = max(1, math.ceil(math.log10(max(most, low * 10) / low)))

    def across(value: float) -> float:
        return LEFT + PLOT * math.log10(max(value, low) / low) / decades

    lanes = max((len(rows) for _, rows in shown), default=1)
    height = 16.0 * lanes + 8
    top = 26.0
    bottom = top + len(shown) * height
    parts = legend([(colour, name) for name, colour in colours.items()], LEFT, 14)
    for decade in range(decades + 1):
        x = across(low * 10**decade)
        parts += [line(x, top, x, bottom), _mark(x, bottom, f"{low * 10**decade:g} {unit}".strip())]
    for n, (policy, rows) in enumerate(shown):
        y = top + n * height
        parts += [
            text(LEFT - 8, y + height / 2 + 4, policy, anchor="end"),
            line(LEFT, y + height, LEFT + PLOT, y + height),
        ]
        for i, (name, spread) in enumerate(rows):
            parts += _range(
                spread, across, y + 12 + 16 * i, colours[name], f"{policy}, {name}", unit
            )
    return picture(WIDTH, bottom + 24, parts, label)


def _range(
    spread: Spread, across: Callable[[float], float], y: float, colour: str, title: str, unit: str
) -> Sequence[str]:
    if spread.mean is None or spread.p50 is None or spread.p95 is None or spread.p99 is None:
        return ()
    words = (
        f"{title}: mean {_short(spread.mean)} {unit}, p50 {_short(spread.p50)},"
        f" p95 {_short(spread.p95)}, p99 {_short(spread.p99)}"
    )
    x50, x95, x99 = across(spread.p50), across(spread.p95), across(spread.p99)
    return (
        line(x50, y, x99, y, colour, width=1.5),
        rect(x50 - 2, y - 3.5, x95 - x50 + 4, 7, colour, radius=3, title=words),
        dot(across(spread.mean), y, 5, INK, title=words),
        text(
            max(x99, across(spread.mean)) + 9,
            y + 4,
            f"{_short(spread.mean)} {unit}".strip(),
            size=11,
            colour=FAINT,
        ),
    )


def _mark(x: float, bottom: float, words: str) -> str:
    return text(x, bottom + 15, words, anchor="middle", size=11, colour=FAINT)


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
