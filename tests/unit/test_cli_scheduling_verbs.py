"""The verbs about scheduling over HTTP: what each asks a manager for, and what it prints.

The manager is a server of fixed answers, so that these tests say nothing about policies.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.cli.main import main
from qpu_executor.testing.sequences import small_sequence

NOW = "2026-11-22T12:00:00Z"
TASK = {
    "id": 17,
    "name": "vqe",
    "state": "QUEUED",
    "job_class": "development",
    "priority": 0,
    "shots": 100,
    "shots_done": 40,
    "qpu": None,
    "owner": "ada",
    "account": "physics",
    "session": None,
    "key": None,
    "program_hash": "0" * 64,
    "seed": 1,
    "submitted_at": NOW,
    "started_at": None,
    "ended_at": None,
}
QPU = {
    "name": "alpha",
    "kind": "simulated-qpu",
    "status": "paused",
    "status_reason": "new laser",
    "healthy": True,
    "busy": True,
    "capacity": {"available_slots": 0, "max_slots": 1},
    "pending_job_count": 3,
    "state": "DRAINING",
    "device": "AnalogDevice",
    "emulated": True,
    "max_chunk_shots": None,
    "shot_rate_hz": 5.0,
    "running": [],
}
WHY = {
    "task": TASK,
    "reason": "Priority",
    "detail": "",
    "rank": 2,
    "ahead": [],
    "ahead_total": 1,
    "priority": [{"name": "class", "value": 100, "meaning": "higher goes first"}],
    "expected_start": None,
    "expected_end": None,
    "as_of": NOW,
}
ESTIMATE = {
    "qpus": ["alpha"],
    "qpu_s": 20.0,
    "expected_wait_s": None,
    "refusal": None,
    "explanation": [],
}
REFUSAL = {
    "title": "refused",
    "status": 422,
    "detail": "9000 shots are too many",
    "code": "request-refused",
    "next_step": "submit several tasks",
}
ANSWERS: dict[str, Any] = {
    "GET /v1/health": {
        "version": "0.1",
        "api_versions": [1],
        "instance": "one",
        "embedded": False,
        "host": "head",
        "caller": "ada",
        "cursor": 0,
        "now": NOW,
    },
    "GET /v1/tasks": {"tasks": [TASK], "cursor": 0},
    "GET /v1/tasks/17/why": WHY,
    "GET /v1/qpus": {"qpus": [QPU]},
    "GET /v1/shares": {
        "accounts": [],
        "classes": [{"name": "development", "min_share": 0.1, "used_share": 0.25}],
        "charging": {"shots": 1.0},
        "half_life_s": 3600.0,
    },
    "GET /v1/windows": {"windows": []},
    "POST /v1/estimate": ESTIMATE,
    "POST /v1/qpus/alpha/drain": QPU,
    "POST /v1/qpus/alpha/resume": QPU | {"state": "UP", "status_reason": None},
    "POST /v1/qpus/alpha/calibrate": QPU,
    "POST /v1/tasks/requeue": {"tasks": [TASK], "cursor": 0},
    "POST /v1/tasks/17/settle": TASK,
    "POST /v1/policy/reload": {"policy": "banded", "changed": ["age_cap_s"]},
}


class FixedManager:
    """Answers by method and path; remembers what was asked and with which body."""

    def __init__(self) -> None:
        self.answers = dict(ANSWERS)
        self.asked: dict[str, Any] = {}
        self.url = ""

    def answer(self, name: str, body: bytes) -> tuple[int, bytes]:
        name = name.partition("?")[0]
        self.asked[name] = json.loads(body or b"null")
        found = self.answers.get(name)
        if found is None:
            return 404, b'{"code": "request-refused", "detail": "no such route"}'
        return 200, json.dumps(found).encode()


@pytest.fixture
def manager() -> Iterator[FixedManager]:
    fixed = FixedManager()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            size = int(self.headers.get("content-length") or 0)
            status, body = fixed.answer(f"{self.command} {self.path}", self.rfile.read(size))
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 (the server's name for it)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        fixed.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield fixed
        server.shutdown()
        thread.join()


@pytest.fixture
def qpu(
    manager: FixedManager, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command in this process: exit code, output, errors."""

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([*words, "--manager", manager.url])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "program.json"
    path.write_text(small_sequence().to_abstract_repr())
    return path


@pytest.mark.parametrize(
    ("words", "route", "said"),
    [
        (["why", "17"], "GET /v1/tasks/17/why", "rank      2 (1 ahead)"),
        (["prio"], "GET /v1/tasks/17/why", "RANK  CLASS_PRIO  EXPECTED START"),
        (["share"], "GET /v1/shares", "development  10%        25.0%"),
        (["top"], "GET /v1/qpus", "yours: 0 running, 1 waiting, 0 held"),
        (["window"], "GET /v1/windows", "QPU  WINDOW  KIND"),
        (["resume", "alpha"], "POST /v1/qpus/alpha/resume", "QPU alpha: UP"),
        (["calibrate", "alpha"], "POST /v1/qpus/alpha/calibrate", "calibration asked for"),
        (["policy", "reload"], "POST /v1/policy/reload", "policy banded: age_cap_s"),
    ],
)
def test_verb_asks_its_route_and_prints_text_or_one_json_document(
    manager: FixedManager, qpu: Any, words: list[str], route: str, said: str
) -> None:
    code, out, err = qpu(*words)
    assert (code, err) == (0, "")
    assert route in manager.asked
    assert said in out
    code, out, err = qpu(*words, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) is not None


def test_drain_hands_over_the_reason_and_says_what_still_runs(
    manager: FixedManager, qpu: Any
) -> None:
    code, out, _ = qpu("drain", "alpha", "--reason", "new laser")
    assert code == 0
    assert manager.asked["POST /v1/qpus/alpha/drain"] == {"reason": "new laser"}
    assert out == "QPU alpha: DRAINING (new laser) - 1 chunk still running\n"


def test_settle_sends_the_operator_s_word(manager: FixedManager, qpu: Any, tmp_path: Path) -> None:
    code, out, err = qpu("settle", "17", "--lost", "--chunk", "2")
    assert (code, err) == (0, "")
    assert "chunk declared lost" in out
    asked = manager.asked["POST /v1/tasks/17/settle"]
    assert (asked["lost"], asked["chunk"], asked.get("counts")) == (True, 2, None)
    counts = tmp_path / "counts.json"
    counts.write_text('{"01": 60, "10": 40}')
    code, out, err = qpu("settle", "17", "--counts", str(counts), "--device-s", "9.5", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["id"] == 17
    asked = manager.asked["POST /v1/tasks/17/settle"]
    assert (asked["counts"], asked["device_s"]) == ({"01": 60, "10": 40}, 9.5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "can't be read"),
        ("{", "isn't JSON"),
        ("[1]", "holds no counts"),
        ('{"0": 1.5}', "holds no counts"),
        ('{"0": true}', "holds no counts"),
    ],
)
def test_settle_refuses_a_file_without_counts_and_says_what_it_expects(
    manager: FixedManager, qpu: Any, tmp_path: Path, content: str | None, message: str
) -> None:
    counts = tmp_path / "counts.json"
    if content is not None:
        counts.write_text(content)
    code, _, err = qpu("settle", "17", "--counts", str(counts))
    assert code == 2
    assert message in err
    assert str(counts) in err
    assert "POST /v1/tasks/17/settle" not in manager.asked


@pytest.mark.parametrize("words", [[], ["--lost", "--counts", "c.json"]])
def test_settle_wants_one_of_lost_and_counts(
    manager: FixedManager, qpu: Any, words: list[str]
) -> None:
    code, _, err = qpu("settle", "17", *words)
    assert code == 2
    assert "--lost, or --counts FILE" in err
    assert "POST /v1/tasks/17/settle" not in manager.asked


def test_requeue_names_every_task_with_its_shots(manager: FixedManager, qpu: Any) -> None:
    _, out, _ = qpu("requeue", "17")
    assert manager.asked["POST /v1/tasks/requeue"] == {"ids": [17]}
    assert out == "task 17: QUEUED, 40 of 100 shots\n"


def test_estimate_sends_the_program_itself_and_submits_nothing(
    manager: FixedManager, qpu: Any, program: Path
) -> None:
    code, out, _ = qpu("estimate", str(program), "--shots", "100", "--class", "production")
    assert code == 0
    assert "QPU time  20.0 s" in out
    assert "wait      unknown" in out
    sent = manager.asked["POST /v1/estimate"]
    assert (sent["shots"], sent["job_class"]) == (100, "production")
    assert json.loads(sent["program"]["content"])["device"]
    assert "program_hash" not in sent
    assert "POST /v1/tasks" not in manager.asked


def test_refused_estimate_is_an_answer_and_refused_test_only_an_error(
    manager: FixedManager, qpu: Any, program: Path
) -> None:
    manager.answers["POST /v1/estimate"] = ESTIMATE | {"refusal": REFUSAL}
    code, out, _ = qpu("estimate", str(program), "-n", "9000")
    assert code == 0
    assert "refused   9000 shots are too many" in out
    code, out, err = qpu("submit", str(program), "-n", "9000", "--test-only")
    assert (code, out) == (2, "")
    assert "9000 shots are too many" in err
    assert "submit several tasks" in err


def test_submit_test_only_hands_over_every_wish_on_the_managers_clock(
    manager: FixedManager, qpu: Any, program: Path
) -> None:
    code, out, err = qpu(
        *("submit", str(program), "-n", "100", "--test-only"),
        *("--begin", "now+1h", "--deadline", "2026-11-23T00:00Z", "--time-limit", "5:00"),
        *("--depends-on", "3:4", "--depends-on", "afterany:5", "--on-recalibration", "restart"),
        *("--max-calibration-age", "2h", "--min-quality", "0.9"),
        *("--stop-when", "min_shots=50,stderr=0.1,ZII=1,11I=-0.5"),
        *("--device", "AnalogDevice", "--require", "hardware,min-qubits=50"),
        *("--require", "channel=rydberg_local", "--require", "min-shot-rate=0.5"),
    )
    assert (code, err) == (0, "")
    assert "estimate for 100 shots" in out
    sent = manager.asked["POST /v1/estimate"]
    assert sent["begin_at"] in ("2026-11-22T13:00:00Z", "2026-11-22T13:00:00+00:00")
    assert sent["deadline_at"] == "2026-11-23T00:00:00Z"
    assert [one["task"] for one in sent["depends_on"]] == [3, 4, 5]
    assert sent["depends_on"][2]["kind"] == "afterany"
    numbers = ("time_limit_s", "max_calibration_age_s", "min_quality", "on_recalibration")
    assert [sent[name] for name in numbers] == [300, 7200, 0.9, "restart"]
    rule = {name: one for name, one in sent["stop_when"].items() if one is not None}
    assert rule == {"min_shots": 50, "stderr": 0.1, "observable": {"ZII": 1.0, "11I": -0.5}}
    assert sent["device"] == "AnalogDevice"
    assert {name: value for name, value in sent["require"].items() if value is not None} == {
        "min_qubits": 50,
        "channels": ["rydberg_local"],
        "min_shot_rate_hz": 0.5,
        "emulated": False,
    }
    assert "POST /v1/tasks" not in manager.asked


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--begin", "soon"], "--begin: 'soon' is no moment"),
        (["--time-limit", "long"], "--time-limit: 'long' is no time span"),
        (["--depends-on", "x"], "--depends-on: 'x' names no task"),
        (["--on-recalibration", "retry"], "restart"),
        (["--stop-when", "min_shots=x"], "--stop-when: 'min_shots=x' is no key with a number"),
        (["--stop-when", "min_shots=1,Z=1,Z=2"], "'Z=2' is no key with a number, or comes twice"),
        (["--stop-when", "min_shots=9,distinct=1"], "stop_when.min_shots: 9 are more than"),
        (["--stop-when", "nowhere.yaml"], "nowhere.yaml"),
        (["--require", "hardwear"], "is no requirement (did you mean 'hardware'?)"),
        (["--require", "min-qubits=many"], "expected: min-qubits=NUMBER"),
        (["--require", "min-qubits=0"], "require.min_qubits=0 is not possible"),
    ],
)
def test_wrong_wish_is_one_clear_message_and_exit_2(
    qpu: Any, program: Path, words: list[str], said: str
) -> None:
    code, out, err = qpu("submit", str(program), "-n", "5", *words)
    assert (code, out) == (2, "")
    assert said in err
