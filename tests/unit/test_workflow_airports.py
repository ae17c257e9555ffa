"""The transmitters workflow: its table of airports, and which of them become atoms."""

import importlib
import math
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "workflows" / "transmitters"))
transmitters = importlib.import_module("transmitters")
airports = importlib.import_module("transmitters.airports")
selection = importlib.import_module("transmitters.selection")

BOXES = {"FR": (41.3, 51.2, -5.3, 9.7), "DE": (47.2, 55.1, 5.8, 15.1)}


def great_circle_km(a, b):
    lat1, lon1, lat2, lon2 = map(
        math.radians, (a["latitude"], a["longitude"], b["latitude"], b["longitude"])
    )
    half = math.sin((lat2 - lat1) / 2) ** 2
    half += math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * airports.EARTH_RADIUS_KM * math.asin(math.sqrt(half))


def test_every_airport_lies_in_its_country_s_box():
    for airport in airports.read_table():
        south, north, west, east = BOXES[airport["country"]]
        assert south < airport["latitude"] < north, airport
        assert west < airport["longitude"] < east, airport


def test_codes_are_unique_and_of_three_capitals():
    table = airports.read_table()
    codes = [a["code"] for a in table]
    assert len(set(codes)) == len(codes) == 87
    assert all(len(c) == 3 and c.isascii() and c.isalpha() and c.isupper() for c in codes)
    assert all(a["name"] for a in table)


def test_no_two_airports_stand_on_the_same_spot():
    spots = [(a["latitude"], a["longitude"]) for a in airports.read_table()]
    assert len(set(spots)) == len(spots)


@pytest.mark.parametrize("country", sorted(BOXES))
def test_the_flat_map_keeps_distances_to_half_a_percent(country):
    placed = airports.on_flat_map(airports.of_country(country))
    for n, a in enumerate(placed):
        for b in placed[:n]:
            flat = math.dist((a["x_km"], a["y_km"]), (b["x_km"], b["y_km"]))
            assert flat == pytest.approx(great_circle_km(a, b), rel=5e-3)


@pytest.mark.parametrize(
    ("country", "radius_km"), [("FR", 120), ("FR", 80), ("FR", 200.0), ("DE", 120), ("DE", 150)]
)
def test_load_chooses_ten_to_thirteen_and_gives_a_reason_for_every_other(country, radius_km):
    loaded = transmitters.load(country, radius_km)
    chosen = {a["code"] for a in loaded["airports"]}
    out = {a["code"] for a in loaded["left_out"]}
    assert 10 <= len(chosen) <= 13
    assert not chosen & out
    assert chosen | out == {a["code"] for a in airports.of_country(country)}
    assert all(a["reason"] for a in loaded["left_out"])


def test_load_keeps_distances_off_the_threshold():
    loaded = transmitters.load("FR", 120)
    points = [(a["x_km"], a["y_km"]) for a in loaded["airports"]]
    for n, a in enumerate(points):
        for b in points[:n]:
            distance = math.dist(a, b)
            assert distance >= selection.CLOSEST * 120
            assert distance <= 120 or distance >= selection.GAP * 120


def test_load_is_the_same_every_time_and_takes_the_country_in_small_letters():
    assert transmitters.load("fr", 120) == transmitters.load("FR", 120.0)


def test_the_limit_is_kept():
    assert len(transmitters.load("FR", 120, limit=10)["airports"]) == 10
    assert len(transmitters.load("FR", 120, limit=13)["airports"]) == 13


def test_an_unknown_country_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'XX'.*known: DE, FR"):
        transmitters.load("XX")


@pytest.mark.parametrize("radius_km", [5, 2000])
def test_a_radius_that_embeds_nothing_is_refused_with_radii_that_work(radius_km):
    with pytest.raises(ValueError, match="these would do: ") as caught:
        transmitters.load("DE", radius_km)
    good = str(caught.value).split("these would do: ")[1].split(", ")
    assert len(transmitters.load("DE", int(good[0]))["airports"]) >= 10
    assert len(transmitters.load("DE", int(good[-1]))["airports"]) >= 10


@pytest.mark.parametrize("radius_km", [0, -3, "120", True, None])
def test_a_radius_that_is_no_length_is_refused(radius_km):
    with pytest.raises(ValueError, match="radius_km must be"):
        transmitters.load("FR", radius_km)


@pytest.mark.parametrize("limit", [9, 14, 12.0, "12"])
def test_a_limit_out_of_range_is_refused(limit):
    with pytest.raises(ValueError, match="limit must be"):
        transmitters.load("FR", 120, limit)
