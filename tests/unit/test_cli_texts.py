"""What the commands about scheduling print, and the times that they read. No manager."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.cli.explain_text import (
    AHEAD_SHOWN,
    REASONS,
    estimate_text,
    prio_text,
    shares_text,
    why_text,
)
from qpu_executor.cli.moments import read_moment, read_span, when
from qpu_executor.cli.task_text import detail_text
from qpu_executor.cli.top_text import top_text
from qpu_executor.cli.windows import windows_text
from qpu_executor.cli.wishes import wishes
from qpu_executor.errors import ConfigError
from qpu_executor.model.states import DependencyKind, QpuState, TaskState, WaitReason
from qpu_executor.model.timing import Dependency
from qpu_executor.wire.policy import (
    AccountShareOut,
    AheadOut,
    ClassShareOut,
    EstimateOut,
    PartOut,
    RangeOut,
    RangeS,
    SharesOut,
    WhyOut,
    WindowOut,
)
from qpu_executor.wire.site import CapacityOut, HealthOut, QpuOut
from qpu_executor.wire.tasks import Problem, StopWhenOut, TaskDetail, TaskOut, WishesOut

# A place of its own: no test may depend on where it runs.
PLACE = timezone(timedelta(hours=2))
NOW = datetime(2026, 11, 22, 14, 0, tzinfo=PLACE)


def later(seconds: float) -> datetime:
    return (NOW + timedelta(seconds=seconds)).astimezone(UTC)


def a_task(task_id: int = 17, **changes: Any) -> TaskOut:
    fields: dict[str, Any] = {
        "id": task_id,
        "name": "vqe",
        "state": TaskState.QUEUED,
        "job_class": "development",
        "priority": 0,
        "shots": 1500,
        "shots_done": 300,
        "qpu": "alpha",
        "owner": "ada",
        "account": "physics",
        "session": None,
        "key": None,
        "program_hash": "0" * 64,
        "seed": 1,
        "submitted_at": later(-600),
        "started_at": None,
        "ended_at": None,
    }
    return TaskOut(**fields | changes)


def a_why(task: TaskOut | None = None, **changes: Any) -> WhyOut:
    fields: dict[str, Any] = {
        "task": task or a_task(),
        "reason": "Priority",
        "detail": "",
        "rank": 3,
        "ahead": [],
        "ahead_total": 2,
        "priority": [PartOut(name="class", value=100, meaning="higher goes first")],
        "expected_start": None,
        "expected_end": None,
        "as_of": later(0),
    }
    return WhyOut(**fields | changes)


def an_ahead(task_id: int | None, **changes: Any) -> AheadOut:
    fields: dict[str, Any] = {
        "task": task_id,
        "owner": "ada",
        "job_class": "production",
        "remaining_shots": 200,
        "remaining_s": 40.0,
        "why_first": "its class goes first",
    }
    return AheadOut(**fields | changes)


def a_range(*seconds: float) -> RangeOut:
    earliest, likely, latest = (later(one) for one in seconds)
    return RangeOut(earliest=earliest, likely=likely, latest=latest)


def test_why_of_a_waiting_task_says_rank_rule_and_range_on_the_local_clock() -> None:
    found = a_why(
        ahead=[an_ahead(12), an_ahead(None, owner=None, remaining_s=None)],
        expected_start=a_range(80, 200, 600),
        expected_end=a_range(380, 500, 900),
    )
    assert why_text(found, PLACE).splitlines() == [
        "task 17  vqe",
        "  state     QUEUED, 300 of 1500 shots, class development, account physics",
        "  reason    Priority: others go before it",
        "  rank      3 (2 ahead)",
        "  start     14:03:20 (in 3:20), between 14:01:20 and 14:10:00",
        "  end       14:08:20 (in 8:20), between 14:06:20 and 14:15:00",
        "  as of     14:00:00",
        "",
        "PRIORITY  VALUE  MEANING",
        "class       100  higher goes first",
        "",
        "AHEAD  OWNER  CLASS       SHOTS LEFT  TIME LEFT  FIRST BECAUSE",
        "   12  ada    production         200  40.0 s     its class goes first",
        "    -  -      production         200  unknown    its class goes first",
    ]


def test_why_says_unknown_where_nothing_is_known_and_never_zero() -> None:
    found = a_why(priority=[PartOut(name="work", value=None, meaning="QPU-seconds left")])
    text = why_text(found, PLACE)
    assert "  start     unknown\n" in text
    assert "  end       unknown\n" in text
    assert "work      unknown  QPU-seconds left" in text


def test_why_fits_a_screen_however_long_the_queue_is() -> None:
    many = a_why(ahead=[an_ahead(n) for n in range(20)], ahead_total=4321, rank=4322)
    lines = why_text(many, PLACE).splitlines()
    assert lines[-1] == f"… and {4321 - AHEAD_SHOWN} more"
    assert len(lines) <= 24


def test_why_of_a_task_that_may_not_begin_yet_says_when_on_the_local_clock() -> None:
    task = a_task(wishes=WishesOut(begin_at=later(1800)))
    text = why_text(a_why(task, reason="BeginTime", rank=None), PLACE)
    assert "reason    BeginTime: not before 14:30:00 (in 30:00), as was asked for" in text


def test_why_of_a_held_task_has_no_rank_and_says_what_to_type() -> None:
    held = a_task(state=TaskState.HELD)
    text = why_text(a_why(held, reason="JobHeld", rank=None, ahead_total=0), PLACE)
    assert "JobHeld: it is held" in text
    assert "qpu release 17" in text
    assert "rank      none" in text


def test_why_of_a_running_task_says_where_since_when_and_until_when() -> None:
    running = a_task(state=TaskState.RUNNING, started_at=later(-61))
    found = a_why(running, reason=None, rank=None, expected_end=a_range(60, 120, 120))
    text = why_text(found, PLACE)
    assert "runs      on alpha: it waits for nothing" in text
    assert "started   13:58:59 (1:01 ago)" in text
    assert "end       14:02:00 (in 2:00), between 14:01:00 and 14:02:00" in text
    assert "rank" not in text


@pytest.mark.parametrize(
    ("state", "verb"),
    [(TaskState.COMPLETED, "result"), (TaskState.FAILED, "show"), (TaskState.CANCELLED, "show")],
)
def test_why_of_an_ended_task_says_when_and_where_to_look(state: TaskState, verb: str) -> None:
    task = a_task(
        state=state, started_at=later(-500), ended_at=later(-60), error="the laser is off"
    )
    text = why_text(a_why(task, reason=None, rank=None, priority=[]), PLACE)
    assert "ended     13:59:00 (1:00 ago)" in text
    assert "waited    1:40 for its first chunk" in text
    assert "error     the laser is off" in text
    assert text.endswith(f"qpu {verb} 17")


def test_every_reason_has_its_words() -> None:
    assert set(REASONS) == set(WaitReason)


def test_prio_shows_every_part_as_a_column_and_a_dash_where_a_task_has_none() -> None:
    first = a_why(a_task(1), rank=1, reason="Resources", expected_start=a_range(0, 0, 0))
    second = a_why(
        a_task(2),
        rank=None,
        priority=[PartOut(name="age", value="old", meaning="")],
        reason="Dependency",
    )
    assert prio_text([first, second], 3, PLACE).splitlines() == [
        "TASK  NAME  CLASS        RANK  CLASS_PRIO  AGE  EXPECTED START  REASON",
        "   1  vqe   development     1         100  -    14:00:00 (now)  Resources",
        "   2  vqe   development     -           -  old  unknown         Dependency",
        "… and 3 more (--limit shows them)",
    ]


def test_share_shows_accounts_classes_and_the_charging_table() -> None:
    shares = SharesOut(
        accounts=[
            AccountShareOut(
                account="physics", user=None, share=0.5, usage_qpu_s=1234.5, ratio=4.0, band=1
            ),
            AccountShareOut(
                account="physics", user="ada", share=1, usage_qpu_s=0.0, ratio=None, band=0
            ),
        ],
        classes=[ClassShareOut(name="development", min_share=0.1, used_share=None)],
        charging={"shots": 1.0, "lost": 0.0},
        half_life_s=604800.0,
    )
    assert shares_text(shares).splitlines() == [
        "ACCOUNT  USER  SHARE  USED_QPU_S  USED/SHARE  BAND",
        "physics  -       0.5      1234.5  4.00           1",
        "physics  ada       1         0.0  unknown        0",
        "usage halves every 7-00:00:00",
        "",
        "CLASS        MIN_SHARE  USED",
        "development  10%        unknown",
        "",
        "CHARGED  FACTOR",
        "shots         1",
        "lost          0",
    ]


def test_estimate_says_qpu_time_wait_and_end() -> None:
    found = EstimateOut(
        qpus=["alpha", "beta"],
        qpu_s=100.0,
        expected_wait_s=RangeS(earliest=0.0, likely=20.0, latest=90.0),
        refusal=None,
        explanation=["5 shots a second on alpha, as measured"],
    )
    assert estimate_text(found, 500, NOW).splitlines() == [
        "estimate for 500 shots",
        "  QPUs      alpha, beta",
        "  QPU time  1:40",
        "  wait      20.0 s, between 0.0 s and 1:30",
        "  done      14:02:00 (in 2:00) if nothing comes in between",
        "  5 shots a second on alpha, as measured",
    ]


def test_estimate_says_unknown_and_refusals() -> None:
    refusal = Problem(
        title="refused", status=422, detail="9000 shots are too many", code="request-refused"
    )
    empty = EstimateOut(
        qpus=["alpha"], qpu_s=None, expected_wait_s=None, refusal=None, explanation=[]
    )
    text = estimate_text(empty, 500, NOW)
    assert [line.split()[-1] for line in text.splitlines()[2:]] == ["unknown"] * 3
    refused = estimate_text(empty.model_copy(update={"refusal": refusal}), 9000, NOW)
    assert "refused   9000 shots are too many" in refused
    assert "QPU time" not in refused


def a_qpu(**changes: Any) -> QpuOut:
    fields: dict[str, Any] = {
        "name": "alpha",
        "kind": "simulated",
        "status": "online",
        "status_reason": None,
        "healthy": True,
        "busy": True,
        "capacity": CapacityOut(available_slots=0, max_slots=1),
        "pending_job_count": 7,
        "state": QpuState.UP,
        "device": "AnalogDevice",
        "emulated": False,
        "max_chunk_shots": None,
        "shot_rate_hz": None,
        "running": [],
    }
    return QpuOut(**fields | changes)


def test_top_shows_running_tasks_first_and_no_more_lines_than_the_screen_has() -> None:
    health = HealthOut(
        version="0.3",
        api_versions=[1],
        instance="i",
        embedded=False,
        host="head",
        caller="ada",
        cursor=1,
        now=later(0),
    )
    tasks = [a_task(n) for n in range(1, 40)] + [a_task(40, state=TaskState.RUNNING)]
    whole = top_text(health, [a_qpu()], tasks, zone=PLACE).splitlines()
    assert whole[1] == "yours: 1 running, 39 waiting, 0 held"
    assert whole[4].split() == [
        *("alpha", "UP", "AnalogDevice", "1/1", "7", "unknown", "unknown", "-")
    ]
    assert whole[7].split()[:6] == ["40", "vqe", "development", "RUNNING", "300/1500", "20%"]
    assert len(whole) == 7 + 40
    screen = top_text(health, [a_qpu()], tasks, zone=PLACE, rows=24).splitlines()
    assert len(screen) == 24
    assert screen[-1] == f"… and {40 - 16} more"
    assert len(top_text(health, [a_qpu()], tasks, zone=PLACE, rows=3).splitlines()) == 8


def test_windows_say_when_and_for_whom() -> None:
    window = WindowOut(
        qpu="alpha", name="demo", kind="reservation", starts_at=later(60), ends_at=later(3660)
    )
    mine = window.model_copy(
        update={"account": "physics", "job_class": "production", "announced_by": "ann"}
    )
    lines = windows_text([window, mine], NOW).splitlines()
    assert (
        lines[1] == "alpha  demo    reservation  14:01:00 (in 1:00)  15:01:00 (in 1:01:00)  nobody"
        "                             site file"
    )
    assert lines[2].endswith("account physics, class production  ann")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (200, "14:03:20 (in 3:20)"),
        (7, "14:00:07 (in 0:07)"),
        (0.2, "14:00:00 (now)"),
        (-40, "13:59:20 (0:40 ago)"),
        (86400, "2026-11-23T14:00:00 (in 1-00:00:00)"),
    ],
)
def test_a_moment_is_shown_on_the_clock_with_its_distance(seconds: float, said: str) -> None:
    assert when(later(seconds), NOW) == said


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("now", 0),
        ("now+90", 90),
        ("now+30minutes", 1800),
        ("now+2 h", 7200),
        ("14:30", 1800),
        ("13:59:30", 86370),
        ("2026-11-22T15:00+02:00", 3600),
        ("2026-11-22T13:00Z", 3600),
    ],
)
def test_a_typed_moment_is_read(text: str, seconds: float) -> None:
    assert (read_moment(text, NOW, "--begin") - NOW).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "soon", "25:00", "now+", "now+3 moons", "now+" + "9" * 400])
def test_what_is_no_moment_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_moment(text, NOW, "--begin")
    assert refused.value.where == "--begin"
    assert "now+30minutes" in str(refused.value.expected)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("30", 1800),
        ("5:30", 330),
        ("1:30:00", 5400),
        ("1-12", 129600),
        ("1-12:30", 131400),
        ("2h", 7200),
        ("1.5min", 90),
    ],
)
def test_a_typed_time_span_is_read_as_slurm_does(text: str, seconds: float) -> None:
    assert read_span(text, "--time-limit") == seconds


@pytest.mark.parametrize("text", ["", "0", "-5", "5:99", "long", "1:2:3:4"])
def test_what_is_no_time_span_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_span(text, "--time-limit")
    assert "90s" in str(refused.value.expected)


def test_dependencies_are_read_as_sbatch_takes_them() -> None:
    found = wishes(lambda: NOW, depends_on=["12", "afterok:3:4,afterany:5"])["depends_on"]
    any_end = DependencyKind.AFTER_ANY
    assert found == (Dependency(12), Dependency(3), Dependency(4), Dependency(5, any_end))


@pytest.mark.parametrize("text", ["", "x", "after:3", "afterok", "afterok:", "0", "3;4", "9" * 30])
def test_what_is_no_dependency_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        wishes(lambda: NOW, depends_on=[text])
    assert "afterok:12" in str(refused.value.expected)


def test_stopping_rule_is_read_from_pairs_or_a_file(tmp_path: Path) -> None:
    pairs = wishes(lambda: NOW, stop_when="min_shots=5, distinct=3,seen=2")["stop_when"]
    assert pairs == {"min_shots": 5, "distinct": 3, "seen": 2}
    rule = {"min_shots": 5, "stderr": 0.5, "observable": {"11": 2}}
    for name, text in (
        ("rule.json", '{"min_shots": 5, "stderr": 0.5, "observable": {"11": 2}}'),
        ("rule.yaml", 'min_shots: 5\nstderr: 0.5\nobservable: {"11": 2}\n'),
    ):
        (tmp_path / name).write_text(text)
        assert wishes(lambda: NOW, stop_when=str(tmp_path / name))["stop_when"] == rule


def test_early_stop_is_told_while_the_task_lives_and_when_it_has_ended() -> None:
    standing = "standard error 0.081 after 150 shots (at most 0.05 wanted)"
    rule = StopWhenOut(min_shots=100, stderr=0.05, observable={"Z": 1.0})
    live = a_task(stop_standing=standing, wishes=WishesOut(stop_when=rule))
    assert f"may stop  before all shots are taken: {standing}" in why_text(a_why(live), PLACE)
    shown = detail_text(TaskDetail(**live.model_dump(), chunks=[], history=[]))
    assert f"early stop {standing}" in shown
    assert "stop when the standard error of the observable is at most 0.05, after at" in shown
    early = {"stopped_early": True, "stop_reason": "enough", "shots_saved": 1200}
    ended = a_task(state=TaskState.COMPLETED, ended_at=later(-60), **early)
    assert "early     enough; 1200 shots saved" in why_text(a_why(ended), PLACE)
    shown = detail_text(TaskDetail(**ended.model_dump(), chunks=[], history=[]))
    assert "stopped early: enough; 1200 of 1500 shots saved, not charged" in shown
    assert "intervals for a fixed number of shots don't hold" in shown


def test_options_that_are_not_given_ask_for_nothing() -> None:
    assert wishes(lambda: NOW) == {}
