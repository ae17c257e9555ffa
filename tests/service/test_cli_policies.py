"""The verbs about scheduling against a real manager with a simulated QPU.

The QPU is drained wherever a test needs tasks to wait: nothing here depends on speed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.cli.main import main
from qpu_executor.testing.sequences import small_sequence

SITE = """
manager:
  listen: {listen}
  store: store.sqlite
  time_scale: 20
default_class: development
job_classes:
  production: {{priority: 300, chunk_s: 30}}
  development: {{priority: 100, chunk_s: 10, max_shots: 5000, min_share: 0.1}}
accounts:
  physics: {{shares: 2}}
charging: {{lost: 0.5}}
qpus:
  rehearsal:
    kind: simulated-qpu
    shot_rate_hz: 5
    setup_s: 2
    windows:
      - {{name: cryostat, at: "@later", length_s: 7200}}
"""

Verb = Callable[..., tuple[int, str, str]]


@pytest.fixture
def manager(make_manager: Callable[..., Any]) -> Any:
    # Half a day away from the tests, whenever they run.
    later = datetime.now(UTC) + timedelta(hours=12)
    served = make_manager(site=SITE.replace("@later", f"{later:%H:%M}"))
    served.start()
    return served


@pytest.fixture
def qpu(manager: Any, capsys: pytest.CaptureFixture[str]) -> Verb:
    """Runs the command in this process: exit code, output, errors."""

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([*words, "--manager", manager.url])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture
def drained(qpu: Verb) -> None:
    """The QPU takes nothing."""
    code, out, err = qpu("drain", "rehearsal", "--reason", "new laser")
    assert code == 0, err
    assert out == "QPU rehearsal: DRAINING (new laser)\n"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("program") / "program.json"
    path.write_text(small_sequence().to_abstract_repr())
    return str(path)


def submitted(qpu: Verb, program: str, *words: str) -> int:
    """The number of a new task."""
    code, out, err = qpu("submit", program, *words)
    assert code == 0, err
    return int(out)


def test_why_of_a_drained_qpu_names_the_rule_and_the_operators_words(
    qpu: Verb, program: str, drained: None
) -> None:
    slow = submitted(qpu, program, "-n", "100")
    urgent = submitted(qpu, program, "-n", "50", "--class", "production")
    _, out, _ = qpu("why", str(slow))
    assert "reason    QPUDraining: rehearsal: new laser" in out
    assert "rank      2 (1 ahead)" in out
    assert "start     unknown" in out
    why = json.loads(qpu("why", str(slow), "--json")[1])
    assert (why["reason"], why["rank"], why["ahead_total"]) == ("QPUDraining", 2, 1)
    assert [one["task"] for one in why["ahead"]] == [urgent]
    ranked = json.loads(qpu("prio", "--json")[1])
    assert [(one["task"]["id"], one["rank"]) for one in ranked] == [(urgent, 1), (slow, 2)]
    table = qpu("prio")[1].splitlines()
    assert table[0].split()[:5] == ["TASK", "NAME", "CLASS", "RANK", "CLASS_PRIO"]
    assert [line.split()[0] for line in table[1:]] == [str(urgent), str(slow)]


def test_resumed_qpu_runs_what_waited_and_why_says_that_it_has_ended(
    qpu: Verb, program: str, drained: None
) -> None:
    task = str(submitted(qpu, program, "-n", "20"))
    assert qpu("resume", "rehearsal")[:2] == (0, "QPU rehearsal: UP\n")
    assert qpu("result", task, "--wait")[0] == 0
    code, out, _ = qpu("why", task)
    assert code == 0
    assert "state     COMPLETED, 20 of 20 shots" in out
    assert out.rstrip().endswith(f"qpu result {task}")


def test_share_names_the_caller_and_publishes_the_charging_table(qpu: Verb, program: str) -> None:
    assert qpu("submit", program, "-n", "20", "--wait")[0] == 0
    shares = json.loads(qpu("share", "--json")[1])
    assert shares["charging"]["lost"] == 0.5
    used = {(one["account"], one["user"]): one["usage_qpu_s"] for one in shares["accounts"]}
    assert any(usage > 0 for (_, user), usage in used.items() if user is not None)
    classes = {one["name"]: one for one in shares["classes"]}
    assert classes["development"]["min_share"] == 0.1
    out = qpu("share")[1]
    assert "lost             0.5" in out


def test_estimate_and_test_only_submit_nothing(qpu: Verb, program: str) -> None:
    code, out, err = qpu("estimate", program, "--shots", "100", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["qpus"] == ["rehearsal"]
    assert found["qpu_s"] >= 20.0
    assert found["refusal"] is None
    code, out, err = qpu("submit", program, "-n", "100", "--test-only")
    assert (code, err) == (0, "")
    assert "QPUs      rehearsal" in out
    code, out, err = qpu("submit", program, "-n", "6000", "--test-only")
    assert (code, out) == (2, "")
    assert "at most 5000" in err
    assert "refused" in qpu("estimate", program, "-n", "6000")[1]
    assert json.loads(qpu("queue", "--all", "--json")[1]) == []


def test_begin_time_and_dependency_are_the_reasons_that_why_gives(qpu: Verb, program: str) -> None:
    first = submitted(qpu, program, "-n", "20", "--begin", "now+10h")
    second = submitted(
        qpu, program, "-n", "20", "--depends-on", f"afterany:{first}", "--time-limit", "10:00"
    )
    begins = qpu("why", str(first))[1]
    assert "reason    BeginTime: not before" in begins
    assert "rank      none" in begins
    assert f"Dependency: it waits for task {first}" in qpu("why", str(second))[1]
    shown = qpu("show", str(second))[1]
    assert f"after other tasks: afterany {first}" in shown
    assert "at most 10:00 from its first chunk" in shown
    assert qpu("cancel", str(first))[0] == 0
    assert qpu("result", str(second), "--wait")[0] == 0


def test_requeued_task_ends_with_exactly_its_shots(manager: Any, qpu: Verb, program: str) -> None:
    for shots in (800, 2400, 5000):  # seconds: time enough for a command, and again if it wasn't
        task = submitted(qpu, program, "-n", str(shots))
        with manager.connect() as client:
            for event in client.events(after=0):
                if event.task == task and event.state == "RUNNING":
                    break
            code, out, err = qpu("requeue", str(task))
            if code == 0 or not client.task(task).refresh().state.is_final:
                break
    assert (code, err) == (0, "")
    assert out.startswith(f"task {task}: ")
    result = json.loads(qpu("result", str(task), "--wait", "--json")[1])
    assert sum(result["counts"].values()) == shots


def test_reloaded_policy_applies_and_a_wrong_site_file_changes_nothing(
    manager: Any, qpu: Verb, program: str, drained: None
) -> None:
    task = submitted(qpu, program, "-n", "20")
    site = Path(manager.directory / "site.yaml")
    text = site.read_text()
    assert qpu("policy", "reload")[1] == "policy banded: nothing changed\n"
    site.write_text(text.replace("min_share: 0.1", "min_share: 7"))
    code, out, err = qpu("policy", "reload")
    assert (code, out) == (2, "")
    assert "min_share" in err
    assert json.loads(qpu("share", "--json")[1])["classes"][1]["min_share"] == 0.1
    site.write_text(text.replace("min_share: 0.1", "min_share: 0.2"))
    code, out, err = qpu("policy", "reload")
    assert (code, err) == (0, "")
    assert "nothing changed" not in out
    assert json.loads(qpu("share", "--json")[1])["classes"][1]["min_share"] == 0.2
    assert [one["id"] for one in json.loads(qpu("queue", "--json")[1])] == [task]


def test_top_and_window_show_the_site(qpu: Verb, program: str, drained: None) -> None:
    task = submitted(qpu, program, "-n", "20", "--name", "tiny")
    code, out, err = qpu("top")
    assert (code, err) == (0, "")
    assert "yours: 0 running, 1 waiting, 0 held" in out
    assert f"{task}  tiny" in out
    document = json.loads(qpu("top", "--json")[1])
    assert [one["name"] for one in document["qpus"]] == ["rehearsal"]
    assert "cryostat" in qpu("window")[1]
    assert json.loads(qpu("window", "--json")[1])[0]["kind"] == "maintenance"


def test_window_is_announced_and_taken_back(qpu: Verb) -> None:
    code, out, err = qpu("window", "add", "rehearsal", "laser", "--at", "now+1hour", "-l", "2h")
    assert (code, err) == (0, "")
    (line,) = [line for line in out.splitlines() if "laser" in line]
    assert "MAINTENANCE" in line.upper()
    weekly = ("--at", "14:00", "--every", "monday", "--zone", "Europe/Paris", "--account", "a")
    out = qpu("window", "add", "rehearsal", "course", "-l", "90min", *weekly, "--json")[1]
    courses = [one for one in json.loads(out) if one["name"].startswith("course")]
    assert {one["account"] for one in courses} == {"a"}
    assert len(courses) in (2, 3), "the Mondays of two weeks"
    assert qpu("window", "remove", "rehearsal", "course")[0] == 0
    assert "laser" not in qpu("window", "remove", "rehearsal", "laser")[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["window", "add", "rehearsal", "w", "-l", "soon"], "time span"),
        (["window", "add", "rehearsal", "w", "-l", "1h", "--every", "mondy"], "monday"),
        (["window", "add", "rehearsal", "w", "-l", "1h", "--every", "day"], "wall-clock"),
        (["window", "add", "rehearsal", "w", "-l", "1h", "--zone", "UTC"], "--every"),
        (["window", "add", "rehearsal", "w", "-l", "99999h"], "length"),
        (["window", "remove", "rehearsal", "cryostat"], "site file"),
        (["why", "999"], "no task 999"),
        (["drain", "nope"], "rehearsal"),
        (["resume", "nope"], "rehearsal"),
        (["requeue", "999"], "999"),
        (["calibrate", "rehearsal"], "calibration"),
    ],
)
def test_what_is_not_there_is_one_clear_message_and_exit_2(
    qpu: Verb, words: list[str], said: str
) -> None:
    code, out, err = qpu(*words)
    assert (code, out) == (2, "")
    assert said in err
    assert "mistake" not in err
