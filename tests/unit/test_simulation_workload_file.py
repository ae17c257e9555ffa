"""Workload files: what they mean, and what is said about a wrong one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from qpu_executor.cli.rehearsed_site import known_site
from qpu_executor.errors import ConfigError
from qpu_executor.model.values import MICROSECONDS, JobClass
from qpu_executor.settings.site import parse_site, read_site
from qpu_executor.simulation.qpu_model import BreakdownLaw
from qpu_executor.simulation.scenario import Scenario
from qpu_executor.simulation.workload import HYBRID_KINDS, Flood
from qpu_executor.simulation.workload_file import KnownSite, parse_workload, read_workload

SITE = KnownSite((JobClass("production", 300), JobClass("development", 100)), ("alpha", "beta"))
EXAMPLE = Path(__file__).parents[2] / "configs/workloads/hybrid.yaml"

SMALL = """\
batch: {jobs: 4}
job_classes: {production: 0.5, development: 0.5}
"""


def parse(text: str) -> Scenario:
    return parse_workload(text, "load.yaml", "load", SITE)[1]


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        parse(text)
    return str(refused.value)


def test_the_shipped_example_is_valid_and_says_what_it_means() -> None:
    workload, scenario = read_workload(EXAMPLE, SITE)

    assert workload.seeds == 3
    assert (scenario.load, scenario.days, scenario.batch) == (0.7, 2, None)
    assert scenario.title == "Two days of hybrid jobs at load 0.7"
    assert scenario.model.kinds[:3] == HYBRID_KINDS
    assert scenario.model.kinds[3].width == (5, 20)
    assert [one.name for one in scenario.site.qpus] == ["alpha"]


def test_what_is_left_out_is_what_the_reference_loads_have() -> None:
    scenario = parse(SMALL)

    assert scenario.batch == 4
    assert scenario.title == "load"
    assert scenario.model.kinds == HYBRID_KINDS
    assert scenario.model.rate_hz == (1.0, 5.0)
    assert len(scenario.model.accounts) == 10
    (qpu,) = scenario.site.qpus
    assert (qpu.setup_s, qpu.resume_s, qpu.max_chunk_shots) == (2.0, 2.0, None)
    assert qpu.calibration is not None
    assert qpu.calibration.every_s == (3600.0, 14_400.0)


def test_accounts_a_flood_and_qpus_without_calibration_can_be_named() -> None:
    scenario = parse(
        SMALL
        + "accounts: [physics, chemistry]\nflood: {account: physics, share: 0.6}\n"
        + "qpu: {names: [alpha, beta], calibration: null}\n"
    )

    assert scenario.model.accounts == ("physics", "chemistry")
    assert scenario.model.flood == Flood("physics", 0.6)
    assert [(one.name, one.calibration) for one in scenario.site.qpus] == [
        ("alpha", None),
        ("beta", None),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SMALL + "job_clases: {}\n", "load.yaml:3:1: job_clases: unknown key; did you mean 'job_"),
        (SMALL + "qpu: {setup: 2}\n", "load.yaml:3:7: qpu.setup: unknown key; did you mean 'setup"),
        (SMALL + "qpu: {names: [alpa]}\n", "load.yaml:3:15: qpu.names[0]: the site has no QPU"),
        (SMALL + "shot_rate_hz: [5, 1]\n", "the first of [5, 1] is the larger one"),
        (
            SMALL + "flood: {account: ada, share: 0.5}\n",
            "load.yaml:3:9: flood.account: there is no",
        ),
        (SMALL + "accounts: 1\nflood: {account: account-0, share: 0.5}\n", "one account alone"),
        (SMALL + "arrivals: {load: 0.5, days: 1}\n", "either 'arrivals' or 'batch'"),
        ("job_classes: {production: 1}\n", "either 'arrivals' or 'batch'"),
        ("batch: {jobs: 1}\njob_classes: {producton: 1}\n", "did you mean 'production'?"),
        (
            "batch: {jobs: 1}\njob_classes: {production: 0.5}\n",
            "the shares add up to 0.5, not to 1",
        ),
        ("batch: {jobs: 0}\njob_classes: {production: 1}\n", "load.yaml:1:9: batch.jobs:"),
        (SMALL + "qpu: {calibration: {every_s: [0, 5]}}\n", "would only calibrate"),
        ("- 1\n", "this is a list, not a mapping"),
    ],
)
def test_a_wrong_file_is_refused_with_place_and_remedy(text: str, expected: str) -> None:
    assert expected in refusal(text)


def test_all_problems_are_told_at_once() -> None:
    message = refusal("batch: {jobs: 1}\njob_classes: {x: 0.5}\nqpu: {names: [gamma]}\n")

    assert message.startswith("3 problems in load.yaml:")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.yaml: there is no such workload file"):
        read_workload(tmp_path / "no.yaml", SITE)


def test_layouts_breakdowns_and_overheads_can_be_given() -> None:
    scenario = parse(
        SMALL
        + "layouts: 3\n"
        + "qpu: {chunk_s: 0.5, layout_s: 20, breakdowns: {mean_between_s: 9000, repair_s: 600}}\n"
    )

    (qpu,) = scenario.site.qpus
    assert (qpu.chunk_s, qpu.layout_s) == (0.5, 20.0)
    assert qpu.breakdowns == BreakdownLaw(9000.0, 600.0)
    jobs, without = scenario.jobs(1), parse(SMALL).jobs(1)
    assert {one.layout for one in jobs} <= {"layout-0", "layout-1", "layout-2"}
    assert len({one.layout for one in jobs}) > 1
    assert [replace(one, layout=None) for one in jobs] == without


SITE_FILE = """\
default_class: development
job_classes: {production: {priority: 300}, development: {priority: 100}}
qpus:
  alpha:
    kind: simulated-qpu
    calibration_plan: {period_s: 7200, length_s: 600}
    layout_grouping: {chunks: 4, seconds: 300}
    windows:
      - {name: crew, at: "08:00", length_s: 3600, weekdays: [tuesday]}
"""


def test_windows_plan_and_grouping_are_those_of_the_site_file() -> None:
    site = known_site(parse_site(SITE_FILE, "site.yaml"))

    _, scenario = parse_workload(SMALL + "starts_on: 2026-11-24\n", "l.yaml", "l", site)

    (qpu,) = scenario.site.qpus
    first = qpu.rules.windows[0]
    assert first.starts_at - scenario.site.start_at == 8 * 3600 * MICROSECONDS
    assert qpu.rules.plan is not None
    assert (qpu.rules.plan.period_s, qpu.calibration) == (7200.0, None)
    assert qpu.spec(site_rules=True).group_tasks == 4
    assert qpu.spec(site_rules=False).calibration is None


def test_calibrations_of_the_file_go_before_the_plan_of_the_site() -> None:
    site = known_site(parse_site(SITE_FILE, "site.yaml"))

    _, scenario = parse_workload(SMALL + "qpu: {calibration: null}\n", "l.yaml", "l", site)

    (qpu,) = scenario.site.qpus
    assert (qpu.rules.plan, qpu.calibration) == (None, None)


def test_the_example_of_a_rough_week_fits_the_site_to_rehearse_on() -> None:
    site = known_site(read_site(EXAMPLE.parents[1] / "rehearsal.yaml"))

    _, scenario = read_workload(EXAMPLE.with_name("rough-week.yaml"), site)

    (qpu,) = scenario.site.qpus
    assert (qpu.first_setup_s, qpu.layout_s) == (2.0, 15.0)
    assert qpu.breakdowns == BreakdownLaw(43_200.0, 1800.0)
    assert {one.layout for one in scenario.jobs(0)} == {f"layout-{n}" for n in range(4)}


def test_a_day_that_isnt_one_is_refused_with_its_place() -> None:
    site = known_site(parse_site(SITE_FILE, "site.yaml"))

    with pytest.raises(ConfigError, match=r"l.yaml:3:\d+: starts_on: 2026-02-30 is no day"):
        parse_workload(SMALL + "starts_on: 2026-02-30\n", "l.yaml", "l", site)
