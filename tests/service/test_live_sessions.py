"""A real manager with a simulated QPU: what a session says and asks, and what becomes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.cli.main import main
from qpu_executor.client import SessionTerms, TaskOrder
from qpu_executor.errors import QpuExecutorError, RequestRefused
from qpu_executor.model.states import TaskState
from qpu_executor.programs.program import Program
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.testing.sequences import small_sequence

SITE = """
manager:
  listen: {listen}
  store: store.sqlite
  time_scale: 20
policy: fifo
default_class: development
job_classes:
  production: {{priority: 300, chunk_s: 30}}
  development: {{priority: 100, chunk_s: 30}}
qpus:
  rehearsal:
    kind: simulated-qpu
    shot_rate_hz: 5
    setup_s: 2
    keep_warm: {{max_linger_s: 600, max_run_s: 6000}}
"""

Verb = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def program() -> Program:
    return to_program(small_sequence())


@pytest.fixture
def manager(make_manager: Callable[..., Any], request: pytest.FixtureRequest) -> Any:
    """Its clock is 20 times as fast as real time, or as the test says."""
    time_scale = getattr(request, "param", 20)
    served = make_manager(site=SITE.replace("time_scale: 20", f"time_scale: {time_scale}"))
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


def test_linger_ends_after_its_seconds_and_is_charged(manager: Any, program: Program) -> None:
    with manager.connect() as client:
        session = client.open_session("loop", terms=SessionTerms(linger_s=20))
        mine = client.submit(program, 50, session=session.id)
        other = client.submit(program, 5, job_class="production")
        ended, after = mine.result(timeout=120), other.result(timeout=120)
        thought = after.chunks[0].sent_at - ended.chunks[-1].ended_at
        assert thought >= timedelta(seconds=20), "nobody else came in while the session thought"
        (line,) = [one for one in client.shares().accounts if one.user is not None]
        shots_s = sum(chunk.setup_s + chunk.device_s for chunk in ended.chunks + after.chunks)
        # On a busy host the manager notices late that the linger is over, and it lasts longer.
        assert line.usage_qpu_s > 0.99 * (shots_s + 20)
        assert line.usage_qpu_s < 1.01 * (shots_s + thought.total_seconds())


@pytest.mark.parametrize("manager", [2], indirect=True)  # its linger outlasts any pause of ours
def test_next_iteration_of_a_lingering_session_goes_before_what_waits(
    manager: Any, program: Program
) -> None:
    with manager.connect() as client:
        session = client.open_session("loop", terms=SessionTerms(linger_s=600))
        client.submit(program, 5, session=session.id).result(timeout=120)
        other = client.submit(program, 5)
        why = client.why(other.id)
        assert why.reason == "Reservation"
        assert "kept warm for another session between its tasks" in why.detail
        assert why.until is not None
        assert timedelta(0) < why.until - why.as_of <= timedelta(seconds=600)
        (row,) = client.qpus()
        assert row.kept_until == why.until
        again = client.submit(program, 5, session=session.id).result(timeout=120)
        assert client.task(other.id).state is TaskState.QUEUED
        assert client.give_back(session.id).holds == []
        sent = other.result(timeout=120).chunks[0].sent_at
        assert sent > again.chunks[-1].ended_at


def test_restarted_manager_has_forgotten_what_was_kept(manager: Any, program: Program) -> None:
    with manager.connect() as client:
        session = client.open_session("loop", terms=SessionTerms(run_s=6000))
        other = client.submit(program, 5)
        assert client.why(other.id).reason == "Reservation"
        assert [one.kind for one in client.session(session.id).holds] == ["run"]
    manager.kill()
    manager.start()
    with manager.connect() as client:
        assert client.task(other.id).result(timeout=120).shots == 5
        assert client.session(session.id).holds == []


def test_end_of_the_allocation_refuses_what_cannot_end_before_it(
    manager: Any, program: Program
) -> None:
    ends_at = datetime.now(UTC) + timedelta(days=30)
    with manager.connect() as client:
        session = client.open_session("job", terms=SessionTerms(ends_in_s=3600))
        refused, taken = client.submit_each(
            [
                to_order(program, 30_000, session.id),
                to_order(program, 5, session.id),
            ]
        )
        assert isinstance(refused, RequestRefused)
        assert "30000 shots need" in str(refused)
        assert "the session's allocation ends in" in str(refused)
        assert not isinstance(taken, QpuExecutorError)
        wishes = taken.info.wishes
        assert wishes is not None
        assert wishes.session_ends_at == session.ends_at
        dated = client.open_session("job", terms=SessionTerms(ends_at=ends_at))
        assert dated.ends_at == ends_at
        with pytest.raises(RequestRefused, match="for 600 s, not for 700 s"):
            client.keep_warm(session.id, linger_s=700)
        with pytest.raises(RequestRefused, match="either linger_s or run_s"):
            client.keep_warm(session.id)
        with pytest.raises(RequestRefused, match="shape"):
            client.open_session("job", terms=SessionTerms(shape="round"))  # type: ignore[arg-type]


def to_order(program: Program, shots: int, session: str) -> TaskOrder:
    return TaskOrder(program, shots, session=session)


@pytest.mark.parametrize("manager", [2], indirect=True)  # what is kept outlasts the commands
def test_verbs_open_show_keep_release_and_close(
    qpu: Verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "program.json"
    path.write_text(small_sequence().to_abstract_repr())
    words = (
        "--shape",
        "qpu-heavy",
        "--expected-tasks",
        "40",
        "--think-time",
        "15s",
        "-c",
        "production",
    )
    code, out, err = qpu("session", "open", "vqe", *words, "--linger", "5:00")
    assert (code, err) == (0, "")
    session = out.strip()
    task = qpu("submit", str(path), "-n", "5", "--session", session)[1].strip()
    shown = qpu("show", task)[1]
    assert (
        f"session    vqe ({session}), class production, qpu-heavy, 40 tasks, thinks 15.0 s" in shown
    )
    assert json.loads(qpu("show", task, "--json")[1])["job_class"] == "production"
    (listed,) = json.loads(qpu("session", "list", "--json")[1])
    assert (listed["shape"], listed["expected_tasks"], listed["think_s"]) == ("qpu-heavy", 40, 15)
    assert [one["linger_s"] for one in listed["holds"]] == [300]
    code, out, err = qpu("session", "hold", session, "--contiguous", "30min")
    assert (code, err) == (0, "")
    assert "keeps rehearsal for a run until" in out
    assert "kept warm until" in qpu("info")[1]
    code, out, err = qpu("session", "hold", session, "--linger", "1h")
    assert code == 2
    assert "is kept between a session's tasks for 600 s, not for 3600 s" in err
    assert "keeps" not in qpu("session", "release", session)[1]
    assert qpu("session", "hold", session)[0] == 2
    assert qpu("session", "close", session)[1].endswith("(closed)\n")
    assert session not in qpu("session", "list")[1]
    assert session in qpu("session", "list", "--all")[1]
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(datetime.now(UTC).timestamp() + 7200))
    found = json.loads(qpu("session", "open", "in a job", "--json")[1])
    assert found["ends_at"] is not None
    monkeypatch.setenv("SLURM_JOB_END_TIME", "1000")
    code, out, err = qpu("session", "open", "in a job")
    assert (code, out) == (2, "")
    assert "the Slurm allocation of this shell ended" in err
