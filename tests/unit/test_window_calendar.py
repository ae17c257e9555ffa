"""Windows in the site file's words become instants: days, weekdays, time zones, clock changes."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.errors import ConfigError, OperatorError
from qpu_executor.manager.service.fleet import Fleet, Qpu
from qpu_executor.manager.service.site_rules import SiteRules
from qpu_executor.manager.service.window_calendar import WindowCalendar, WindowRule, expand
from qpu_executor.model.events import Event, WindowsChanged
from qpu_executor.model.states import CalibrationStarter, WindowKind
from qpu_executor.model.timing import MICROSECONDS, CalibrationPlan, DriftBound, Instant
from qpu_executor.settings import parse_site
from qpu_executor.testing.fake_qpu import FakeQpu

HOUR = 3600.0


def instant(text: str) -> Instant:
    """Microseconds of a UTC time like "2026-11-22T08:00"."""
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return round(moment.timestamp()) * MICROSECONDS


def a_rule(**changes: Any) -> WindowRule:
    values: dict[str, Any] = {"at": time(8, 0), "length_s": 2 * HOUR, "zone": "UTC"}
    return WindowRule("cryostat", WindowKind.MAINTENANCE, **{**values, **changes})


def starts(rule: WindowRule, start: str, end: str) -> list[Instant]:
    return [one.starts_at for one in rule.between(instant(start), instant(end))]


def test_daily_window_has_one_instant_each_day_and_the_one_that_is_on() -> None:
    rule = a_rule(at=time(23, 0))
    assert starts(rule, "2026-11-22T00:30", "2026-11-23T23:30") == [
        instant("2026-11-21T23:00"),
        instant("2026-11-22T23:00"),
        instant("2026-11-23T23:00"),
    ]


def test_weekly_window_is_on_its_weekdays_only_and_named_by_its_day() -> None:
    rule = a_rule(weekdays=(1,))
    found = rule.between(instant("2026-11-22T00:00"), instant("2026-12-02T00:00"))
    assert [one.name for one in found] == ["cryostat 2026-11-24", "cryostat 2026-12-01"]


def test_one_off_window_is_on_once() -> None:
    rule = a_rule(on=date(2026, 11, 25))
    assert starts(rule, "2026-11-22T00:00", "2027-11-22T00:00") == [instant("2026-11-25T08:00")]
    assert starts(rule, "2026-11-25T10:00", "2027-11-22T00:00") == []


def test_window_keeps_its_wall_clock_time_over_a_clock_change() -> None:
    rule = a_rule(zone="Europe/Paris")
    assert starts(rule, "2026-10-24T00:00", "2026-10-26T12:00") == [
        instant("2026-10-24T06:00"),
        instant("2026-10-25T07:00"),
        instant("2026-10-26T07:00"),
    ]


def test_window_at_a_wall_clock_time_that_the_clock_jumps_over_is_taken_later() -> None:
    rule = a_rule(zone="Europe/Paris", at=time(2, 30), on=date(2026, 3, 29))
    assert starts(rule, "2026-03-28T00:00", "2026-03-30T00:00") == [instant("2026-03-29T01:30")]


class StoppedClock:
    """A clock at an instant, on which nobody waits in vain."""

    def __init__(self, at: Instant) -> None:
        self.at = at

    def now(self) -> Instant:
        return self.at

    async def sleep_until(self, at: Instant) -> None:
        self.at = at


async def test_calendar_tells_the_core_at_once_and_again_as_time_passes() -> None:
    told: list[Event] = []
    clock = StoppedClock(instant("2026-11-22T00:00"))
    rules = {"alpha": (a_rule(),), "beta": ()}
    calendar = WindowCalendar(rules, clock, lambda event, _: told.append(event))
    calendar.tell()
    assert told == [WindowsChanged("alpha", expand(rules["alpha"], clock.now()))]
    assert len(told[0].windows) == 14


SITE = """
default_class: development
job_classes: {development: {priority: 1}}
qpus:
  fresnel:
    kind: pulser-emulator
    device: AnalogDevice
    calibration_plan:
      period_s: 7200
      starter: operator
      drift: {metric: fidelity, at_least: 0.97}
    layout_grouping: {chunks: 5, seconds: 120}
    keep_warm: {max_linger_s: 30, max_run_s: 600}
    windows:
      - {name: cryostat, at: "08:00", length_s: 7200, zone: Europe/Paris, weekdays: [tuesday]}
      - {name: course, kind: reservation, account: physics, at: "14:00", length_s: 3600,
         on: 2026-12-01}
"""


def test_site_file_says_plan_and_windows_and_the_adapter_never_sees_them() -> None:
    qpu = parse_site(SITE, "site.yaml").qpus["fresnel"]
    assert qpu.adapter_settings() == {"device": "AnalogDevice"}
    assert qpu.plan() == CalibrationPlan(
        period_s=7200,
        starter=CalibrationStarter.OPERATOR,
        drift=DriftBound("fidelity", at_least=0.97),
    )
    rules = qpu.site_rules()
    assert (rules.group_tasks, rules.group_s) == (5, 120)
    assert (rules.max_linger_s, rules.max_run_s) == (30, 600)
    weekly, once = rules.windows
    assert (weekly.weekdays, weekly.at, weekly.on) == ((1,), time(8, 0), None)
    assert (once.kind, once.account) == (WindowKind.RESERVATION, "physics")
    assert once.on == date(2026, 12, 1)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("account: physics, ", "", "a reservation needs an account, a session or a job_class"),
        ("Europe/Paris", "Europe/Pairs", "there is no time zone 'Europe/Pairs'"),
        ("tuesday", "someday", "tuesday"),
        ('"14:00"', "840", "expected a wall-clock time"),
        ("starter: operator", "starter: nobody", "starter"),
        ("on: 2026-12-01", "on: 2026-12-01, weekdays: [monday]", "not both"),
    ],
)
def test_site_file_with_an_impossible_window_or_plan_is_refused(
    before: str, after: str, message: str
) -> None:
    assert before in SITE
    with pytest.raises(ConfigError, match=message):
        parse_site(SITE.replace(before, after), "site.yaml")


async def test_plan_that_the_adapter_cannot_carry_out_is_refused_when_the_fleet_opens() -> None:
    plan = CalibrationPlan(period_s=7200, starter=CalibrationStarter.MANAGER)
    fleet = Fleet([Qpu("fake", "fake", FakeQpu(), rules=SiteRules(plan=plan))])
    with pytest.raises(OperatorError, match="can't be asked for a calibration"):
        await fleet.open(StoppedClock(0), Path())
