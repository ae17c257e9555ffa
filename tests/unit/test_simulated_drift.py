import itertools
from math import sqrt
from statistics import fmean, pstdev

import pytest

from qpu_executor.qpus.simulated_drift import CalibrationDrift, Deviations, DriftRates, of_cell

HOUR_S = 3600.0
TREND = DriftRates(
    detuning_per_h=0.2,
    amplitude_per_h=0.01,
    p_false_pos=0.01,
    p_false_neg=0.03,
    readout_per_h=0.005,
)


def test_a_trend_grows_with_the_age_and_begins_anew_with_every_epoch():
    drift = CalibrationDrift(TREND, seed=1)
    for epoch in (0, 5):
        assert drift.at(epoch, 0.0) == Deviations(0.0, 1.0, 0.01, 0.03)
        late = drift.at(epoch, 4 * HOUR_S)
        assert late.detuning == pytest.approx(0.8)
        assert late.amplitude == pytest.approx(0.96)
        assert late.p_false_pos == pytest.approx(0.03)
        assert late.p_false_neg == pytest.approx(0.05)


def test_a_walk_is_the_same_for_the_same_seed_in_whatever_order_it_is_asked():
    rates = DriftRates(detuning_walk=0.3, amplitude_walk=0.02, readout_walk=0.001)
    ages = [0, 10, 599, 600, 7200, 90_000, 400_000]
    forward = CalibrationDrift(rates, 1)
    found = [forward.at(2, age) for age in ages]
    backward = CalibrationDrift(rates, 1)
    assert [backward.at(2, age) for age in reversed(ages)] == found[::-1]
    forward.at(3, 50)
    assert forward.at(2, 7200) == found[4]
    assert CalibrationDrift(rates, 2).at(2, 7200) != found[4]
    assert forward.at(3, 7200) != found[4]
    assert found[0] == Deviations()


def test_a_walk_spreads_with_the_root_of_the_age():
    drift = CalibrationDrift(DriftRates(detuning_walk=0.1), 7)
    for hours in (1, 9):
        places = [drift.at(epoch, hours * HOUR_S).detuning for epoch in range(800)]
        # The standard deviation of 800 draws is known to 2.5 %, their mean to 3.5 % of it.
        assert pstdev(places) == pytest.approx(0.1 * sqrt(hours), rel=0.1)
        assert abs(fmean(places)) < 4 * 0.1 * sqrt(hours) / sqrt(800)


def test_a_walk_has_no_jumps():
    drift = CalibrationDrift(DriftRates(detuning_walk=0.1), 7)
    places = [drift.at(0, age).detuning for age in range(0, 30_000, 10)]
    steps = [abs(b - a) for a, b in itertools.pairwise(places)]
    assert max(steps) < 0.1 * sqrt(600 / HOUR_S) * 5 / 60


def test_a_machine_that_nobody_calibrates_stays_within_bounds():
    drift = CalibrationDrift(
        DriftRates(detuning_per_h=9, amplitude_per_h=0.4, readout_per_h=0.3, readout_walk=0.1), 0
    )
    assert drift.at(0, 1e8) == Deviations(10.0, 0.5, 0.5, 0.5)


def test_quality_is_that_of_the_readout_on_resonance_and_falls_with_each_deviation():
    assert Deviations().quality == pytest.approx(1.0)
    assert Deviations(0, 1, 0.02, 0.06).quality == pytest.approx(0.96)
    assert Deviations(detuning=1.0).quality == pytest.approx(
        1 - (1 / (4 * 3.14159**2)) / 2, rel=0.01
    )
    for worse in (
        Deviations(detuning=-1.0),
        Deviations(amplitude=0.9),
        Deviations(amplitude=1.1),
        Deviations(p_false_pos=0.1),
        Deviations(p_false_neg=0.1),
    ):
        assert worse.quality < 0.99


def test_a_cell_s_middle_is_near_all_that_is_in_it():
    for detuning, amplitude in [(0.0, 1.0), (0.31, 0.973), (-0.049, 1.012)]:
        middle = of_cell(Deviations(detuning, amplitude).cell)
        assert middle[0] == pytest.approx(detuning, abs=0.025 + 1e-9)
        assert middle[1] == pytest.approx(amplitude, abs=0.0025 + 1e-9)
        assert Deviations(*middle).cell == Deviations(detuning, amplitude).cell
