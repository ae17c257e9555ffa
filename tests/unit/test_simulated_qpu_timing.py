import pytest

from qpu_executor.errors import ConfigError
from qpu_executor.model.values import ChunkId
from qpu_executor.qpus.simulated_calibration import SimulatedCalibration
from qpu_executor.qpus.simulated_downtime import Breakdowns, Downtime, PlannedClosing
from qpu_executor.qpus.simulated_settings import SimulatedSettings
from qpu_executor.qpus.simulated_timing import ShotTiming

CHUNK = ChunkId(3, 1)


def test_shots_take_the_time_of_the_rate():
    times = ShotTiming(0.25).shots_of(CHUNK, 10)
    assert times.total_s == 40.0
    assert [times.taken_by(at) for at in (-1, 0, 3.99, 4, 39.9, 40, 99)] == [0, 0, 0, 1, 9, 10, 10]


@pytest.mark.parametrize("rate", [0.3, 3.0, 7.0, 10.0])
def test_a_shot_that_ends_now_is_taken_whatever_the_rate(rate):
    times = ShotTiming(rate).shots_of(CHUNK, 500)
    assert [times.taken_by(n / rate) for n in range(501)] == list(range(501))


def test_jitter_is_bounded_seeded_and_keeps_the_mean():
    timing = ShotTiming(2.0, jitter=0.4, seed=5)
    times = timing.shots_of(CHUNK, 2000)
    each = [b - a for a, b in zip((0.0, *times.ends_s), times.ends_s, strict=False)]
    assert 0.3 <= min(each) < 0.31
    assert 0.69 < max(each) <= 0.7 + 1e-9
    assert times.total_s == pytest.approx(1000, rel=0.02)
    assert timing.shots_of(CHUNK, 2000) == times
    assert timing.shots_of(ChunkId(3, 2), 2000) != times
    assert times.taken_by(times.ends_s[41]) == 42
    assert timing.longest_s(2000) >= times.total_s


def test_set_up_counts_tasks_and_layouts_that_change():
    timing = ShotTiming(1.0, setup_s=2, switch_s=10, layout_s=100)
    assert timing.setup_of(None, 1, None, "a") == 112
    assert timing.setup_of(1, 1, "a", "a") == 2
    assert timing.setup_of(1, 2, "a", "a") == 12
    assert timing.setup_of(1, 2, "a", "b") == 112
    assert timing.setup_of(1, 1, "a", None) == 2


def test_planned_closings_repeat_and_are_found_from_anywhere():
    once, daily = PlannedClosing(50, 10), PlannedClosing(100, 20, every_s=1000, reason="cleaning")
    assert once.next_at(59.9) is not None
    assert once.next_at(60) is None
    for at, starts in [(0, 100), (119, 100), (120, 1100), (5_110, 5_100), (5_121, 6_100)]:
        found = daily.next_at(at)
        assert found is not None
        assert (found.starts_s, found.ends_s) == (starts, starts + 20)


def test_breakdowns_are_the_same_in_whatever_order_they_are_asked_for():
    forwards, backwards = Breakdowns(1000, 60, seed=2), Breakdowns(1000, 60, seed=2)
    moments = [37.0 * n for n in range(3000)]
    found = [forwards.next_at(at) for at in moments]
    assert [backwards.next_at(at) for at in reversed(moments)] == found[::-1]
    assert all(one.ends_s > at for one, at in zip(found, moments, strict=True))
    assert all(one.ends_s - one.starts_s == pytest.approx(60) for one in found)
    number = len({one.starts_s for one in found})
    assert number == pytest.approx(moments[-1] / 1060, rel=0.25)
    assert Breakdowns(1000, 60, seed=3).next_at(0) != found[0]


def test_overlapping_closings_open_after_the_last_of_them():
    downtime = Downtime(
        [PlannedClosing(10, 20), PlannedClosing(25, 20), PlannedClosing(90, 5)], None
    )
    assert downtime.open_from(5) == 5
    assert downtime.open_from(12) == 45
    following = downtime.next_at(45)
    assert following is not None
    assert following.starts_s == 90
    assert Downtime([], None).next_at(0) is None


def test_calibrations_are_drawn_within_their_spans_from_the_seed_and_the_epoch():
    plan = SimulatedCalibration("device", (3600, 14400), (300, 900), (0.9, 0.99), seed=4)
    for epoch in range(200):
        assert 3600 <= plan.due_after_s(epoch) <= 14400
        assert 300 <= plan.takes_s(epoch) <= 900
        assert 0.9 <= plan.quality_of(epoch) <= 0.99
    assert len({plan.due_after_s(epoch) for epoch in range(200)}) == 200


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shot_rate": 3}, r"qpus\.sim\.shot_rate: .*did you mean 'shot_rate_hz'"),
        ({"shot_rate_hz": 0}, r"qpus\.sim\.shot_rate_hz: 0 is no value"),
        ({"jitter": 1}, r"qpus\.sim\.jitter"),
        ({"memory": "disk"}, r"qpus\.sim\.memory.*'file' or 'none'"),
        ({"max_atoms": 0}, r"qpus\.sim\.max_atoms"),
        ({"closed": [{"after_s": 1}]}, r"qpus\.sim\.closed\.0\.length_s.*missing"),
        ({"closed": [{"after_s": 1, "length_s": 9, "every_s": 9}]}, "it never opens"),
        ({"calibration": {"every_s": "often", "length_s": 9}}, r"calibration\.every_s: 'often'"),
        ({"calibration": {"every_s": [9, 3], "length_s": 9}}, "the first of the two"),
        ({"breakdowns": {"mean_between_s": 9, "repair": 3}}, r"breakdowns\.repair"),
    ],
)
def test_wrong_settings_are_refused_with_key_and_expectation(settings, message):
    with pytest.raises(ConfigError, match=message):
        SimulatedSettings.read("sim", settings)


def test_settings_of_the_emulator_and_spans_are_taken():
    found = SimulatedSettings.read(
        "sim",
        {
            "max_atoms": 9,
            "shot_rate_hz": 5,
            "memory": "file",
            "calibration": {"every_s": 3600, "length_s": [300, 900], "by": "manager"},
        },
    )
    assert found.emulator.max_atoms == 9
    assert found.emulator.workers == 1
    assert found.remembers
    assert found.calibration is not None
    assert found.calibration.every_s == (3600, 3600)
    assert found.calibration.length_s == (300, 900)
