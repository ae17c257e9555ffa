"""The manager's clock beside that of its host, which somebody may set at any time."""

from __future__ import annotations

import logging
from typing import Any, cast

import pytest

from qpu_executor.manager.service.clock import SystemClock, ahead_of_host_s
from qpu_executor.manager.service.clock_watch import say_how_far_off
from qpu_executor.manager.service.retention import Retention
from qpu_executor.manager.service.site_policy import SitePolicy
from qpu_executor.model.values import MICROSECONDS, Instant, JobClass
from qpu_executor.testing.virtual_clock import VirtualClock

DAY_S = 86400.0
NEAR_S = 600.0
"""Real time passes while a test runs, and much of it on a host without a free processor."""


class Host:
    """The clock of a host, where the test sets it."""

    def __init__(self) -> None:
        self.at: Instant = 1_800_000_000 * MICROSECONDS

    def now(self) -> Instant:
        return self.at

    def set_on(self, seconds: float) -> None:
        self.at += round(seconds * MICROSECONDS)


def test_a_store_from_the_future_leaves_the_clock_ahead_and_that_is_known() -> None:
    host = Host()
    clock = SystemClock(host.at + round(400 * DAY_S) * MICROSECONDS, host=host.now)
    assert ahead_of_host_s(clock) == pytest.approx(400 * DAY_S, abs=NEAR_S)


def test_a_host_that_is_set_leaves_the_clock_where_it_was_and_that_is_known() -> None:
    host = Host()
    clock = SystemClock(host=host.now)
    before = clock.now()
    assert ahead_of_host_s(clock) == pytest.approx(0, abs=NEAR_S)
    host.set_on(DAY_S)
    assert ahead_of_host_s(clock) == pytest.approx(-DAY_S, abs=NEAR_S)
    host.set_on(-3 * DAY_S)
    assert ahead_of_host_s(clock) == pytest.approx(2 * DAY_S, abs=NEAR_S)
    assert before <= clock.now() < before + NEAR_S * MICROSECONDS


def test_a_clock_that_isn_t_meant_to_keep_to_the_host_s_is_not_called_wrong() -> None:
    host = Host()
    faster = SystemClock(scale=100.0, host=host.now)
    host.set_on(-DAY_S)
    assert ahead_of_host_s(faster) == 0
    assert ahead_of_host_s(VirtualClock()) == 0


@pytest.mark.parametrize("set_on_s", [-400 * DAY_S, 0.0, 400 * DAY_S])
def test_nothing_is_old_that_is_young_by_either_clock(set_on_s: float) -> None:
    host = Host()
    clock = SystemClock(host=host.now)
    policy = SitePolicy((JobClass("production", 300),), "production")
    unused = cast(Any, None)
    retention = Retention(unused, unused, clock, {}, lambda: policy)
    host.set_on(set_on_s)
    before = retention.by_age(90 * DAY_S).results
    assert before is not None
    oldest_now = min(host.now(), clock.now()) / MICROSECONDS
    assert before / MICROSECONDS == pytest.approx(oldest_now - 90 * DAY_S, abs=NEAR_S)


def test_a_clock_that_is_off_is_told_once_and_again_when_that_changes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    said_s = 0.0
    for ahead_s in (0.1, 7200.0, 7201.0, -7200.0, -7200.5, 0.2, 0.1):
        said_s = say_how_far_off(ahead_s, said_s)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "the manager's clock is 7200 s ahead of its host's, since it never goes back",
        "the manager's clock is 7200 s behind its host's, which was set meanwhile",
        "the manager's clock and that of its host agree again",
    ]
