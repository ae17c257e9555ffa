"""The table of airports, their places on a flat map, and the step `load`."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

from .device import limits
from .selection import choose, embeds, why_left_out, works

TABLE = Path(__file__).resolve().parent.parent / "airports.csv"
EARTH_RADIUS_KM = 6371.0
FEWEST, MOST = 10, 13
"""Fewer airports are no interesting problem; more are slow on an emulator."""

RADII_TRIED_KM = (*range(20, 200, 10), *range(200, 520, 20))


def load(country: str, radius_km: float = 120.0, limit: int = 12) -> dict[str, Any]:
    """Choose the airports of a country whose atoms fit the device.

    Args:
        country: two-letter code of a country in the table, such as "FR".
        radius_km: transmitters at most this far apart disturb each other.
        limit: how many airports at most, 10 to 13.

    Returns:
        `country`, `radius_km`, `airports` (the chosen ones) and `left_out` (the
        others, each with its `reason`); an airport has `code`, `name`, `latitude`,
        `longitude` (degrees) and `x_km`, `y_km` on a flat map (y to the north).

    Raises:
        ValueError: unknown country, a limit out of range, or a radius for which no
            ten airports fit the device; the message says what would work.
    """
    check_numbers(radius_km, limit)
    airports = on_flat_map(of_country(country))
    points = [(a["x_km"], a["y_km"]) for a in airports]
    rules = limits()
    chosen = choose(points, radius_km, limit, rules)
    if not embeds(points, chosen, radius_km, FEWEST):
        raise ValueError(
            f"no {FEWEST} airports of {country!r} with some that disturb each other fit "
            f"{rules.device} at radius_km={radius_km:g}; {working_radii(points, limit)}"
        )
    inside = set(chosen)
    left_out = [
        {**a, "reason": why_left_out(points, i, chosen, airports, radius_km, rules)}
        for i, a in enumerate(airports)
        if i not in inside
    ]
    return {
        "country": country.upper(),
        "radius_km": float(radius_km),
        "airports": [airports[i] for i in sorted(chosen)],
        "left_out": left_out,
    }


def read_table(path: Path = TABLE) -> list[dict[str, Any]]:
    """Every airport of the table, in its order."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return [
            {
                "code": row["code"],
                "name": row["name"],
                "country": row["country"],
                "latitude": float(row["latitude"]),
                "longitude": float(row["longitude"]),
            }
            for row in rows
        ]


def of_country(country: str) -> list[dict[str, Any]]:
    """The airports of one country; ValueError names the known ones."""
    table = read_table()
    found = [a for a in table if a["country"] == str(country).upper()]
    if not found:
        known = ", ".join(sorted({a["country"] for a in table}))
        raise ValueError(f"no airports of country {country!r} in {TABLE.name}; known: {known}")
    return found


def on_flat_map(airports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add `x_km` and `y_km`: a stereographic map around the country's middle.

    Over the 500 km from the middle that matter here its distances are right to 0.2 %.
    """
    latitudes = [math.radians(a["latitude"]) for a in airports]
    longitudes = [math.radians(a["longitude"]) for a in airports]
    lat0 = (min(latitudes) + max(latitudes)) / 2
    lon0 = (min(longitudes) + max(longitudes)) / 2
    placed = []
    for airport, lat, lon in zip(airports, latitudes, longitudes, strict=True):
        x, y = project(lat, lon, lat0, lon0)
        placed.append({**airport, "x_km": round(x, 3), "y_km": round(y, 3)})
    return placed


def project(lat: float, lon: float, lat0: float, lon0: float) -> tuple[float, float]:
    """Kilometres east and north of (lat0, lon0), all in radians, stereographic."""
    east = math.cos(lat) * math.sin(lon - lon0)
    north = math.cos(lat0) * math.sin(lat) - math.sin(lat0) * math.cos(lat) * math.cos(lon - lon0)
    up = math.sin(lat0) * math.sin(lat) + math.cos(lat0) * math.cos(lat) * math.cos(lon - lon0)
    scale = 2 * EARTH_RADIUS_KM / (1 + up)
    return scale * east, scale * north


def check_numbers(radius_km: object, limit: object) -> None:
    """Refuse what is no number in range."""
    if isinstance(radius_km, bool) or not isinstance(radius_km, int | float) or radius_km <= 0:
        raise ValueError(f"radius_km must be a number of kilometres above 0, not {radius_km!r}")
    if isinstance(limit, bool) or not isinstance(limit, int) or not FEWEST <= limit <= MOST:
        raise ValueError(f"limit must be a whole number from {FEWEST} to {MOST}, not {limit!r}")


def working_radii(points: list[tuple[float, float]], limit: int) -> str:
    """Which radii would do, as the end of an error's sentence."""
    rules = limits()
    good = [radius for radius in RADII_TRIED_KM if works(points, radius, limit, rules, FEWEST)]
    if not good:
        return f"none from {RADII_TRIED_KM[0]} to {RADII_TRIED_KM[-1]} km would do"
    return "these would do: " + ", ".join(str(radius) for radius in good)
