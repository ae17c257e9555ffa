"""A real manager: tasks that end once their shots say enough, whoever submits and who is killed."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.client import Client
from qpu_executor.errors import RequestRefused
from qpu_executor.model.states import TaskState
from qpu_executor.programs.program import Program
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.testing.sequences import small_sequence

SITE = """
manager:
  listen: {listen}
  store: store.sqlite
  time_scale: 40
default_class: development
accounts:
  students: {{qpu_s: 60, period_s: 864000}}
job_classes:
  development: {{priority: 100, chunk_s: 10}}
qpus:
  rehearsal: {{kind: simulated-qpu, shot_rate_hz: 5, setup_s: 2}}
"""
COST = {"min_shots": 100, "stderr": 0.2, "observable": {"1II": -1, "I1I": -1, "11I": 2}}


@pytest.fixture(scope="module")
def program() -> Program:
    return to_program(small_sequence())


def charged(client: Client, account: str) -> float:
    """QPU-seconds that the manager has charged to an account."""
    found = [one for one in client.shares().accounts if one.account == account and not one.user]
    return sum(one.usage_qpu_s for one in found)


def journal(served: Any, task_id: int) -> list[tuple[str, Any]]:
    """(kind, data) of every event that the core was told about a task, in order."""
    with closing(sqlite3.connect(f"file:{served.store}?mode=ro", uri=True)) as database, database:
        rows = database.execute(
            "select kind, data from journal where task_id = ? and state is null order by n",
            [task_id],
        ).fetchall()
    return [(kind, json.loads(data)) for kind, data in rows]


def test_emulated_task_stops_at_the_first_chunk_whose_counts_are_enough(
    shared: Any, program: Program
) -> None:
    with shared.connect() as client:
        whole = client.submit(program, 2000, seed=5).result(timeout=120)
        task = client.submit(program, 2000, seed=5, stop_when=COST)
        result = task.result(timeout=120)
        detail = client.task_detail(task.id)
    assert result.stopped_early
    assert result.stop_reason is not None
    assert result.stop_reason.startswith("standard error 0.")
    assert 100 <= result.shots == sum(result.counts.values()) < 2000
    assert (result.shots_asked, result.shots_saved) == (2000, 2000 - result.shots)
    assert f"{result.shots} of 2000 (stopped early) shots" in repr(result)
    assert result.shots == sum(chunk.shots_counted for chunk in result.chunks)
    assert (detail.state, detail.shots_done) == (TaskState.COMPLETED, result.shots)
    assert (whole.stopped_early, whole.shots, whole.shots_saved) == (False, 2000, 0)
    assert all(times <= whole.counts[bits] for bits, times in result.counts.items())


def test_saved_shots_are_not_charged_and_their_credit_is_free_again(
    make_manager: Any, program: Program
) -> None:
    served = make_manager(site=SITE)
    served.start()
    with served.connect() as client:
        rule = {"min_shots": 50, "distinct": 1}
        first = client.submit(program, 250, account="students", held=True, stop_when=rule)
        with pytest.raises(RequestRefused, match="50 and 40 more, 60 are allowed"):
            client.submit(program, 200, account="students")
        first.release()
        result = first.result(timeout=120)
        assert (result.shots, result.shots_saved, len(result.chunks)) == (50, 200, 1)
        delivered_s = sum(chunk.setup_s + chunk.device_s for chunk in result.chunks)
        assert charged(client, "students") == pytest.approx(delivered_s, rel=0.01)
        assert delivered_s == pytest.approx(2 + 50 / 5, rel=0.2)
        again = client.submit(program, 200, account="students", held=True)
        assert again.state is TaskState.HELD


def test_killed_in_the_middle_it_stops_where_it_would_have_stopped(
    make_manager: Any, program: Program
) -> None:
    rule = {"min_shots": 60, "stderr": 0.2, "observable": {"ZII": 1, "IZZ": 1}}
    killed = make_manager(site=SITE)
    killed.start()
    with killed.connect() as client:
        expected = client.submit(program, 2000, seed=3, stop_when=rule).result(timeout=100)
        task = client.submit(program, 2000, seed=3, stop_when=rule)
        for event in client.events(after=0):
            if event.task == task.id and (event.shots_done or 0) >= 60:
                break
        killed.kill()
        killed.start()
        result = task.result(timeout=100)
    assert (result.stopped_early, expected.stopped_early) == (True, True)
    assert result.counts == expected.counts
    assert result.stop_reason == expected.stop_reason
    told = journal(killed, task.id)
    assert [kind for kind, _ in told][-2:] == ["StoppingRuleMet", "ChunkFinished"]
    assert [data["shots"] for kind, data in told if kind == "StoppingRuleMet"] == [result.shots]


def test_why_says_how_far_the_rule_is_and_the_queue_goes_on(
    make_manager: Any, program: Program
) -> None:
    served = make_manager(site=SITE)
    served.start()
    with served.connect() as client:
        never = {"min_shots": 10, "stderr": 1e-9, "observable": {"ZII": 1}}
        task = client.submit(program, 20_000, stop_when=never)
        behind = client.submit(program, 10, priority=-1)
        for event in client.events(after=0):
            if event.task == task.id and event.shots_done:
                break
        standing = client.why(task.id).task.stop_standing
        assert standing is not None
        assert "(at most 1e-09 wanted)" in standing
        task.cancel()
        assert behind.result(timeout=120).shots == 10
        assert client.task(task.id).info.stop_standing is None


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"min_shots": 500, "distinct": 2}, "stop_when.min_shots: 500 are more than the task's"),
        ({"min_shots": 5, "stderr": 1, "observable": {"ZI": 1}}, "2 characters for 3 qubits"),
        ({"min_shots": 5, "distinct": 9}, "9 distinct bitstrings of 3 bits"),
        ({"min_shots": 5, "dictinct": 2}, "did you mean 'distinct'"),
    ],
)
def test_rule_that_cant_be_is_refused_at_submission(
    shared: Any, program: Program, rule: dict[str, Any], said: str
) -> None:
    with shared.connect() as client, pytest.raises(RequestRefused) as refused:
        client.submit(program, 100, stop_when=rule)
    assert said in str(refused.value)


def test_command_line_submits_a_rule_and_tells_what_became_of_it(
    shared: Any, program: Program, tmp_path: Path
) -> None:
    (tmp_path / "p.json").write_text(program.content)

    def qpu(*words: str) -> str:
        command = [sys.executable, "-m", "qpu_executor.cli.main", *words, "--manager", shared.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    rule = ("--stop-when", "min_shots=20,distinct=2")
    path = str(tmp_path / "p.json")
    said = qpu("submit", path, "-n", "500", "--seed", "1", "--wait", *rule)
    assert "distinct bitstrings after 20 shots (2 wanted); 480 of 500 shots saved" in said
    assert "intervals for a fixed number of shots don't hold" in said
    number = said.split()[1].rstrip(":")
    found = json.loads(qpu("result", number, "--json"))
    assert (found["stopped_early"], found["shots_asked"]) == (True, 500)
    assert found["shots"] + found["shots_saved"] == 500
    assert "stopped early: " in qpu("show", number)
    assert "shots saved" in qpu("why", number)
