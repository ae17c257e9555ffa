"""A day on a QPU that drifts: results get worse with the age of a calibration, and are
repaired by the next one. The manager is a real one, on a virtual clock; the physics is
Pulser's. A probe whose right answer is known (a pi pulse: every shot reads 1) is submitted
four times an hour.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from math import sqrt
from pathlib import Path

import pytest
import pytest_asyncio

from qpu_executor.cli.server_parts import build_site_policy
from qpu_executor.manager.store.records import ChunkRow
from qpu_executor.manager.store.wishes import NO_WISHES, Wishes
from qpu_executor.model.states import ChunkState
from qpu_executor.model.values import MICROSECONDS
from qpu_executor.qpus.simulated import SimulatedQpu
from qpu_executor.qpus.simulated_drift import CalibrationDrift, Deviations
from qpu_executor.qpus.simulated_settings import SimulatedSettings
from qpu_executor.settings import SiteSettings
from qpu_executor.settings.site import parse_site
from qpu_executor.testing.coins import Coins
from qpu_executor.testing.probe import InlineNoise, pi_pulse
from qpu_executor.testing.virtual_manager import VirtualManager

# The day is played once for all tests, so these share an event loop.
pytestmark = pytest.mark.asyncio(loop_scope="module")

DAY_S = 86_400
EVERY_S = 900
SHOTS = 500

# No fluctuations from shot to shot, so that what is to be expected is a formula.
SITE = """
manager: {{health_every_s: 300}}
default_class: development
job_classes:
  development: {{priority: 100, chunk_s: 60}}
qpus:
  machine:
    kind: simulated-qpu
    shot_rate_hz: 10
    setup_s: 1
    seed: 3
    calibration: {calibration}
    {plan}
    noise:
      detuning_per_h: 0.5
      detuning_walk: 0.15
      amplitude_per_h: 0.02
      amplitude_walk: 0.005
      p_false_pos: 0.01
      p_false_neg: 0.03
      readout_per_h: 0.01
      readout_walk: 0.002
"""
BY_DEVICE = "{by: device, every_s: [10000, 18000], length_s: [600, 900]}"
WHEN_ASKED = "{by: manager, every_s: 1000000, length_s: 600}"
BOUND = 0.93
BOUNDED = f"calibration_plan: {{length_s: 600, drift: {{metric: quality, at_least: {BOUND}}}}}"


@dataclass(frozen=True)
class Probe:
    """A chunk of one: `right` shots of `shots` read 1, `age_s` after its epoch began."""

    right: int
    shots: int
    epoch: int
    age_s: float


def settings_of(calibration: str, plan: str = "") -> SiteSettings:
    return parse_site(SITE.format(calibration=calibration, plan=plan), "day.yaml")


async def day(
    directory: Path, settings: SiteSettings, lasts_s: int = DAY_S, wishes: Wishes = NO_WISHES
) -> list[Probe]:
    """The probes of a day, in the order in which they ran."""

    def make_qpu(name: str, found: SimulatedSettings) -> SimulatedQpu:
        assert found.noise is not None
        return SimulatedQpu(name, found, Coins(), InlineNoise(found.noise.fluctuations))

    program, policy = pi_pulse(), build_site_policy(settings)
    async with VirtualManager(settings, policy, directory, make_qpu) as served:
        for n, at_s in enumerate(range(0, lasts_s, EVERY_S)):
            await served.pass_time(at_s)
            await served.submit(program, SHOTS, seed=n, wishes=wishes)
        await served.pass_time(lasts_s + 3600)
        return [probe_of(one) for one in await served.chunks()]


def probe_of(row: ChunkRow) -> Probe:
    assert row.state is ChunkState.FINISHED
    assert row.epoch is not None
    assert row.started_at is not None
    _, number, began = row.epoch.split("-")
    began_at = datetime.strptime(began, "%Y%m%dT%H%M%S").replace(tzinfo=UTC).timestamp()
    age_s = row.started_at / MICROSECONDS - began_at
    return Probe(row.counts.get("1", 0), row.shots_counted, int(number), age_s)


def deviations_of(probe: Probe, settings: SiteSettings) -> Deviations:
    """What the QPU was off by, from its law of drift alone."""
    found = SimulatedSettings.read("machine", settings.qpus["machine"].adapter_settings())
    assert found.noise is not None
    return CalibrationDrift(found.noise.drift, found.timing.seed).at(probe.epoch, probe.age_s)


def expected(probe: Probe, settings: SiteSettings) -> float:
    """How likely a probe's shot reads 1: the quality is the mean of that and of a dark check."""
    deviations = deviations_of(probe, settings)
    return 2 * deviations.quality - (1 - deviations.p_false_pos)


def drop(before: list[Probe], after: list[Probe]) -> float:
    """By how many standard errors the part of right shots fell (two proportions, pooled)."""
    right = [sum(one.right for one in some) for some in (before, after)]
    shots = [sum(one.shots for one in some) for some in (before, after)]
    pooled = sum(right) / sum(shots)
    error = sqrt(pooled * (1 - pooled) * (1 / shots[0] + 1 / shots[1]))
    return (right[0] / shots[0] - right[1] / shots[1]) / error


def surprise(probes: list[Probe], model: list[float]) -> float:
    """How far the counts are from a model's, in standard normal deviations of chi squared."""
    chi2 = sum(
        (one.right - one.shots * part) ** 2 / (one.shots * part * (1 - part))
        for one, part in zip(probes, model, strict=True)
    )
    free = len(probes)
    # Wilson and Hilferty: the cube root of chi2/free is almost normal.
    return ((chi2 / free) ** (1 / 3) - (1 - 2 / (9 * free))) / sqrt(2 / (9 * free))


def epochs_of(probes: list[Probe]) -> list[list[Probe]]:
    return [[one for one in probes if one.epoch == epoch] for epoch in range(probes[-1].epoch + 1)]


BY_ITSELF = settings_of(BY_DEVICE)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def probes(tmp_path_factory):
    return await day(tmp_path_factory.mktemp("day"), BY_ITSELF)


async def test_every_probe_of_a_day_ran_and_several_calibrations_came_between(probes):
    assert sum(one.shots for one in probes) == SHOTS * DAY_S // EVERY_S
    epochs = epochs_of(probes)
    assert len(epochs) >= 5
    assert min(len(one) for one in epochs) >= 4


async def test_results_get_worse_with_the_age_of_the_calibration(probes):
    # A line through the probes of all epochs, each around its own epoch's mean.
    slope = weight = 0.0
    for epoch in epochs_of(probes):
        shots = sum(one.shots for one in epoch)
        age_s = sum(one.age_s * one.shots for one in epoch) / shots
        right = sum(one.right for one in epoch) / shots
        for one in epoch:
            slope += one.shots * (one.age_s - age_s) * (one.right / one.shots - right)
            weight += one.shots * (one.age_s - age_s) ** 2
    slope /= weight
    # No shot varies more than a fair coin.
    error = 0.5 / sqrt(weight)
    assert slope < -10 * error
    for epoch in epochs_of(probes):
        if epoch[-1].age_s > 7200:
            assert drop(epoch[:2], epoch[-2:]) > 4


async def test_each_calibration_repairs_the_results(probes):
    compared = 0
    for old, new in pairwise(epochs_of(probes)):
        if old[-1].age_s > 7200:
            assert drop(old[-2:], new[:2]) < -4
            compared += 1
        fresh = expected(Probe(0, 0, new[0].epoch, 0.0), BY_ITSELF)
        assert new[0].right / new[0].shots > fresh - 0.06
    assert compared >= 4


async def test_the_counts_are_those_of_the_drift_at_each_moment(probes):
    assert abs(surprise(probes, [expected(one, BY_ITSELF) for one in probes])) < 3.3
    # The same counts don't fit a QPU that doesn't drift.
    fresh = expected(Probe(0, 0, 0, 0.0), BY_ITSELF)
    assert surprise(probes, [fresh] * len(probes)) > 10


async def test_the_same_day_gives_the_same_counts_again(probes, tmp_path):
    again = await day(tmp_path, BY_ITSELF, 6 * 3600)
    assert len({one.epoch for one in again}) > 1
    assert again == probes[: len(again)]


async def test_a_calibration_plan_with_a_bound_keeps_the_quality_above_it(probes, tmp_path):
    bounded = settings_of(WHEN_ASKED, BOUNDED)
    kept = await day(tmp_path, bounded)
    assert len(epochs_of(kept)) >= 5
    # Measured every ten minutes, seen within five: it may fall a little in between.
    assert min(deviations_of(one, bounded).quality for one in kept) > BOUND - 0.02
    assert min(deviations_of(one, BY_ITSELF).quality for one in probes) < BOUND - 0.05


async def test_without_a_calibration_a_task_waits_for_the_quality_that_it_wants(tmp_path):
    never = settings_of(WHEN_ASKED)
    found = await day(tmp_path, never, 6 * 3600, Wishes(min_quality=BOUND))
    every = 6 * 3600 // EVERY_S
    assert 4 <= len(found) < every
    assert all(deviations_of(one, never).quality > BOUND - 0.02 for one in found)
