"""The `qpu` command against a real manager, and its words for mistakes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.testing.sequences import small_sequence


def qpu(*words: str, url: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "120"}
    environment.pop("QPU_MANAGER", None)
    if url is not None:
        environment["QPU_MANAGER"] = url
    return subprocess.run(
        [sys.executable, "-m", "qpu_executor.cli.main", *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
    )


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "program.json"
    path.write_text(small_sequence().to_abstract_repr())
    return path


def test_submit_wait_queue_show_result_cancel(shared: Any, program: Path) -> None:
    url = shared.url
    done = qpu("submit", str(program), "--shots", "50", "--seed", "3", "--wait", "--json", url=url)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert sum(result["counts"].values()) == result["shots"] == 50
    assert (result["qpu"], result["emulated"], result["epochs"]) == ("emulator", True, ["ideal"])

    held = qpu("submit", str(program), "-n", "5", "--held", url=url)
    task_id = held.stdout.strip()
    assert task_id.isdigit()
    listed = json.loads(qpu("queue", "--json", url=url).stdout)
    assert [task["id"] for task in listed] == [int(task_id)]
    assert listed[0]["reason"] == "JobHeld"
    table = qpu("queue", url=url).stdout
    assert "JobHeld" in table
    assert "TASK" in table
    early = qpu("result", task_id, url=url)
    assert early.returncode == 2
    assert "--wait" in early.stderr
    assert qpu("release", task_id, url=url).returncode == 0
    late = qpu("result", task_id, "--wait", url=url)
    assert "5 shots on emulator (AnalogDevice, emulated)" in late.stdout
    shown = json.loads(qpu("show", task_id, "--json", url=url).stdout)
    assert [one["state"] for one in shown["history"]] == [
        *("HELD", "QUEUED", "RUNNING", "COMPLETED")
    ]
    again = qpu("cancel", task_id, url=url)
    assert (again.returncode, again.stdout.strip()) == (0, f"task {task_id}: COMPLETED")


def test_result_of_a_cancelled_task_is_exit_1(shared: Any, program: Path) -> None:
    task_id = qpu("submit", str(program), "-n", "5", "--held", url=shared.url).stdout.strip()
    assert qpu("cancel", task_id, url=shared.url).stdout.strip().endswith("CANCELLED")
    done = qpu("result", task_id, url=shared.url)
    assert done.returncode == 1
    assert "was cancelled" in done.stderr


def test_info_shows_qpus_classes_and_the_device(shared: Any) -> None:
    (one,) = json.loads(qpu("info", "--json", url=shared.url).stdout)
    assert (one["name"], one["status"], one["healthy"]) == ("emulator", "online", True)
    assert one["capacity"] == {"available_slots": 1, "max_slots": 1}
    classes = json.loads(qpu("info", "--classes", "--json", url=shared.url).stdout)
    assert [found["name"] for found in classes] == ["production", "development"]
    device = json.loads(qpu("info", "emulator", "--device", url=shared.url).stdout)
    assert device["name"] == "AnalogDevice"
    assert one["job_classes"] == ["production", "development"]
    assert one["can"]["kinds"] == ["pulser-abstract"]
    assert (one["next_window"], one["calibration"]) == (None, None)
    in_full = qpu("info", "emulator", url=shared.url).stdout
    assert "UP (online)" in in_full
    assert "development*" in in_full


def test_the_devices_in_python_are_what_sequences_are_built_for(shared: Any) -> None:
    with shared.connect() as client:
        (device,) = client.devices().values()
    assert small_sequence(device).to_abstract_repr() == small_sequence().to_abstract_repr()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["submt"], 2, "submit"),
        (["submit", "{program}", "--shots", "0"], 2, "greater than or equal to 1"),
        (["submit", "{program}", "--shots", "1000000000"], 2, "less than or equal to 1000000"),
        (["submit", "{program}", "--shots", "5", "--class", "prodution"], 2, "'production'"),
        (["submit", "{program}", "--shots", "5", "--qpu", "nope"], 2, "qpu info"),
        (["submit", "/nowhere.json", "--shots", "5"], 2, "/nowhere.json"),
        (["submit", "/dev/null", "--shots", "5"], 2, "JSON"),
        (["show", "999999"], 2, "no task 999999"),
        (["cancel", "x"], 2, "integer"),
        (["queue", "--state", "WAITING"], 2, "QUEUED"),
        (["info", "--device"], 2, "qpu info NAME --device"),
    ],
)
def test_mistake_is_one_clear_message_and_exit_2(
    shared: Any, program: Path, words: list[str], code: int, said: str
) -> None:
    done = qpu(*(word.format(program=program) for word in words), url=shared.url)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr


def test_no_manager_there_is_exit_3_and_says_what_to_type() -> None:
    done = qpu("queue", "--manager", "http://127.0.0.1:9")
    assert done.returncode == 3
    assert "qpu serve" in done.stderr


def test_errors_are_json_with_json(shared: Any) -> None:
    done = qpu("show", "999999", "--json", url=shared.url)
    assert json.loads(done.stdout)["error"] == "unknown-task"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("- a\n", "not a mapping"),
        ("qpus: {e: {kind: pulser-emulator}}\n", "'job_classes' is missing"),
        (
            "default_class: d\njob_classes: {d: {priority: 1}}\n"
            "qpus: {e: {kind: pulsr-emulator}}\n",
            "did you mean 'pulser-emulator'",
        ),
        (
            "default_class: x\njob_classes: {d: {priority: 1}}\n"
            "qpus: {e: {kind: pulser-emulator}}\n",
            "no job class 'x'",
        ),
        (
            "manager: {listen: ['http://0.0.0.0:1']}\ndefault_class: d\n"
            "job_classes: {d: {priority: 1}}\nqpus: {e: {kind: pulser-emulator}}\n",
            "can't prove who they are",
        ),
    ],
)
def test_wrong_site_file_is_refused_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(text)
    done = qpu("serve", "--site", str(site), "--directory", str(tmp_path / "d"))
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_damaged_store_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    store.write_bytes(os.urandom(8192))
    before = store.read_bytes()
    done = qpu("serve", "--directory", str(tmp_path), "--listen", "http://127.0.0.1:0")
    assert done.returncode == 1
    assert str(store) in done.stderr
    assert "Traceback" not in done.stderr
    assert store.read_bytes() == before
