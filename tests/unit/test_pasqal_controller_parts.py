"""Parts of the controller's adapter: settings, messages, pace, the record of what was sent."""

from __future__ import annotations

import itertools
import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.errors import ConfigError, OperatorError, StoreError
from qpu_executor.model.values import ChunkId
from qpu_executor.qpus.pasqal_controller.adapter import build
from qpu_executor.qpus.pasqal_controller.connection import Connection
from qpu_executor.qpus.pasqal_controller.messages import (
    Job,
    JobStatus,
    NonsenseError,
    is_ours,
    mark_of,
    read_counts,
    read_job,
    read_operational,
    read_specs,
)
from qpu_executor.qpus.pasqal_controller.outcomes import Stay, times_of
from qpu_executor.qpus.pasqal_controller.pace import Pace
from qpu_executor.qpus.pasqal_controller.record import SentRecord
from qpu_executor.qpus.pasqal_controller.settings import ControllerSettings

URL = "http://controller:4300"


# -- settings -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "qpus.q.url: this setting is missing"),
        ({"url": "controller:4300"}, "an address such as http://controller:4300"),
        ({"url": "http://me:secret@controller"}, "an address such as"),
        ({"url": "http://[::1"}, "an address such as"),
        ({"url": URL, "anser_s": 3}, "unknown setting 'anser_s' (did you mean 'answer_s'?)"),
        ({"url": URL, "answer_s": 0}, "qpus.q.answer_s: 0 is no value"),
        ({"url": URL, "accept_s": float("nan")}, "qpus.q.accept_s"),
        ({"url": URL, "headers": {"X Y": "z"}}, "'X Y' can't be the name of a header"),
        ({"url": URL, "headers": {"X-Y": "a\r\nb: c"}}, "must be one line of text"),
    ],
)
def test_settings_that_can_t_be_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        build("q", settings)
    assert said in str(refused.value)
    assert "secret" not in str(refused.value)


def test_the_api_s_path_is_added_where_there_is_none() -> None:
    def base(url: str) -> str:
        return ControllerSettings.read("q", {"url": url}).base_url

    assert base(URL) == base(URL + "/") == URL + "/api/v1"
    assert base(URL + "/fresnel/api/v2/") == URL + "/fresnel/api/v2"


async def test_a_token_file_that_can_t_be_read_is_the_operator_s(tmp_path: Path) -> None:
    for name, text in (("missing", None), ("empty", ""), ("binary", "a\x00b")):
        path = tmp_path / name
        if text is not None:
            path.touch(mode=0o600)
            path.write_text(text)
        settings = ControllerSettings.read("q", {"url": URL, "token_file": str(path)})
        with pytest.raises(OperatorError) as refused:
            await Connection(settings).open()
        assert str(path) in str(refused.value)


# -- messages -----------------------------------------------------------------------


def test_a_job_is_read_and_its_mark_says_whose_it_is() -> None:
    mark = mark_of(uuid.UUID(int=7), ChunkId(3, 1))
    data = {"uid": 4, "status": "DONE", "nb_run": 5, "context": {"pasqman_job_id": mark}}
    job = read_job({"data": {**data, "start_datetime": "2026-11-22T10:00:00.5"}})
    assert (job.number, job.status, job.shots) == (4, JobStatus.DONE, 5)
    assert is_ours(job, mark, 5) is True
    assert is_ours(job, mark_of(uuid.UUID(int=8), ChunkId(3, 1)), 5) is False
    assert is_ours(Job(4, JobStatus.DONE, shots=5), mark, 5) is None
    assert is_ours(Job(4, JobStatus.DONE, shots=6), mark, 5) is False


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "DONE",
        {},
        {"data": []},
        {"data": {"uid": True, "status": "DONE"}},
        {"data": {"uid": "1", "status": "DONE"}},
        {"data": {"uid": -1, "status": "DONE"}},
        {"data": {"uid": 2**70, "status": "DONE"}},
        {"data": {"uid": 1, "status": "done"}},
        {"data": {"uid": 1, "status": ["DONE"]}},
        {"data": {"uid": 1}},
    ],
)
def test_what_is_no_job_is_told_apart(body: object) -> None:
    with pytest.raises(NonsenseError):
        read_job(body)
    with pytest.raises(NonsenseError):
        read_operational(body)
    with pytest.raises(NonsenseError):
        read_specs(body)


def test_counts_have_to_be_counts() -> None:
    assert read_counts('{"counter": {"01": 3, "11": 0}}', 2) == {"01": 3}
    for wrong in ('{"counter": {"01": 1.5}}', '{"counter": {"01": true}}', "[" * 10_000, "{}"):
        with pytest.raises(NonsenseError):
            read_counts(wrong, 2)


# -- times and pace -----------------------------------------------------------------


def test_the_controller_s_times_are_believed_where_they_can_be_right() -> None:
    stay = Stay(10, 3, sent_s=100.0, accepted_s=100.1, unfinished_s=101.0)
    job = Job(1, JobStatus.DONE, created_s=5e8, started_s=5e8 + 0.2, ended_s=5e8 + 1.2)
    device_s, setup_s = times_of(job, stay, 102.0, Pace())
    assert device_s == pytest.approx(1.0)
    assert setup_s == pytest.approx(0.2)
    for ended_s in (5e8 + 0.3, 5e8 + 60.0, 4e8):
        wrong = Job(1, JobStatus.DONE, created_s=5e8, started_s=5e8 + 0.2, ended_s=ended_s)
        assert times_of(wrong, stay, 102.0, Pace()) == (2.0, 0.0)


def first(pace: Pace, shots: int, looks: int, elapsed_s: float = 0.0) -> list[float]:
    return list(itertools.islice(pace.pauses(shots, elapsed_s), looks))


def test_nothing_known_the_pauses_grow_from_short_to_five_seconds() -> None:
    pauses = first(Pace(), 10, 30)
    assert pauses[0] == pytest.approx(0.01)
    assert pauses == sorted(pauses)
    assert pauses[-1] == 5.0


def test_a_measured_rate_says_when_to_look_first() -> None:
    pace = Pace()
    for _ in range(5):
        pace.took(10, device_s=40.0, setup_s=2.0)
    assert first(pace, 20, 1) == [pytest.approx(82.0)]
    assert first(pace, 20, 1, elapsed_s=80.0) == [pytest.approx(2.0)]
    assert first(pace, 20, 1, elapsed_s=100.0) == [0.0]
    assert sum(first(pace, 20, 8)) > 82.0
    assert pace.at_most_s(20) == pytest.approx(82.0)


def test_an_outlier_moves_nothing_and_a_new_rate_is_followed() -> None:
    pace = Pace(shot_s=1.0)
    assert pace.expected_s(10) == 10.0
    for _ in range(7):
        pace.took(10, 20.0, 0.0)
    pace.took(10, 500.0, 0.0)
    assert pace.expected_s(10) == pytest.approx(20.0)
    for _ in range(15):
        pace.took(10, 5.0, 0.0)
    assert pace.expected_s(10) == pytest.approx(5.0)


def test_first_looks_that_find_a_job_done_come_earlier_next_time() -> None:
    pace = Pace()
    pace.took(10, 0.05, 0.0)
    before = first(pace, 10, 1)[0]
    for _ in range(4):
        pace.looked(10, 1)
    earlier = first(pace, 10, 1)[0]
    assert before - 0.005 <= earlier < before
    for _ in range(10):
        pace.looked(10, 6)
    assert first(pace, 10, 1)[0] == pytest.approx(before)


# -- the record ---------------------------------------------------------------------


async def opened(path: Path) -> SentRecord:
    record = SentRecord(path)
    await record.open()
    return record


async def test_the_next_process_reads_what_was_sent(tmp_path: Path) -> None:
    path = tmp_path / "q.controller.jsonl"
    record = await opened(path)
    assert not record.complete
    await record.sending(ChunkId(1, 0), 50, 3, at=1000)
    record.accepted(ChunkId(1, 0), 17)
    await record.sending(ChunkId(2, 0), 20, 4, at=2000)
    record.saw_device('{"name": "x"}')
    await record.close()
    # A line that was being written when the power went.
    text = path.read_bytes().rstrip(b"\0")
    path.write_bytes(text + b'{"chunk": "9.9", "sho')
    again = await opened(path)
    first, second = again.find(ChunkId(1, 0)), again.find(ChunkId(2, 0))
    assert first is not None
    assert second is not None
    assert (first.number, first.shots, first.atoms) == (17, 50, 3)
    assert (second.number, second.before, second.never) == (None, 17, False)
    assert again.find(ChunkId(9, 9)) is None
    assert (again.newest, again.newest_mark) == (17, again.mark(ChunkId(1, 0)))
    assert (again.complete, again.device) == (True, '{"name": "x"}')
    assert again.mark(ChunkId(1, 0)) == record.mark(ChunkId(1, 0))
    await again.close()


async def test_a_full_file_is_written_anew_and_keeps_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "q.controller.jsonl"
    record = await opened(path)
    size = path.stat().st_size
    for n in range(8000):
        await record.sending(ChunkId(1, n), 10, 3, at=n)
    await record.close()
    assert path.stat().st_size < 1.1 * size
    again = await opened(path)
    assert again.find(ChunkId(1, 7999)) is not None
    assert again.find(ChunkId(1, 0)) is None
    await again.close()


@pytest.mark.parametrize(
    "text", ["", "{}\n", "[1]\n", "nonsense\n", json.dumps({"format": 99}) + "\n"]
)
async def test_a_foreign_file_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "q.controller.jsonl"
    path.write_text(text)
    with pytest.raises(StoreError, match="can't be used"):
        await opened(path)
    assert path.read_text() == text
