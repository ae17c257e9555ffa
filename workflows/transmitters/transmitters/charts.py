"""The histograms as SVG and HTML: how the shots of each sweep fell."""

from __future__ import annotations

from html import escape
from typing import Any

WIDTH, HEIGHT = 330.0, 190.0
LEFT, TOP, BOTTOM = 8.0, 22.0, 34.0


def draw_sizes(sweep: dict[str, Any], best: dict[str, Any], highest: float) -> str:
    """Shots by what they are: no independent set, or one of so many airports.

    The marks across the columns are what uniformly random bits would give, where the
    chart is high enough for them. All sweeps of a page share `highest`, the largest
    share that any column shows.
    """
    shots = max(sweep["shots"], 1)
    random_sizes = best["random_sizes"]
    names = sorted({*sweep["sizes"], *random_sizes}, key=int)
    columns = [("no set", 1 - sweep["valid_rate"], 1 - sum(random_sizes.values()), "bad")]
    columns += [
        (
            name,
            sweep["sizes"].get(name, 0) / shots,
            random_sizes.get(name, 0.0),
            "optimal" if int(name) == best["optimum_size"] else "",
        )
        for name in names
    ]
    step = (WIDTH - 2 * LEFT) / len(columns)
    tall = HEIGHT - TOP - BOTTOM
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" '
        f'aria-label="Shots by size of the set, sweep of {sweep["duration_ns"]} ns">',
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - LEFT}" y1="{HEIGHT - BOTTOM}" '
        f'y2="{HEIGHT - BOTTOM}"/>',
    ]
    for n, (name, share, by_chance, kind) in enumerate(columns):
        x, width = LEFT + n * step + step * 0.14, step * 0.72
        y = HEIGHT - BOTTOM - tall * share / highest
        mark = HEIGHT - BOTTOM - tall * by_chance / highest
        parts += [
            f'<rect class="column {kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
            f'height="{HEIGHT - BOTTOM - y:.1f}" rx="2"/>',
            f'<text class="share" x="{x + width / 2:.1f}" y="{y - 5:.1f}" '
            f'text-anchor="middle">{percent(share) if share else ""}</text>',
            f'<text class="tick" x="{x + width / 2:.1f}" y="{HEIGHT - BOTTOM + 14:.1f}" '
            f'text-anchor="middle">{escape(name)}</text>',
        ]
        if by_chance <= highest:
            parts.append(
                f'<line class="chance" x1="{x - 3:.1f}" x2="{x + width + 3:.1f}" '
                f'y1="{mark:.1f}" y2="{mark:.1f}"/>'
            )
    parts.append(
        f'<text class="tick" x="{WIDTH / 2}" y="{HEIGHT - 4}" text-anchor="middle">'
        "airports in the measured set</text></svg>"
    )
    return "\n".join(parts)


def highest_share(best: dict[str, Any]) -> float:
    """The scale that all histograms of a page share."""
    shares = [0.05]
    for sweep in best["sweeps"]:
        shares.append(1 - sweep["valid_rate"])
        shares += [times / max(sweep["shots"], 1) for times in sweep["sizes"].values()]
    return max(shares)


def most_measured(sweep: dict[str, Any]) -> str:
    """The bitstrings that came most often, as a list with bars."""
    most = max((row["shots"] for row in sweep["most_measured"]), default=1)
    rows = []
    for row in sweep["most_measured"]:
        kind = "optimal" if row["optimal"] else "" if row["independent"] else "bad"
        note = "optimal" if row["optimal"] else "" if row["independent"] else "disturbed"
        codes = " ".join(row["airports"]) or "nobody"
        rows.append(
            f'<li><span class="codes">{escape(codes)}</span>'
            f'<span class="track"><span class="fill {kind}" '
            f'style="width:{100 * row["shots"] / most:.0f}%"></span></span>'
            f'<span class="times">{row["shots"]}</span><span class="note">{note}</span></li>'
        )
    return f'<ol class="most">{"".join(rows)}</ol>'


def percent(share: float) -> str:
    """A share for people: two digits that count."""
    value = 100 * share
    return f"{value:.0f} %" if value >= 10 else f"{value:.1f} %" if value >= 1 else f"{value:.2g} %"
