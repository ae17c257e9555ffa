"""The controller's stand-in, as a process, against the exchanges that are on record."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.testing.controller.process import ControllerProcess
from qpu_executor.testing.sequences import small_sequence

RECORDED = Path(__file__).parents[1] / "data" / "controller" / "exchanges.json"


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[ControllerProcess]:
    process = ControllerProcess(tmp_path, "--shot-s", "0.005")
    process.start()
    yield process
    process.close()


def asked(controller: ControllerProcess, method: str, path: str, body: Any) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(controller.url.removeprefix("http://"), timeout=60)
    sent = None if body is None else json.dumps(body)
    connection.request(method, f"/api/v1{path}", sent, {"Content-Type": "application/json"})
    try:
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    return answer.status, json.loads(text)


def fits(recorded: Any, found: Any) -> bool:
    """Whether an answer has what is on record, by value or by type; it may have more."""
    match recorded:
        case "int":
            return type(found) is int
        case "text":
            return isinstance(found, str) and found != ""
        case "text or null":
            return found is None or isinstance(found, str)
        case "object":
            return isinstance(found, dict) and found != {}
        case "moment":
            return datetime.fromisoformat(found).tzinfo is None
        case dict():
            return isinstance(found, dict) and all(
                key in found and fits(value, found[key]) for key, value in recorded.items()
            )
    return bool(recorded == found)


def test_it_answers_as_is_on_record(controller: ControllerProcess) -> None:
    sequence = to_program(small_sequence()).content
    text = RECORDED.read_text("utf-8").replace('"SEQUENCE"', json.dumps(sequence))
    exchanges = json.loads(text)["exchanges"]
    assert len(exchanges) == 10
    for one in exchanges:
        status, answer = asked(controller, *one["request"])
        while "until" in one and answer["data"]["status"] != one["until"]:
            assert answer["data"]["status"] in ("PENDING", "RUNNING")
            status, answer = asked(controller, *one["request"])
        assert status == one["status"], one["what"]
        assert fits(one["answer"], answer), (one["what"], answer)
        if one.get("until") == "DONE":
            counter = json.loads(answer["data"]["result"])["counter"]
            assert sum(counter.values()) == 40
            assert all(len(bits) == 3 for bits in counter)


def test_a_new_job_cancels_the_one_before_and_the_ledger_says_so(
    controller: ControllerProcess,
) -> None:
    sequence = to_program(small_sequence()).content
    for mark, shots in (("first", 2000), ("second", 20)):  # the first would take 10 s
        job = {"nb_run": shots, "pulser_sequence": sequence, "context": {"pasqman_job_id": mark}}
        assert asked(controller, "POST", "/jobs", job)[0] == 200
        while asked(controller, "GET", "/jobs/0", None)[1]["data"]["status"] == "PENDING":
            pass
    while asked(controller, "GET", "/jobs/1", None)[1]["data"]["status"] != "DONE":
        pass
    assert asked(controller, "GET", "/jobs/0", None)[1]["data"]["status"] == "CANCELED"
    ends = [(one["mark"], one["status"]) for one in controller.ledger if one["event"] == "ended"]
    assert ends == [("first", "CANCELED"), ("second", "DONE")]


def test_a_control_that_isn_t_understood_changes_nothing(controller: ControllerProcess) -> None:
    before = controller.state()["behaviour"]
    for what, body in (("machine", {"stick": True}), ("faults", [{"do": "dance"}]), ("reboot", {})):
        with pytest.raises(OSError, match=r"HTTP Error 4\d\d"):
            controller.control(what, body)
    assert controller.state()["behaviour"] == before


def test_jobs_in_a_file_outlive_the_process_and_what_ran_is_an_error(tmp_path: Path) -> None:
    controller = ControllerProcess(tmp_path, "--shot-s", "0.005", "--jobs", str(tmp_path / "jobs"))
    controller.start()
    sequence = to_program(small_sequence()).content
    for shots in (1, 2000):
        job = {"nb_run": shots, "pulser_sequence": sequence, "context": {"pasqman_job_id": "m"}}
        assert asked(controller, "POST", "/jobs", job)[0] == 200
        while asked(controller, "GET", "/jobs/0", None)[1]["data"]["status"] != "DONE":
            pass
    controller.kill()
    controller.start()
    states = [asked(controller, "GET", f"/jobs/{n}", None)[1]["data"]["status"] for n in (0, 1)]
    assert states == ["DONE", "ERROR"]
    assert asked(controller, "POST", "/jobs", job)[1]["data"]["uid"] == 2
    controller.close()


def test_half_an_answer_is_no_json_and_the_job_is_there(controller: ControllerProcess) -> None:
    controller.control("faults", [{"do": "cut", "on": ["create"], "times": 1}])
    job = {"nb_run": 1, "pulser_sequence": to_program(small_sequence()).content, "context": {}}
    with pytest.raises(json.JSONDecodeError):
        asked(controller, "POST", "/jobs", job)
    assert asked(controller, "GET", "/jobs/0", None)[0] == 200


def test_it_kills_whom_it_is_told_to_once_the_job_is_made(controller: ControllerProcess) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as victim:
        fault = {"do": "drop", "on": ["create"], "handled": True, "kills": victim.pid}
        controller.control("faults", [fault])
        job = {"nb_run": 1, "pulser_sequence": to_program(small_sequence()).content, "context": {}}
        with pytest.raises(http.client.RemoteDisconnected):
            asked(controller, "POST", "/jobs", job)
        assert victim.wait(60) == -signal.SIGKILL
    assert asked(controller, "GET", "/jobs/0", None)[0] == 200
