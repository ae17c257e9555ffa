"""Recordings: the causes in a journal, played again under the same and under other policies."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.cli.main import main
from qpu_executor.cli.rehearsed_site import recorded_site
from qpu_executor.errors import StoreError
from qpu_executor.manager.store import database_journal
from qpu_executor.manager.store.change_records import AddJournal
from qpu_executor.manager.store.journal_file import read_journal
from qpu_executor.manager.store.records import JournalRow
from qpu_executor.manager.store.sql import SqlStore
from qpu_executor.model.events import (
    CalibrationEnded,
    CalibrationStarted,
    ChunkFinished,
    ChunkLost,
    ChunkStarted,
    Event,
    QpuDrained,
    QpuReported,
    StoppingRuleMet,
    TaskCancelAsked,
    TaskHoldAsked,
    TaskRebound,
    TaskReleaseAsked,
    TaskStopAsked,
    TaskSubmitted,
    WindowsChanged,
)
from qpu_executor.model.states import QpuState, TaskState, WindowKind
from qpu_executor.model.timing import Dependency, Timing, Window
from qpu_executor.model.values import MICROSECONDS, ChunkId, JobClass, TaskSpec
from qpu_executor.settings.site import parse_site
from qpu_executor.simulation.baselines import FIFO_WHOLE
from qpu_executor.simulation.engine import Rehearsal, SimulatedSite
from qpu_executor.simulation.qpu_model import QpuTiming
from qpu_executor.simulation.record import RunRecord
from qpu_executor.simulation.recording import Effect, JournalEntry, Recording
from qpu_executor.simulation.recording_reader import read_recording
from qpu_executor.simulation.shipped import BANDED

SITE_FILE = str(Path(__file__).parents[2] / "configs/site.yaml")
START = 1_700_000_000 * MICROSECONDS
CLASSES = (JobClass("production", 300), JobClass("development", 100))


class Journal:
    """Writes what a manager would."""

    def __init__(self) -> None:
        self.entries: list[JournalEntry] = []

    def add(self, at_s: float, event: Event, task_id: int | None = None) -> None:
        data: Mapping[str, Any] = json.loads(json.dumps(asdict(event)))
        at = START + round(at_s * MICROSECONDS)
        self.entries.append(JournalEntry(at, type(event).__name__, task_id, None, data))

    def submit(self, at_s: float, task_id: int, **changes: Any) -> None:
        values: dict[str, Any] = {
            "owner": "ada",
            "account": "physics",
            "job_class": "development",
            "shots": 100,
            "qpus": ("alpha",),
            "submitted_at": START + round(at_s * MICROSECONDS),
        }
        spec = TaskSpec(task_id=task_id, **{**values, **changes})
        self.add(at_s, TaskSubmitted(spec), task_id)

    def end(self, at_s: float, task_id: int, *, shots: int = 100, device_s: float = 20.0) -> None:
        chunk = ChunkFinished(ChunkId(task_id, 0), shots, device_s, 3.0)
        self.add(at_s, chunk, task_id)
        at = START + round(at_s * MICROSECONDS)
        self.entries.append(JournalEntry(at, "TaskState", task_id, TaskState.COMPLETED, {}))

    def read(self) -> Recording:
        return read_recording(self.entries)


def play(recording: Recording, policy: Any = BANDED, **timing: Any) -> RunRecord:
    qpu = QpuTiming(
        "alpha",
        setup_s=3.0,
        resume_s=3.0,
        calibration=None,
        shot_rate_hz=5.0,
        outages=recording.outages,
        calibrations=recording.calibrations,
        **timing,
    )
    site = SimulatedSite(CLASSES, (qpu,), recording.start_at)
    return Rehearsal(recording, policy, site, 0, spans_until_s=1e6, record_chunks=True).run()


def test_a_task_that_followed_another_ones_end_keeps_its_think_time() -> None:
    journal = Journal()
    journal.submit(10, 1, session_id="s")
    journal.end(50, 1)
    journal.submit(80, 2, session_id="s")
    journal.end(200, 2)
    journal.submit(90, 3, session_id="other")
    journal.submit(95, 4)

    first, second, third, fourth = journal.read().tasks

    assert (first.after, first.delay_s) == (None, 0.0)
    assert (second.after, second.delay_s) == (1, 30.0)
    assert (third.after, third.delay_s) == (None, 80.0)
    assert (fourth.after, fourth.delay_s) == (None, 85.0)


def test_durations_and_set_ups_are_those_that_were_measured() -> None:
    journal = Journal()
    journal.submit(0, 1)
    journal.end(60, 1, shots=100, device_s=50.0)
    journal.submit(0, 2, shots=300)
    journal.end(90, 2, shots=300, device_s=30.0)
    journal.submit(95, 3)

    recording = journal.read()

    assert [one.shot_s for one in recording.tasks] == [{"alpha": 0.5}, {"alpha": 0.1}, {}]
    assert recording.shot_s == pytest.approx(80 / 400)
    assert list(recording.qpus) == ["alpha"]
    measured = recording.qpus["alpha"]
    assert (measured.setup_s, measured.switch_s, measured.layout_s) == (0.0, 3.0, 0.0)
    assert measured.shot_s == recording.shot_s


def test_a_quicker_policy_is_asked_for_the_next_task_sooner() -> None:
    journal = Journal()
    journal.submit(0, 1, session_id="s")
    journal.end(1000, 1)
    journal.submit(1040, 2, session_id="s")
    journal.end(2000, 2)

    record = play(journal.read())

    # Two tasks of 20 s with 3 s of set-up each, and 40 s of thinking between them.
    assert record.makespan_s == pytest.approx(86.0)
    assert [task.delay_s for task in record.tasks] == pytest.approx([0.0, 0.0])
    assert record.shots_counted == 200


def test_policies_differ_on_the_same_recording() -> None:
    journal = Journal()
    journal.submit(0, 1, shots=1000)
    journal.end(900, 1, shots=1000, device_s=200.0)
    journal.submit(20, 2, job_class="production")
    journal.end(950, 2)
    recording = journal.read()

    fifo, banded = play(recording, FIFO_WHOLE), play(recording, BANDED)

    def waited(record: RunRecord) -> float:
        return next(one.wait_s for one in record.tasks if one.job_class == "production")

    assert waited(fifo) == pytest.approx(183.0)
    assert waited(banded) < 15
    assert fifo.shots_counted == banded.shots_counted == 1100


def test_a_cancelled_task_is_cancelled_again_and_its_followers_come_nevertheless() -> None:
    journal = Journal()
    journal.submit(0, 1, shots=10_000, session_id="s")
    journal.add(30, TaskCancelAsked(1), 1)
    at = START + 31 * MICROSECONDS
    journal.entries.append(JournalEntry(at, "TaskState", 1, TaskState.CANCELLED, {}))
    journal.submit(41, 2, session_id="s")

    record = play(journal.read())

    assert record.tasks_failed == 1
    assert [one.task_id for one in record.chunks][-1] == 2
    assert record.makespan_s == pytest.approx(30 + 10 + 3 + 100, abs=0.1)


def test_the_qpu_is_closed_when_it_was_then() -> None:
    journal = Journal()
    journal.submit(0, 1)
    journal.add(5, QpuReported("alpha", QpuState.DOWN, "broken"))
    journal.add(6, QpuReported("alpha", QpuState.DOWN, "still broken"))
    journal.end(7, 1)
    journal.add(105, QpuReported("alpha", QpuState.UP))
    journal.add(300, CalibrationStarted("alpha"))
    journal.add(360, CalibrationEnded("alpha"))
    journal.add(400, QpuReported("beta", QpuState.DOWN))
    journal.submit(310, 2)

    recording = journal.read()
    (outage,) = recording.outages
    (calibration,) = recording.calibrations
    record = play(recording)

    assert (outage.begins_s, outage.lasts_s, outage.effect) == (5.0, 100.0, Effect.WAITS)
    assert (calibration.begins_s, calibration.lasts_s) == (300.0, 60.0)
    assert [one.wait_s for one in record.tasks] == pytest.approx([0.0, 50.0])
    # The chunk that ran when it broke went on until 13 s.
    assert record.closed_s == pytest.approx(105 - 13 + 60)
    assert record.calibrating_s == pytest.approx(60)


def test_an_outage_that_outlasted_the_manager_ends_with_the_first_chunk_after_it() -> None:
    journal = Journal()
    journal.submit(0, 1)
    journal.add(1, QpuReported("alpha", QpuState.UP))
    journal.end(60, 1)
    journal.add(100, QpuReported("alpha", QpuState.DOWN, "a leak"))
    journal.submit(5000, 2)
    # A manager that is started when the QPU works has no change to report.
    journal.add(5000, ChunkStarted(ChunkId(2, 0)), 2)
    journal.end(5060, 2)
    journal.add(6000, CalibrationStarted("alpha"))
    journal.submit(9000, 3)
    journal.add(9000, ChunkStarted(ChunkId(3, 0)), 3)
    journal.end(9060, 3)

    recording = journal.read()

    closed = [(one.begins_s, one.lasts_s) for one in recording.outages]
    assert closed == [(0.0, 1.0), (100.0, 4900.0)]
    assert [(one.begins_s, one.lasts_s) for one in recording.calibrations] == [(6000.0, 3000.0)]


def test_a_chunk_that_a_breakdown_took_is_lost_again_and_taken_anew() -> None:
    journal = Journal()
    journal.submit(0, 1)
    journal.add(10, QpuReported("alpha", QpuState.DOWN, "a leak"))
    journal.add(10, ChunkLost(ChunkId(1, 0), "a leak", fault=True))
    journal.add(60, QpuReported("alpha", QpuState.UP))
    journal.end(90, 1)

    recording = journal.read()
    record = play(recording)

    assert [one.effect for one in recording.outages] == [Effect.LOSES]
    # 7 s of shots at 5 Hz are lost; then 3 s of set-up and 20 s of shots are enough.
    assert record.shots_delivered - record.shots_counted == 35
    assert record.shots_counted == 100
    assert record.makespan_s == pytest.approx(60 + 20, abs=3.1)


def test_what_was_asked_of_a_task_is_asked_again_as_long_after_its_submission() -> None:
    journal = Journal()
    journal.submit(0, 1, shots=10)
    journal.end(10, 1, shots=10, device_s=2.0)
    journal.submit(100, 2, shots=200, session_id="s")
    journal.add(110, TaskHoldAsked(2), 2)
    journal.add(150, TaskReleaseAsked(2), 2)
    journal.add(155, TaskStopAsked(2, "an operator"), 2)
    journal.end(300, 2, shots=200, device_s=40.0)

    record = play(journal.read(), max_chunk_shots=50)

    # Held at the end of its first chunk, and stopped 5 s after it was released.
    sent = [(one.n, one.first_shot, one.shots) for one in record.chunks if one.task_id == 2]
    assert sent == [(0, 0, 50), (1, 50, 50), (2, 75, 50), (3, 125, 50), (4, 175, 25)]


def test_a_task_that_was_adopted_by_another_session_outlives_the_end_of_its_first() -> None:
    journal = Journal()
    ends = Timing(session_ends_at=START + 130 * MICROSECONDS)
    journal.submit(100, 1, shots=200, session_id="s", timing=ends)
    journal.add(110, TaskRebound(1, "t", None), 1)
    journal.end(300, 1, shots=200, device_s=40.0)

    record = play(journal.read(), max_chunk_shots=50)

    assert sum(one.shots for one in record.chunks) == 200


def test_drains_and_windows_bind_every_policy_and_the_calendar_those_that_know_one() -> None:
    journal = Journal()
    window = Window("w", WindowKind.MAINTENANCE, *(START + at * MICROSECONDS for at in (60, 90)))
    journal.add(0, WindowsChanged("alpha", (window,)))
    journal.submit(1, 1, shots=1000)
    journal.end(500, 1, shots=1000, device_s=200.0)
    journal.add(501, QpuDrained("alpha", "a look"))
    journal.submit(502, 2)
    journal.add(600, QpuReported("beta", QpuState.UP))

    recording = journal.read()
    banded, fifo = play(recording, BANDED), play(recording, FIFO_WHOLE)

    for record in (banded, fifo):
        resumed_s = min(one.begins_s for one in record.spans if one.task_id == 2)
        assert resumed_s == 600.0, "what is drained when the journal ends is resumed then"
    closed = [one for one in banded.spans if one.job_class == "maintenance"]
    chunks = [one for one in banded.spans if one.job_class == "development"]
    assert [(one.begins_s, one.ends_s) for one in closed] == [(60.0, 90.0)]
    assert not [one for one in chunks if one.begins_s < 90 and one.ends_s > 60]
    # Who knows no calendar sent all 1000 shots at once; the window waited for their end.
    assert [one.ends_s for one in fifo.spans if one.task_id == 1] == [204.0]


SITE = """\
default_class: development
job_classes: {{production: {{priority: 300}}, development: {{priority: 100}}}}
qpus:
  alpha: {{kind: simulated-qpu{more}}}
"""


@pytest.mark.parametrize(
    ("more", "told", "planned"),
    [
        ("", 1, 0),
        (", windows: []", 0, 0),
        (', windows: [{name: w, at: "08:00", length_s: 60, on: 2023-11-15}]', 0, 1),
    ],
)
def test_windows_are_the_site_files_or_where_it_says_nothing_the_journals(
    more: str, told: int, planned: int
) -> None:
    journal = Journal()
    window = Window("w", WindowKind.MAINTENANCE, START, START + 90 * MICROSECONDS)
    journal.add(0, WindowsChanged("alpha", (window,)))
    journal.submit(1, 1)
    journal.end(50, 1)

    site, recording = recorded_site(parse_site(SITE.format(more=more), "s"), journal.read())

    (qpu,) = site.qpus
    assert (len(recording.acts), len(qpu.rules.windows)) == (told, planned)
    assert site.start_at == recording.start_at == START
    if planned:
        # The recording starts on 2023-11-14 at 22:13:20 UTC.
        assert qpu.rules.windows[0].starts_at - START == (9 * 3600 + 46 * 60 + 40) * MICROSECONDS


def test_what_stays_held_is_left_and_said_to_be() -> None:
    journal = Journal()
    journal.submit(0, 1)
    journal.end(60, 1)
    journal.submit(5, 2, held=True)

    record = play(journal.read())

    assert (len(record.tasks), record.tasks_failed, record.tasks_left) == (1, 0, 1)
    assert record.makespan_s == pytest.approx(23.0)


def test_what_needs_the_success_of_a_task_that_fails_now_fails_as_well() -> None:
    journal = Journal()
    journal.submit(0, 1, shots=10_000, timing=Timing(time_limit_s=50.0))
    journal.end(40, 1, shots=10_000, device_s=30.0)
    needs = Timing(depends_on=(Dependency(1),))
    journal.submit(70, 2, timing=needs)
    journal.end(90, 2)
    journal.submit(5, 3, timing=needs)

    slow = journal.read()
    slow = replace(slow, tasks=tuple(replace(one, shot_s={"alpha": 0.2}) for one in slow.tasks))
    record = play(slow)

    assert (record.tasks_failed, len(record.tasks)) == (3, 0)


def test_no_delay_is_negative_where_the_qpus_need_different_set_ups() -> None:
    journal = Journal()
    journal.submit(0, 1, qpus=("alpha", "beta"))
    journal.submit(0, 2, qpus=("alpha", "beta"))
    journal.end(60, 2)
    slow, fast = (
        QpuTiming(name, setup_s=s, resume_s=s, calibration=None, shot_rate_hz=5.0)
        for name, s in (("alpha", 30.0), ("beta", 0.0))
    )
    site = SimulatedSite(CLASSES, (slow, fast))

    record = Rehearsal(journal.read(), BANDED, site, 0).run()

    assert [one.delay_s for one in record.tasks] == pytest.approx([0.0, 0.0])


def test_rates_and_set_ups_are_those_of_each_qpu() -> None:
    journal = Journal()
    both = ("alpha", "beta")
    for n, (layout, setup_s) in enumerate((("x", 14.0), ("x", 1.5), ("y", 14.0)), start=1):
        journal.submit(n, n, qpus=both, layout=layout)
        journal.add(n * 100, ChunkFinished(ChunkId(n, 0), 50, 50.0, setup_s), n)
        journal.add(n * 100 + 60, ChunkFinished(ChunkId(n, 1), 50, 50.0, 0.5), n)
    journal.submit(900, 4, qpus=both)
    journal.add(950, ChunkFinished(ChunkId(4, 0), 100, 0.5, 0.0), 4)

    recording = read_recording(journal.entries, {ChunkId(4, 0): "beta"})

    alpha, beta = recording.qpus["alpha"], recording.qpus["beta"]
    assert (alpha.shot_s, alpha.setup_s, alpha.switch_s, alpha.layout_s) == (1.0, 0.5, 1.0, 12.5)
    assert (beta.shot_s, beta.setup_s) == (0.005, 0.0)
    assert recording.tasks[3].shot_s == {"beta": 0.005}


async def _store(path: Path, journal: Journal) -> None:
    store = SqlStore(path)
    await store.open()
    rows = [
        JournalRow(n, one.at, one.kind, one.task_id, state=one.state, data=one.data)
        for n, one in enumerate(journal.entries, start=1)
    ]
    await store.apply([AddJournal(row) for row in rows])
    await store.close()


@pytest.fixture
async def store(tmp_path: Path) -> Path:
    journal = Journal()
    for n in range(1, 6):
        journal.submit(10 * n, n, job_class="production" if n == 5 else "development")
        journal.end(200 + 30 * n, n)
    path = tmp_path / "store.sqlite"
    await _store(path, journal)
    return path


def test_a_store_is_replayed_under_every_policy(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    with pytest.raises(SystemExit) as ended:
        main(["replay", str(store), "--site", SITE_FILE, "--html", str(page), "--processes", "1"])

    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "what befell the QPUs, as recorded" in text
    for name in ("fifo-whole", "fifo-polled", "priority-short-first", "banded"):
        assert f"| {name} | production |" in text
    assert "What the QPU did (the recording)" in page.read_text()
    assert "Job stretch</h3>" not in page.read_text()


def test_a_password_in_a_stores_url_is_on_no_page(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_journal, "read_journal", lambda *_: read_journal(store))
    monkeypatch.setattr(database_journal, "read_chunk_qpus", lambda *_: {})
    url, page = "postgresql://u:5entinel@h/d?password=5entinel", tmp_path / "page.html"
    with pytest.raises(SystemExit) as ended:
        main(["replay", url, "--site", SITE_FILE, "--html", str(page), "--processes", "1"])
    assert ended.value.code == 0
    said = capsys.readouterr()
    assert "Replay of d" in said.out
    assert "5entinel" not in said.out + said.err + page.read_text()


def test_a_store_is_read_without_being_touched(store: Path) -> None:
    before = store.read_bytes()

    rows = list(read_journal(store))

    assert [row.n for row in rows] == list(range(1, 16))
    assert store.read_bytes() == before


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no such file"):
        list(read_journal(tmp_path / "none.sqlite"))
    (tmp_path / "text").write_text("no database at all, but long enough for a header" * 4)
    with pytest.raises(StoreError, match="can't be read"):
        list(read_journal(tmp_path / "text"))
    other = sqlite3.connect(tmp_path / "other.sqlite")
    other.execute("CREATE TABLE journal (n INTEGER)")
    other.close()
    with pytest.raises(StoreError, match="not a manager's store"):
        list(read_journal(tmp_path / "other.sqlite"))


async def test_a_class_that_the_site_lacks_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = Journal()
    journal.submit(0, 1, job_class="developmnt")
    await _store(tmp_path / "s.sqlite", journal)

    with pytest.raises(SystemExit) as ended:
        main(["replay", str(tmp_path / "s.sqlite"), "--site", SITE_FILE])

    assert ended.value.code == 2
    assert "did you mean 'development'?" in capsys.readouterr().err


def test_a_task_that_was_stopped_early_takes_as_many_shots_as_it_took() -> None:
    journal = Journal()
    journal.submit(0, 1, shots=1000, min_shots=100)
    journal.add(60, StoppingRuleMet(1, 150, "enough"), 1)
    journal.end(60, 1, shots=150, device_s=30.0)
    journal.submit(0, 2, shots=40, min_shots=40)
    journal.add(70, StoppingRuleMet(2, 60, "with a chunk that gave more"), 2)
    journal.end(70, 2, shots=60, device_s=12.0)

    recording = journal.read()

    assert [one.spec.shots for one in recording.tasks] == [150, 40]
    assert play(recording).shots_counted == 190
