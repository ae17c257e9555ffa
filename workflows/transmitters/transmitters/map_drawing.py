"""The map as an SVG: airports, who disturbs whom, who transmits, who was left out.

Every chosen airport has a disk of half the radius: two transmitters disturb each
other exactly when their disks touch.
"""

from __future__ import annotations

import math
from html import escape
from typing import Any

WIDTH = 940.0
TALLEST = 960.0
MARGIN = 40.0
CHARACTER = 7.6
"""Width of a label's character at its font size, in SVG units; generous."""

LINE = 14.0
Box = tuple[float, float, float, float]


def draw_map(graph: dict[str, Any], found: set[str]) -> str:
    """The map of a graph with the found airports (their codes) highlighted."""
    sites, left_out = graph["airports"], graph["left_out"]
    half = graph["radius_km"] / 2
    everywhere = [*sites, *left_out]
    west = min([a["x_km"] for a in left_out] + [a["x_km"] - half for a in sites])
    east = max([a["x_km"] for a in left_out] + [a["x_km"] + half for a in sites])
    south = min([a["y_km"] for a in left_out] + [a["y_km"] - half for a in sites])
    north = max([a["y_km"] for a in left_out] + [a["y_km"] + half for a in sites])
    scale = min((WIDTH - 2 * MARGIN) / (east - west), (TALLEST - 2 * MARGIN) / (north - south))
    height = (north - south) * scale + 2 * MARGIN
    left = (WIDTH - (east - west) * scale) / 2
    spot = {
        a["code"]: (left + (a["x_km"] - west) * scale, MARGIN + (north - a["y_km"]) * scale)
        for a in everywhere
    }
    taken: list[Box] = [_around(*spot[a["code"]], 6) for a in everywhere]
    parts = [
        f'<svg class="map" viewBox="0 0 {WIDTH:.0f} {height:.0f}" role="img" '
        f'aria-label="Map of the airports of {escape(graph["country"])}">'
    ]
    parts += [_disk(spot[a["code"]], half * scale, a["code"] in found) for a in sites]
    parts += [_edge(sites[a]["code"], sites[b]["code"], spot) for a, b in graph["edges"]]
    parts += [_grey(a, spot[a["code"]]) for a in left_out]
    parts += [_dot(a, spot[a["code"]], a["code"] in found) for a in sites]
    for a in sorted(sites, key=lambda a: a["code"] not in found):
        kind = "name found" if a["code"] in found else "name"
        parts.append(_label(a["name"], kind, spot[a["code"]], taken, height, always=True))
    for a in left_out:
        parts.append(_label(a["code"], "name out", spot[a["code"]], taken, height))
    parts.append(_scale_bar(scale, height))
    return "\n".join(part for part in parts if part) + "\n</svg>"


def _disk(at: tuple[float, float], radius: float, found: bool) -> str:
    kind = "disk found" if found else "disk"
    return f'<circle class="{kind}" cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{radius:.1f}"/>'


def _edge(a: str, b: str, spot: dict[str, tuple[float, float]]) -> str:
    (x1, y1), (x2, y2) = spot[a], spot[b]
    return f'<line class="edge" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _grey(airport: dict[str, Any], at: tuple[float, float]) -> str:
    title = escape(f"{airport['name']} ({airport['code']}), left out: {airport['reason']}")
    return (
        f'<circle class="dot out" cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="3">'
        f"<title>{title}</title></circle>"
    )


def _dot(airport: dict[str, Any], at: tuple[float, float], found: bool) -> str:
    kind, radius = ("dot found", 7.5) if found else ("dot", 5.5)
    says = "transmits" if found else "stays silent"
    title = escape(f"{airport['name']} ({airport['code']}) {says}")
    return (
        f'<circle class="{kind}" cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{radius}">'
        f"<title>{title}</title></circle>"
    )


def _label(
    text: str,
    kind: str,
    at: tuple[float, float],
    taken: list[Box],
    height: float,
    always: bool = False,
) -> str:
    """Write a label where it covers nothing; where it must, the least, if `always`."""
    width = len(text) * CHARACTER
    x, y = at
    near = 11.0 if always else 6.0
    places = [
        (x + near, y - LINE / 2, "start"),
        (x - near - width, y - LINE / 2, "end"),
        (x - width / 2, y - near - LINE, "middle"),
        (x - width / 2, y + near, "middle"),
        (x + near * 0.7, y - near - LINE * 0.7, "start"),
        (x + near * 0.7, y + near * 0.4, "start"),
        (x - near * 0.7 - width, y - near - LINE * 0.7, "end"),
        (x - near * 0.7 - width, y + near * 0.4, "end"),
    ]
    boxes = [(left, top, left + width, top + LINE) for left, top, _ in places]
    covered = [
        sum(_overlap(box, other) for other in taken) if _inside(box, height) else math.inf
        for box in boxes
    ]
    n = covered.index(min(covered))
    if covered[n] > 0 and not always:
        return ""
    taken.append(boxes[n])
    left, top, anchor = places[n]
    anchored = {"start": left, "middle": left + width / 2, "end": left + width}[anchor]
    return (
        f'<text class="{kind}" x="{anchored:.1f}" y="{top + LINE * 0.78:.1f}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )


def _scale_bar(scale: float, height: float) -> str:
    """A bar of 100 km at the lower left."""
    x, y, length = 14.0, height - 14.0, 100 * scale
    return (
        f'<path class="bar" d="M{x} {y - 5} V{y} H{x + length:.1f} V{y - 5}"/>'
        f'<text class="name out" x="{x + length / 2:.1f}" y="{y - 6}" '
        f'text-anchor="middle">100 km</text>'
    )


def _around(x: float, y: float, half: float) -> Box:
    return (x - half, y - half, x + half, y + half)


def _overlap(a: Box, b: Box) -> float:
    """The area that two boxes share."""
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    return max(wide, 0.0) * max(high, 0.0)


def _inside(box: Box, height: float) -> bool:
    return box[0] >= 2 and box[2] <= WIDTH - 2 and box[1] >= 2 and box[3] <= height - 2
