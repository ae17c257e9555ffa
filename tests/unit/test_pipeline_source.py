"""Pipeline files: what reading them accepts, and what every mistake says."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpu_executor.documents.source import parse_value
from qpu_executor.errors import ConfigError
from qpu_executor.pipelines.document import load

GOOD = """\
name: transmitters
seed: 7
inputs: {country: FR, radius_km: 120}
steps:
  airports: {call: transmitters.load, with: {country: ${inputs.country}}}
  graph: {call: transmitters.graph, with: {airports: ${airports}, radius_km: ${inputs.radius_km}}}
  sweep:
    quantum: transmitters.adiabatic_sweep
    with: {graph: ${graph}, duration_ns: ${each}}
    for_each: [1000, 2000, 4000]
    shots: 300
    job_class: development
  best: {call: transmitters.best_set, with: {graph: ${graph}, results: [${sweep}, "${sweep[0]}"]}}
answer: ${best}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    return path


def problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text), "p.yaml")
    return [line for line in str(caught.value).splitlines() if line.startswith("p.yaml:")]


def test_unquoted_references_are_read_inside_braces_and_brackets(tmp_path: Path) -> None:
    document = load(write(tmp_path, GOOD)).document
    assert document.steps["graph"].arguments == {
        "airports": "${airports}",
        "radius_km": "${inputs.radius_km}",
    }
    assert document.steps["best"].arguments["results"] == ["${sweep}", "${sweep[0]}"]
    assert document.steps["sweep"].for_each == [1000, 2000, 4000]
    assert document.steps["sweep"].kind == "quantum"
    assert document.answer == "${best}"


def test_typo_in_a_key_names_file_line_column_path_and_nearest_key(tmp_path: Path) -> None:
    found = problems(tmp_path, GOOD.replace("job_class:", "job_clas:"))
    assert found == ["p.yaml:12:5: steps.sweep.job_clas: unknown key; did you mean 'job_class'?"]


def test_unknown_step_in_a_reference_names_the_nearest_step(tmp_path: Path) -> None:
    found = problems(tmp_path, GOOD.replace("answer: ${best}", "answer: ${bset}"))
    assert found == ["p.yaml:14:1: answer: unknown step 'bset' in ${bset}; did you mean 'best'?"]


def test_unknown_input_in_a_reference_names_the_nearest_input(tmp_path: Path) -> None:
    found = problems(tmp_path, GOOD.replace("${inputs.country}", "${inputs.contry}"))
    assert len(found) == 1
    assert "p.yaml:5:" in found[0]
    assert "did you mean 'country'?" in found[0]


def test_all_problems_are_reported_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = (
        GOOD.replace("seed: 7", "seed: seven")
        .replace("shots: 300", "shots: 0")
        .replace("answer: ${best}", "anwser: ${best}")
    )
    found = problems(tmp_path, text)
    assert [line.split(": ")[1] for line in found] == ["seed", "steps.sweep.shots", "anwser"]
    assert "'seven' is not allowed; expected a whole number" in found[0]
    assert "expected a whole number from 1 to 1000000" in found[1]


def test_a_billion_shots_are_refused(tmp_path: Path) -> None:
    assert len(problems(tmp_path, GOOD.replace("shots: 300", "shots: 1000000000"))) == 1


def test_duplicate_key_names_both_lines(tmp_path: Path) -> None:
    found = problems(tmp_path, GOOD.replace("    shots: 300\n", "    shots: 300\n    shots: 200\n"))
    assert found == ["p.yaml:12:5: steps.sweep.shots: key given twice (first in line 11)"]


def test_cycle_is_named_with_its_steps(tmp_path: Path) -> None:
    text = GOOD.replace("{country: ${inputs.country}}", "{country: ${best}}")
    found = problems(tmp_path, text)
    assert len(found) == 1
    assert "steps wait for each other: airports -> best -> graph -> airports" in found[0]


def test_each_without_for_each_is_refused(tmp_path: Path) -> None:
    found = problems(tmp_path, GOOD.replace("    for_each: [1000, 2000, 4000]\n", ""))
    assert len(found) == 1
    assert "${each} stands only under 'with', beside 'for_each'" in found[0]


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("{}", "none is given"),
        ("{call: a.b, quantum: a.c, shots: 1}", "'call' and 'quantum' are given"),
        ("{quantum: a.b}", "'shots' is missing"),
        ("{call: a.b, shots: 3}", "only quantum and hybrid steps have this key"),
        ("{hybrid: a.b, stop_when: {}}", "only quantum steps have this key"),
        ("{quantum: a.b, shots: 3, stop_when: 5}", "expected a mapping with 'min_shots'"),
        ("{quantum: a.b, shots: 3, stop_when: {min_shots: '${y}'}}", "isn't known before the run"),
        ("{call: nodots}", "expected 'module.function'"),
        ("{call: a.b, with: [1]}", "expected a mapping from the function's arguments"),
        ("{call: a.b, for_each: 3}", "expected a list of values or a reference"),
        ("{call: a.b, needs: [y]}", "unknown step 'y'"),
        ("{call: a.b, with: {x: '${a b}'}}", "is no reference"),
        ("{call: a.b, with: {x: '${run.dir}'}}", "expected ${run.directory} or ${run.seed}"),
        ("{quantum: a.b, shots: '${x}'}", "isn't known before the run"),
        ("word", "expected a mapping with one of"),
    ],
)
def test_wrong_step_gives_exactly_one_problem(tmp_path: Path, step: str, said: str) -> None:
    found = problems(tmp_path, f"name: n\nsteps:\n  x: {step}\n")
    assert len(found) == 1, found
    assert said in found[0]
    assert found[0].startswith("p.yaml:3:")


def test_reserved_and_impossible_step_names_are_refused(tmp_path: Path) -> None:
    found = problems(tmp_path, "name: n\nsteps:\n  each: {call: a.b}\n  a.b: {call: a.b}\n")
    assert len(found) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "p.yaml:1:1: the file is empty"),
        ("# only a remark\n", "p.yaml:1:1: the file is empty"),
        ("- a\n- b\n", "p.yaml:1:1: this is a list, not a mapping"),
        ("word", "p.yaml:1:1: this is a single value, not a mapping"),
        ("name: [1,\nsteps: }", "p.yaml:2:"),
        ("name: n\n", "'steps' is missing"),
        ("name: n\nsteps: {}\n", "there are no steps"),
    ],
)
def test_file_that_is_no_pipeline_says_so(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text), "p.yaml")
    assert said in str(caught.value)


def test_missing_file_and_directory_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such pipeline file"):
        load(tmp_path / "nothing.yaml")
    with pytest.raises(ConfigError, match="this is a directory"):
        load(tmp_path)


def test_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(path)


def test_alias_that_contains_itself_is_refused(tmp_path: Path) -> None:
    found = problems(tmp_path, "name: n\ninputs: &a {x: *a}\nsteps: {s: {call: a.b}}\n")
    assert any("without end" in line for line in found)


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("1.5", 1.5), ("true", True), ("[1, a]", [1, "a"]), ("FR", "FR"), ("", None),
     ("[1", "[1"), ("NO", "NO")],
)  # fmt: skip
def test_values_of_the_command_line_are_yaml(text: str, value: object) -> None:
    assert parse_value(text) == value
