import pytest

from qpu_executor.qpus.job_polling import Pauses, ShotTime

PAUSES = Pauses(0.5, 30.0)


@pytest.mark.parametrize(
    ("elapsed_s", "expected_s", "pause_s"),
    [
        (0, None, 0.5),
        (40, None, 10),
        (4000, None, 30),
        (0, 20, 10),
        (19.9, 20, 0.5),
        (20, 20, 0.5),
        (60, 20, 10),
        (0, 1000, 30),
    ],
)
def test_the_next_look_is_halfway_to_the_expected_end_within_bounds(elapsed_s, expected_s, pause_s):
    assert PAUSES.next_s(elapsed_s, expected_s) == pause_s


def test_a_job_of_known_length_is_looked_at_seldom_and_its_end_is_seen_soon():
    elapsed_s, looks = 0.0, 0
    while elapsed_s < 100:
        elapsed_s += PAUSES.next_s(elapsed_s, 100)
        looks += 1
    assert looks <= 12
    assert elapsed_s - 100 <= 0.5


def test_the_time_of_a_shot_is_learnt_and_begins_with_what_the_site_says():
    assert ShotTime(None).expected_s(10) is None
    time = ShotTime(2.0)
    assert time.expected_s(10) == 5
    for _ in range(50):
        time.learn(10, 10)
    assert time.expected_s(10) == pytest.approx(10, rel=0.01)
    time.learn(0, 99)
    assert time.expected_s(10) == pytest.approx(10, rel=0.01)
