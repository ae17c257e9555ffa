"""Plans: order, inputs, seeds that never change, fingerprints that change when they must."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.client import TaskOrder
from qpu_executor.errors import ConfigError
from qpu_executor.model.stopping import StopRule
from qpu_executor.pipelines.document import load
from qpu_executor.pipelines.inputs import parse_settings
from qpu_executor.pipelines.plan import Plan, build_plan, derive_seed
from qpu_executor.pipelines.profiles import TaskDefaults
from qpu_executor.pipelines.work import RunFacts, Work

CODE = """\
def numbers(n): return list(range(n))
def sweep(value, power=1): return value
def loop(qpu, start): return start
def total(values): return sum(values)
"""

FILE = """\
name: demo
inputs: {n: 3, shots: 10, text: hi}
steps:
  total: {call: plan_steps.total, with: {values: ${sweep}}, needs: [loop]}
  sweep:
    quantum: plan_steps.sweep
    with: {value: ${each}}
    for_each: [1, 2]
    shots: ${inputs.shots}
  many: {call: plan_steps.sweep, with: {value: ${each}}, for_each: ${numbers}}
  numbers: {call: plan_steps.numbers, with: {n: ${inputs.n}}}
  loop: {hybrid: plan_steps.loop, with: {start: ${run.seed}}, retries: 2}
answer: {total: ${total}, of: "${inputs.text} ${run.seed}"}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "plan_steps", raising=False)
    (tmp_path / "plan_steps.py").write_text(CODE)
    return tmp_path


def plan(folder: Path, text: str = FILE, seed: int = 7, **inputs: Any) -> Plan:
    path = folder / "demo.yaml"
    path.write_text(text)
    source = load(path, "demo.yaml")
    return build_plan(source, {**source.document.inputs, **inputs}, seed)


def test_steps_come_after_what_they_need_else_in_the_order_of_the_file(folder: Path) -> None:
    names = [step.name for step in plan(folder).steps]
    assert names == ["sweep", "numbers", "many", "loop", "total"]


def test_inputs_and_seed_are_filled_in(folder: Path) -> None:
    found = plan(folder, n=5)
    assert found.step("numbers").arguments == {"n": 5}
    assert found.step("loop").arguments == {"start": 7}
    assert found.step("sweep").shots == 10
    assert found.step("sweep").items == (1, 2)
    assert found.step("many").task_count is None
    assert found.step("loop").retries == 2
    assert found.answer == {"total": "${total}", "of": "hi 7"}
    assert found.step("total").needs == ("sweep", "loop")


def test_seeds_are_the_same_on_every_platform_and_version() -> None:
    assert derive_seed(7, "sweep", 0) == 3849123636350182136
    assert derive_seed(7, "sweep", 0, 2) == 7028728214810042923
    seeds = {derive_seed(r, s, i) for r in range(3) for s in ("a", "b") for i in range(50)}
    assert len(seeds) == 300
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_fingerprint_stays_when_nothing_changes(folder: Path) -> None:
    first, second = plan(folder), plan(folder, FILE.replace("name: demo", "name: demo\nseed: 1"))
    assert [s.fingerprint for s in first.steps] == [s.fingerprint for s in second.steps]


def changed(before: Plan, after: Plan) -> set[str]:
    return {s.name for s in before.steps if s.fingerprint != after.step(s.name).fingerprint}


def test_changed_input_changes_the_steps_that_use_it_and_those_behind_them(folder: Path) -> None:
    assert changed(plan(folder), plan(folder, n=4)) == {"numbers", "many"}
    assert changed(plan(folder), plan(folder, shots=11)) == {"sweep", "total"}


def test_seed_changes_what_has_shots(folder: Path) -> None:
    assert changed(plan(folder), plan(folder, seed=8)) == {"sweep", "loop", "total"}


def test_changed_function_changes_its_steps(folder: Path) -> None:
    before = plan(folder)
    del sys.modules["plan_steps"]
    (folder / "plan_steps.py").write_text(CODE.replace("return sum(values)", "return 0.0"))
    assert changed(before, plan(folder)) == {"total"}


def test_longer_list_of_values_keeps_the_tasks_that_were_there(folder: Path) -> None:
    before = plan(folder).step("sweep")
    after = plan(folder, FILE.replace("[1, 2]", "[1, 2, 3]")).step("sweep")
    assert before.fingerprint != after.fingerprint
    assert before.item_fingerprint(1) == after.item_fingerprint(1)
    assert after.item_fingerprint(1) != after.item_fingerprint(3)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("plan_steps.total", "plan_steps.totl", "did you mean 'total'?"),
        ("{values: ${sweep}}", "{vals: ${sweep}}", "did you mean 'values'?"),
        ("with: {start: ${run.seed}}", "with: {}", "missing argument 'start'"),
        (
            "hybrid: plan_steps.loop, with: {start: ${run.seed}}",
            "hybrid: plan_steps.total, with: {values: 1}",
            "must take an argument 'qpu'",
        ),
    ],
)
def test_functions_and_arguments_are_checked_before_the_run(
    folder: Path, old: str, new: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=r"^demo\.yaml:\d+:\d+: steps\.") as caught:
        plan(folder, FILE.replace(old, new))
    assert said in str(caught.value)


def test_wrong_value_of_an_input_is_found_where_it_is_used(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"steps\.sweep\.shots: 'x' is not allowed"):
        plan(folder, shots="x")
    with pytest.raises(ConfigError, match=r"steps\.many\.for_each: 3 is not allowed"):
        plan(folder, FILE.replace("for_each: ${numbers}", "for_each: ${inputs.n}"))


def test_stopping_rule_is_filled_in_and_changes_the_steps_fingerprint(folder: Path) -> None:
    rule = "stop_when: {min_shots: '${inputs.n}', stderr: 0.1, observable: {ZI: 1}}"
    with_rule = FILE.replace("shots: ${inputs.shots}", f"shots: 10\n    {rule}")
    found = plan(folder, with_rule)
    expected = StopRule(3, stderr=0.1, observable=(("ZI", 1.0),))
    assert found.step("sweep").stop_when == expected
    assert plan(folder).step("sweep").stop_when is None
    assert changed(plan(folder), found) == {"sweep", "total"}
    assert changed(found, plan(folder, with_rule, n=4)) >= {"sweep", "total"}


WISHES = """\
    device: AnalogDevice
    require: {min_qubits: "${inputs.n}", emulated: false}
    time_limit_s: 60
    on_recalibration: restart
    max_calibration_age_s: 600
    min_quality: 0
    shot_s: 0.5
"""
AS_READ = {
    "device": "AnalogDevice",
    "require": {"min_qubits": 3, "emulated": False},
    "time_limit_s": 60.0,
    "on_recalibration": "restart",
    "max_calibration_age_s": 600.0,
    "min_quality": 0.0,
    "shot_s": 0.5,
}
SHOTS = "shots: ${inputs.shots}\n"


def test_fingerprints_of_steps_without_wishes_are_those_of_earlier_versions(folder: Path) -> None:
    named = FILE.replace(SHOTS, "shots: 10\n    job_class: test\n    qpu: a\n")
    found = {one.name: one.fingerprint[:16] for one in plan(folder, named).steps}
    assert found["sweep"] == "6e152876aa65d821"
    assert found["loop"] == "089226cf7acf0461"
    assert found["total"] == "3bdd12753226243e"


def test_wishes_are_filled_in_and_those_that_decide_change_the_fingerprint(folder: Path) -> None:
    found = plan(folder, FILE.replace(SHOTS, SHOTS + WISHES))
    assert found.step("sweep").wishes == AS_READ
    assert found.step("total").wishes == found.step("loop").wishes == {}
    assert changed(plan(folder), found) == {"sweep", "total"}
    for line in WISHES.splitlines():
        key = line.split(":")[0].strip()
        one = plan(folder, FILE.replace(SHOTS, f"{SHOTS}{line}\n"))
        decides = key not in ("time_limit_s", "shot_s")
        assert changed(plan(folder), one) == ({"sweep", "total"} if decides else set()), key


def test_wish_that_says_what_holds_anyhow_changes_nothing(folder: Path) -> None:
    nothing = "    require: {}\n    on_recalibration: continue\n"
    found = plan(folder, FILE.replace(SHOTS, SHOTS + nothing))
    assert found.step("sweep").wishes == {}
    assert changed(plan(folder), found) == set()


def test_tasks_of_a_step_have_its_wishes(folder: Path) -> None:
    step = plan(folder, FILE.replace(SHOTS, SHOTS + WISHES)).step("sweep")
    run = RunFacts("r", 7, str(folder), str(folder), "", None, {"sweep": 30.0})
    options = Work(run, step, 0, 1, ()).options
    assert {**AS_READ, "shots": 10, "path_s": 30.0}.items() <= options.items()
    assert set(options) <= {one.name for one in fields(TaskOrder)}


@pytest.mark.parametrize(
    ("wish", "path", "said"),
    [
        ("time_limit_s: -1", "time_limit_s", "greater than 0"),
        ("time_limit_s: .nan", "time_limit_s", "a finite number"),
        ("time_limit_s: soon", "time_limit_s", "'soon' is not allowed; expected a number"),
        ("require: {min_qbits: 3}", "require", "did you mean 'min_qubits'"),
        ("require: 50", "require", "like {min_qubits: 50}"),
        ("on_recalibration: restrat", "on_recalibration", "'continue', 'restart' or 'fail'"),
        ("device: 5", "device", "expected a name"),
        ("devise: x", "devise", "did you mean 'device'"),
        ("shot_s: ${total}", "shot_s", "isn't known before the run"),
    ],
)
def test_wish_that_cant_be_is_found_before_the_run(
    folder: Path, wish: str, path: str, said: str
) -> None:
    text = FILE.replace(SHOTS, f"shots: 10\n    {wish}\n")
    with pytest.raises(ConfigError, match=rf"demo\.yaml:10:\d+: steps\.sweep\.{path}") as caught:
        plan(folder, text)
    assert said in str(caught.value)


def test_classical_step_has_no_wishes(folder: Path) -> None:
    text = FILE.replace("call: plan_steps.numbers,", "call: plan_steps.numbers, device: x,")
    with pytest.raises(ConfigError, match="only quantum and hybrid steps have this key"):
        plan(folder, text)


def test_profiles_defaults_hold_for_steps_that_say_nothing(folder: Path) -> None:
    defaults = TaskDefaults.model_validate(
        {"job_class": "test", "device": "D", "require": {"emulated": True}}
    ).options()
    path = folder / "demo.yaml"
    path.write_text(FILE.replace(SHOTS, f"{SHOTS}    qpu: a\n"))
    source = load(path, "demo.yaml")
    found = build_plan(source, source.document.inputs, 7, defaults)
    sweep, loop = found.step("sweep"), found.step("loop")
    assert (sweep.job_class, sweep.qpu, sweep.wishes) == (
        "test",
        "a",
        {"require": {"emulated": True}},
    )
    assert (loop.job_class, loop.qpu) == ("test", None)
    assert loop.wishes == {"device": "D", "require": {"emulated": True}}
    assert found.step("numbers").wishes == {}


@pytest.mark.parametrize(
    ("rule", "path", "said"),
    [
        ("{min_shots: 11, distinct: 2}", "stop_when.min_shots", "more than the task's 10 shots"),
        ("{min_shot: 1, distinct: 2}", "stop_when.min_shot", "did you mean 'min_shots'"),
        ("{min_shots: 1}", "stop_when", "it says no end"),
        ("{min_shots: 1, stderr: 1, observable: {ZX: 1}}", "stop_when.observable.ZX", "no label"),
        ("{min_shots: 1, stderr: 1, observable: {11: x}}", "stop_when.observable.11", "'x'"),
    ],
)
def test_stopping_rule_that_cant_be_is_found_before_the_run(
    folder: Path, rule: str, path: str, said: str
) -> None:
    text = FILE.replace("shots: ${inputs.shots}", f"shots: 10\n    stop_when: {rule}")
    with pytest.raises(ConfigError, match=rf"demo\.yaml:10:\d+: steps\.sweep\.{path}") as caught:
        plan(folder, text)
    assert said in str(caught.value)


DEFAULTS: dict[str, Any] = {
    "n": 3, "x": 1.5, "flag": True, "country": "FR", "items": [1], "any": None
}  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "value"),
    [("n=4", 4), ("x=2", 2.0), ("flag=false", False), ("country=12", "12"),
     ("items=[3, 4]", [3, 4]), ("any={a: 1}", {"a": 1}), ("country=a=b", "a=b")],
)  # fmt: skip
def test_set_gives_a_value_of_the_defaults_type(setting: str, value: Any) -> None:
    (found,) = parse_settings([setting], DEFAULTS).values()
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("m=4", "unknown input 'm'"),
        ("contry=DE", "did you mean 'country'?"),
        ("n=four", "expected a whole number, as in 3"),
        ("n=true", "expected a whole number"),
        ("flag=1", "expected true or false"),
        ("items=3", "expected a list"),
        ("n", "expected name=value"),
    ],
)
def test_set_with_a_mistake_is_refused(setting: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings([setting], DEFAULTS)
    assert said in str(caught.value)


def test_all_mistakes_of_set_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings(["n=x", "zz=1"], DEFAULTS)
    assert len(str(caught.value).splitlines()) == 2
