"""Reports: the same figures as Markdown, JSON values and a page with pictures."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from qpu_executor.model.states import WindowKind
from qpu_executor.model.timing import Window
from qpu_executor.simulation import charts, gantt
from qpu_executor.simulation.baselines import EXCLUSIVE, FIFO_WHOLE, SHORT_FIRST
from qpu_executor.simulation.grid import Setting, cells, play
from qpu_executor.simulation.page import html
from qpu_executor.simulation.qpu_model import QpuRules
from qpu_executor.simulation.record import Span
from qpu_executor.simulation.reference import aims, reference_scenarios
from qpu_executor.simulation.report import markdown
from qpu_executor.simulation.results import Aim, Results, gather
from qpu_executor.simulation.stage import START_AT
from qpu_executor.simulation.svg import round_step
from qpu_executor.simulation.tables import number

SVG = "{http://www.w3.org/2000/svg}"
SEEDS = (0, 1)


@pytest.fixture(scope="module")
def results() -> Results:
    setting = Setting(reference_scenarios(days=1.0), (EXCLUSIVE, FIFO_WHOLE, SHORT_FIRST))
    todo = cells(setting, SEEDS, spans_seed=0, spans_until_s=gantt.LONGEST_S)
    scenarios = gather(setting, SEEDS, play(setting, todo))
    titles = {one.name: one.title for one in setting.policies}
    return Results("A rehearsal", SEEDS, titles, scenarios, aims(scenarios, SHORT_FIRST.name))


def test_markdown_has_every_scenario_policy_and_aim(results: Results) -> None:
    text = markdown(results)

    assert text.startswith("# A rehearsal\n\n2 seeds (0 to 1), pooled.")
    for one in results.scenarios:
        assert f"## {one.scenario.title}" in text
    assert text.count("| exclusive | production |") == 3
    assert "| (no schedule exceeds) |" in text
    assert len(re.findall(r" \| (?:met|missed) \| \S+ \[\S+, \S+\] \|", text)) == 7
    for table in re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_the_document_is_plain_json_and_holds_the_figures_that_are_printed(
    results: Results,
) -> None:
    document = json.loads(json.dumps(results.document(), allow_nan=False))

    closed = document["scenarios"][0]
    assert closed["batch"] == 12
    assert [row["policy"] for row in closed["rows"]] == list(document["policies"])
    shares = [row["calibrated_utilisation"] for row in closed["rows"]]
    assert all(0.3 < share < closed["bound_calibrated_utilisation"] for share in shares)
    assert f"| exclusive | {100 * shares[0]:.1f} |" in markdown(results)
    assert set(closed["rows"][0]["classes"][0]["delay_s"]) == {"count", "mean", "p50", "p95", "p99"}


def test_a_policy_against_itself_has_the_ratio_one(results: Results) -> None:
    ratios = [one.reached for one in results.aims if "against" in one.what]

    assert ratios == [1.0] * 4
    assert all(one.by_seed == (1.0, 1.0) for one in results.aims if "against" in one.what)


def test_refusals_and_failures_have_a_column_where_they_happened(results: Results) -> None:
    assert "refused" not in markdown(results)
    closed, *rest = results.scenarios
    rows = tuple(replace(row, refusals=7, tasks_failed=3) for row in closed.rows)

    text = markdown(replace(results, scenarios=(replace(closed, rows=rows), *rest)))

    assert "| refused, offered again | tasks failed |" in text
    assert "| 0 | 7 | 3 |" in text


def test_nothing_is_a_dash_and_a_tiny_negative_number_is_nothing_special() -> None:
    assert [number(x) for x in (None, -0.2, 0.0, 12.5)] == ["-", "0", "0", "12"]
    assert number(-0.001, 2) == "0.00"


def test_an_aim_without_a_figure_is_missed() -> None:
    assert not Aim("x", float("nan"), 1.0).met
    assert not Aim("x", float("nan"), 1.0, at_least=True).met


def test_an_aim_is_met_at_its_bound_and_missed_beyond() -> None:
    assert Aim("x", 0.55, 0.55).met
    assert not Aim("x", 0.5501, 0.55).met
    assert Aim("x", 0.96, 0.96, at_least=True).met
    assert not Aim("x", 0.9599, 0.96, at_least=True).met


def test_the_page_stands_alone_and_its_pictures_are_well_formed(results: Results) -> None:
    page = html(results, SHORT_FIRST.name)

    pictures = re.findall(r"<svg.*?</svg>", page)
    assert len(pictures) == 3 * 4 + 1
    for one in pictures:
        assert ElementTree.fromstring(one).get("aria-label")
    outside = re.sub(r'xmlns="http://www.w3.org/2000/svg"', "", page)
    assert "http" not in outside
    assert "<script" not in outside


def test_the_page_without_recorded_spans_has_no_picture_of_the_qpu(results: Results) -> None:
    bare = tuple(replace(one, lanes=(), lanes_seed=None) for one in results.scenarios)

    assert "What the QPU did" not in html(replace(results, scenarios=bare), SHORT_FIRST.name)


def test_bars_are_as_long_as_the_time_they_stand_for(results: Results) -> None:
    closed = results.scenarios[0]
    drawn = ElementTree.fromstring(gantt.comparison(closed))

    lane = next(one for one in closed.lanes if one.policy == FIFO_WHOLE.name)
    top = str(26.0 + 28)
    widths = [float(r.get("width", 0)) for r in drawn.iter(f"{SVG}rect") if r.get("y") == top]
    until_s = max(one.makespan_s for one in closed.lanes)
    scale = (gantt.WIDTH - gantt.LEFT - gantt.RIGHT) / until_s
    spent_s = sum(span.ends_s - span.begins_s for span in lane.spans)
    assert sum(widths) == pytest.approx(scale * spent_s, rel=0.01)


def test_each_job_of_a_batch_has_a_lane_and_an_open_load_has_none(results: Results) -> None:
    closed, opened, _ = results.scenarios

    drawn = gantt.jobs(closed, SHORT_FIRST.name)

    assert drawn is not None
    words = [one.text for one in ElementTree.fromstring(drawn).iter(f"{SVG}text")]
    assert [f"job {n}" for n in range(12)] == [w for w in words if w and w.startswith("job ")]
    assert gantt.jobs(opened, SHORT_FIRST.name) is None
    assert gantt.jobs(closed, "unknown") is None


def test_a_utilisation_bar_is_as_long_as_its_share(results: Results) -> None:
    closed = results.scenarios[0]

    bars = ElementTree.fromstring(charts.utilisation(closed)).iter(f"{SVG}rect")

    widths = [float(bar.get("width", 0)) / charts.PLOT for bar in bars]
    assert widths == pytest.approx([row.calibrated_utilisation for row in closed.rows], abs=1e-4)


def test_chunks_of_a_task_without_a_pause_are_one_bar() -> None:
    spans = [
        Span("q", 0.0, 10.0, 1, 1, "c"),
        Span("q", 10.0, 20.0, 1, 1, "c"),
        Span("q", 20.0, 30.0, 2, 1, "c"),
        Span("q", 40.0, 50.0, 2, 1, "c"),
        Span("r", 50.0, 60.0, 2, 1, "c"),
    ]

    assert [(one.begins_s, one.ends_s) for one in gantt.merged(reversed(spans))] == [
        (0.0, 20.0),
        (20.0, 30.0),
        (40.0, 50.0),
        (50.0, 60.0),
    ]


@pytest.mark.parametrize(("span", "step"), [(10.4, 1), (22.0, 2), (24.0, 2), (0.9, 0.1), (60, 5)])
def test_axis_marks_are_at_round_numbers(span: float, step: float) -> None:
    assert round_step(span, 12) == pytest.approx(step)


def test_a_class_has_one_colour_in_every_picture(results: Results) -> None:
    closed = results.scenarios[0]

    def shown(picture: str) -> dict[str | None, str | None]:
        drawn = list(ElementTree.fromstring(picture))
        pairs = pairwise(drawn)
        return {
            words.text: box.get("fill")
            for box, words in pairs
            if box.tag == f"{SVG}rect" and words.text in ("production", "development")
        }

    colours = shown(gantt.comparison(closed))
    assert set(colours) == {"production", "development"}
    assert shown(charts.delays(closed)) == shown(charts.stretches(closed)) == colours


def test_a_calibration_within_a_maintenance_window_cuts_no_part_of_it_off() -> None:
    window = Span("q", 100.0, 200.0, None, None, "maintenance")
    calibration = Span("q", 120.0, 130.0, None, None, "calibration")
    again = Span("q", 110.0, 150.0, None, None, "maintenance")

    assert gantt.merged([window, calibration]) == [window, calibration]
    assert gantt.merged([again, window]) == [window]


def test_times_of_a_short_rehearsal_are_told_in_minutes(results: Results) -> None:
    closed = results.scenarios[0]
    short = replace(
        closed,
        lanes=tuple(
            replace(lane, makespan_s=1000.0, spans=lane.spans[:3]) for lane in closed.lanes
        ),
    )

    assert re.search(r">[1-9]\d* h<", gantt.comparison(closed))
    assert re.search(r">[1-9]\d* min<", gantt.comparison(short))
    assert not re.search(r"> *\d+ h<", gantt.comparison(short))


def test_baselines_that_ignore_a_window_are_said_to_do_so(results: Results) -> None:
    window = Window("w", WindowKind.MAINTENANCE, START_AT, START_AT + 10)
    closed = results.scenarios[0]
    (qpu,) = closed.scenario.site.qpus
    site = replace(closed.scenario.site, qpus=(replace(qpu, rules=QpuRules(windows=(window,))),))
    told = replace(
        results, scenarios=(replace(closed, scenario=replace(closed.scenario, site=site)),)
    )

    assert "The baselines know no calendar" in markdown(told)
    assert "The baselines know no calendar" in html(told, FIFO_WHOLE.name)
    assert "The baselines know no calendar" not in markdown(results)
