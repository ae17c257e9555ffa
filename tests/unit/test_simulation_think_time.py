"""Rehearsals in which jobs keep the QPU warm, and in which they say untrue things."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qpu_executor.errors import ConfigError
from qpu_executor.model.values import JobClass
from qpu_executor.simulation.engine import Rehearsal, SimulatedSite
from qpu_executor.simulation.grid import Setting, cells, play
from qpu_executor.simulation.qpu_model import QpuRules, QpuTiming
from qpu_executor.simulation.reference import reference_site
from qpu_executor.simulation.results import Results, gather
from qpu_executor.simulation.scenario import Scenario
from qpu_executor.simulation.shipped import BANDED
from qpu_executor.simulation.tables import keep_table
from qpu_executor.simulation.think_time import (
    beside_gap_filling,
    granting,
    think_time_setting,
)
from qpu_executor.simulation.workload import (
    Asking,
    HybridJob,
    Keep,
    PathSaid,
    Round,
    WorkloadModel,
)
from qpu_executor.simulation.workload_file import KnownSite, parse_workload

CLASS = JobClass("development", 100, chunk_s=10.0)
QPU = QpuTiming("alpha", setup_s=0.0, resume_s=0.0, calibration=None)
SITE = SimulatedSite((CLASS,), (QPU,))


def job(number: int, *rounds: tuple[float, int], keep: Keep | None = None) -> HybridJob:
    """Shots at one a second."""
    found = tuple(Round(think_s, shots) for think_s, shots in rounds)
    return HybridJob(number, "development", "k", f"a-{number}", 0.0, 1.0, found, keep=keep)


def rehearsed(site: SimulatedSite, *jobs: HybridJob) -> tuple[float, list[int]]:
    """Seconds in which the QPU was kept idle, and whose chunks ran (tasks in their order)."""
    record = Rehearsal(list(jobs), BANDED, site, 0, record_chunks=True).run()
    return record.kept_s, [one.task_id for one in record.chunks]


LOOP = job(0, (0.0, 10), (5.0, 10), keep=Keep(1000.0))
OTHER = job(1, (1.0, 30))


def test_gap_is_filled_where_the_site_grants_nothing() -> None:
    assert rehearsed(SITE, LOOP, OTHER) == (0.0, [1, 2, 3, 2, 2])


def test_linger_keeps_the_gap_free_and_is_measured() -> None:
    kept_s, order = rehearsed(granting(SITE, linger_s=20.0), LOOP, OTHER)
    assert order == [1, 3, 2, 2, 2]
    assert kept_s == pytest.approx(5.0 + 0.0)


def test_linger_shorter_than_the_thinking_only_costs() -> None:
    kept_s, order = rehearsed(granting(SITE, linger_s=2.0), LOOP, OTHER)
    assert order == [1, 2, 3, 2, 2]
    assert kept_s == pytest.approx(2.0)


def test_contiguous_run_keeps_others_out_for_as_long_as_the_site_grants() -> None:
    loop = replace(LOOP, keep=Keep(1000.0, contiguous=True))
    kept_s, order = rehearsed(granting(SITE, run_s=600.0), loop, OTHER)
    assert order == [1, 3, 2, 2, 2]
    assert kept_s == pytest.approx(5.0)


def test_same_jobs_come_whatever_they_ask_and_say() -> None:
    plain = WorkloadModel().closed(3, 48)
    some = WorkloadModel(asking=Asking(0.3, Keep(5.0)), path_said=PathSaid.LIES).closed(3, 48)
    more = WorkloadModel(asking=Asking(0.9, Keep(5.0)), path_said=PathSaid.NOTHING).closed(3, 48)
    strip = [replace(one, keep=None, path_factor=1.0) for one in some]
    assert strip == plain
    asking = [{one.job_id for one in jobs if one.keep} for jobs in (plain, some, more)]
    assert asking[0] == set()
    assert asking[0] < asking[1] < asking[2]
    assert all(one.path_factor is None for one in more)
    factors = [one.path_factor for one in some]
    assert len(set(factors)) == 48
    assert all(factor is not None and 0.01 <= factor <= 100 for factor in factors)


def test_only_jobs_of_the_kind_that_asks_ask() -> None:
    jobs = WorkloadModel(asking=Asking(1.0, Keep(5.0), "balanced")).closed(0, 12)
    assert {one.kind for one in jobs if one.keep} == {"balanced"}
    assert sum(one.keep is not None for one in jobs) == 4


def test_table_sets_every_way_of_keeping_against_gap_filling() -> None:
    setting = think_time_setting([BANDED], days=0.1)
    batch = [one for one in setting.scenarios if one.batch][:3]
    setting = Setting(tuple(batch), (BANDED,))
    results = gather(setting, [0], play(setting, cells(setting, [0])))
    table = keep_table(Results("t", (0,), {}, results))
    assert table is not None
    gaps, short, longer = table.rows
    assert gaps[0].endswith("gaps are filled")
    assert (gaps[3], gaps[-1]) == ("0.0", "-")
    assert 0.0 < float(short[3]) < float(longer[3])
    assert float(longer[-1]) > 0.0
    utilisation = [float(row[2]) for row in table.rows]
    assert utilisation[0] > utilisation[2], "a batch pays with its makespan"


def test_scenario_without_askers_has_no_such_table() -> None:
    scenario = Scenario("s", "S", WorkloadModel(), reference_site(), batch=3)
    assert beside_gap_filling(scenario) == (scenario,)
    setting = Setting((scenario,), (BANDED,))
    results = gather(setting, [0], play(setting, cells(setting, [0])))
    assert keep_table(Results("t", (0,), {}, results)) is None


WORKLOAD = """
batch: {jobs: 6}
job_classes: {development: 1}
keep_warm: {share: 0.5, linger_s: 20}
path_said: nothing
"""


def test_workload_file_asks_what_the_site_may_grant() -> None:
    site = KnownSite((CLASS,), ("alpha",), lambda *_: QpuRules(max_linger_s=10.0))
    _, scenario = parse_workload(WORKLOAD, "w.yaml", "w", site)
    assert scenario.model.asking == Asking(0.5, Keep(20.0))
    assert scenario.model.path_said is PathSaid.NOTHING
    assert scenario.site.qpus[0].rules.max_linger_s == 10.0
    gaps, kept = beside_gap_filling(scenario)
    assert (gaps.site.qpus[0].rules.max_linger_s, kept.site.qpus[0].rules.max_linger_s) == (
        0.0,
        10.0,
    )


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ("keep_warm: {share: 0.5, run_s: 20}", "no QPU of the site has keep_warm.max_run_s"),
        ("keep_warm: {share: 0.5}", "either linger_s or run_s"),
        ("keep_warm: {share: 0.5, linger_s: 20, kind: balance}", "no kind of job 'balance'"),
    ],
)
def test_wish_that_would_rehearse_nothing_is_refused(changed: str, says: str) -> None:
    site = KnownSite((CLASS,), ("alpha",), lambda *_: QpuRules(max_linger_s=10.0))
    text = WORKLOAD.replace("keep_warm: {share: 0.5, linger_s: 20}", changed)
    with pytest.raises(ConfigError, match=says):
        parse_workload(text, "w.yaml", "w", site)
