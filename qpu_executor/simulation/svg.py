"""The few SVG elements that the pictures need, and the colours of their lines."""

from __future__ import annotations

import math
from html import escape

GRID, INK, FAINT = "#e3e6ea", "#22272e", "#6b7480"


def text(
    x: float, y: float, words: str, *, anchor: str = "start", size: int = 12, colour: str = INK
) -> str:
    """A line of text; `y` is its base line."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"'
        f' fill="{colour}">{escape(words)}</text>'
    )


def rect(
    x: float,
    y: float,
    width: float,
    height: float,
    colour: str,
    *,
    title: str = "",
    radius: int = 0,
) -> str:
    """A filled rectangle, with a tooltip if it has a title."""
    shape = f'x="{x:.2f}" y="{y:.1f}" width="{max(width, 0.3):.2f}" height="{height:.1f}"'
    round_ = f' rx="{radius}"' if radius else ""
    if not title:
        return f'<rect {shape}{round_} fill="{colour}"/>'
    return f'<rect {shape}{round_} fill="{colour}"><title>{escape(title)}</title></rect>'


def line(
    x1: float,
    y1: float,
    x2: float,
    y2: float,
    colour: str = GRID,
    *,
    width: float = 1,
    dash: str = "",
) -> str:
    """A straight line."""
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"'
        f' stroke-width="{width}"{dashes}/>'
    )


def dot(x: float, y: float, radius: float, colour: str, *, title: str = "") -> str:
    """A filled circle, with a tooltip if it has a title."""
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}">'
        f"<title>{escape(title)}</title></circle>"
    )


def picture(width: float, height: float, parts: list[str], label: str) -> str:
    """An SVG element that scales with the page. `label`: what it shows, for who can't see it."""
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(label)}"'
        f' xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


def legend(entries: list[tuple[str, str]], x: float, y: float) -> list[str]:
    """(colour, words) in one line that begins at (x, y)."""
    parts = []
    for colour, words in entries:
        parts += [rect(x, y - 9, 11, 11, colour, radius=2), text(x + 16, y, words, colour=FAINT)]
        x += 34 + 6.6 * len(words)
    return parts


def round_step(span: float, marks: int) -> float:
    """A step of 1, 2 or 5 times a power of ten that gives about `marks` marks over `span`."""
    rough = max(span, 1e-9) / marks
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
