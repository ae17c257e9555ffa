"""The step `report`: one HTML page, complete in itself, and the workflow's answer."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

STYLE = Path(__file__).with_name("page.css")
FILE = "report.html"
WIDTH, HEIGHT = 940.0, 340.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 20.0, 26.0, 46.0


def report(graph: dict[str, Any], tuned: dict[str, Any], directory: str | Path) -> dict[str, Any]:
    """Write the page `report.html` into a directory, and give the short answer.

    Returns:
        `cost`, `start_cost`, `best_possible` (the cost if every shot were optimal),
        `optimal_rate`, `pulse`, `evaluations`, `converged`, `summary` (a sentence) and
        `report`, the page's name in the directory. Nothing in it depends on where or
        when the workflow ran.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(page(graph, tuned), encoding="utf-8")
    best = tuned["best"]
    return {
        "cost": best["cost"],
        "start_cost": tuned["evaluations"][0]["cost"],
        "best_possible": -graph["optimum_size"],
        "optimal_rate": best["optimal_rate"],
        "pulse": {name: best[name] for name in ("area", "detuning_start", "detuning_end")},
        "evaluations": len(tuned["evaluations"]),
        "converged": tuned["converged"],
        "summary": summary(graph, tuned),
        "report": FILE,
    }


def summary(graph: dict[str, Any], tuned: dict[str, Any]) -> str:
    """What the loop reached, in a sentence."""
    first, best = tuned["evaluations"][0], tuned["best"]
    end = "It converged" if tuned["converged"] else "It was stopped"
    return (
        f"{end} after {len(tuned['evaluations'])} measured pulses of {tuned['duration_ns']} ns: "
        f"mean cost from {first['cost']:.2f} to {best['cost']:.2f} "
        f"(possible: {-graph['optimum_size']}), optimal shots from "
        f"{100 * first['optimal_rate']:.0f} % to {100 * best['optimal_rate']:.0f} %."
    )


def page(graph: dict[str, Any], tuned: dict[str, Any]) -> str:
    """The page as text: the way to the best pulse as a curve and as a table."""
    rows = "".join(
        f"<tr class='{'best' if e is tuned['best'] or e == tuned['best'] else ''}'><td>{n}</td>"
        f"<td>{e['cost']:.3f}</td><td>{100 * e['optimal_rate']:.1f} %</td><td>{e['area']:.2f}</td>"
        f"<td>{e['detuning_start']:.2f}</td><td>{e['detuning_end']:.2f}</td></tr>"
        for n, e in enumerate(tuned["evaluations"], 1)
    )
    title = "A pulse tuned in a closed loop"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE.read_text(encoding='utf-8')}</style></head>"
        f"<body><main><header><h1>{title}</h1>"
        f'<p class="lead">{escape(summary(graph, tuned))}</p></header>'
        f'<section class="card"><h2>Mean cost of every measured pulse</h2>'
        f"{draw_costs(graph, tuned)}"
        '<p class="legend"><span class="key"></span>measured <span class="key line"></span>'
        'best so far <span class="key goal"></span>best possible: every shot optimal</p></section>'
        '<section class="card"><h2>The pulses</h2><div class="wide"><table><thead><tr>'
        "<th>pulse</th><th>mean cost</th><th>optimal shots</th><th>area (rad)</th>"
        "<th>first detuning (rad/µs)</th><th>last detuning (rad/µs)</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div></section></main></body></html>\n"
    )


def draw_costs(graph: dict[str, Any], tuned: dict[str, Any]) -> str:
    """The convergence curve: dots for the measured costs, a line for the best so far."""
    costs: list[float] = [e["cost"] for e in tuned["evaluations"]]
    goal = float(-graph["optimum_size"])
    high, low = max(0.0, *costs), min(goal, *costs)
    wide, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(n: int) -> float:
        return LEFT + wide * n / max(len(costs) - 1, 1)

    def y(cost: float) -> float:
        return TOP + tall * (high - cost) / (high - low)

    best_so_far = [min(costs[: n + 1]) for n in range(len(costs))]
    line = " ".join(f"{x(n):.1f},{y(cost):.1f}" for n, cost in enumerate(best_so_far))
    marks = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(c):.1f}" y2="{y(c):.1f}"/>'
        f'<text class="tick" x="{LEFT - 8}" y="{y(c) + 4:.1f}" text-anchor="end">{c}</text>'
        for c in range(int(low), int(high) + 1)
    ]
    dots = [
        f'<circle class="dot" cx="{x(n):.1f}" cy="{y(cost):.1f}" r="5">'
        f"<title>pulse {n + 1}: {cost:.3f}</title></circle>"
        f'<text class="tick" x="{x(n):.1f}" y="{HEIGHT - BOTTOM + 18}" '
        f'text-anchor="middle">{n + 1}</text>'
        for n, cost in enumerate(costs)
    ]
    return (
        f'<svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label="Convergence">'
        f"{''.join(marks)}"
        f'<line class="goal" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(goal):.1f}" '
        f'y2="{y(goal):.1f}"/><polyline class="best" points="{line}"/>{"".join(dots)}'
        f'<text class="tick" x="{LEFT + wide / 2}" y="{HEIGHT - 6}" text-anchor="middle">'
        "measured pulse</text></svg>"
    )
