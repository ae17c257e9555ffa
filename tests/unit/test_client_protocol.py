"""The brain of the client, which does no I/O: addresses, errors, retries, events, results."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime, timedelta

import pytest

from qpu_executor.client import protocol
from qpu_executor.client.address import parse_address
from qpu_executor.client.events import EventParser
from qpu_executor.client.order import TaskOrder, to_request
from qpu_executor.client.problems import Reply, error_from, error_in, read_reply
from qpu_executor.client.result import Result, result_or_raise
from qpu_executor.client.retry import MAX_DELAY_S, NoAnswer, Patience, unreachable
from qpu_executor.client.waiting import RecentEnds
from qpu_executor.errors import (
    CallerError,
    ConfigError,
    InternalError,
    ManagerBusy,
    ManagerUnreachable,
    QpuExecutorError,
    RequestRefused,
    TaskFailed,
    error_types,
)
from qpu_executor.model.states import TaskState
from qpu_executor.programs.program import Program
from qpu_executor.wire.site import EventOut, HealthOut
from qpu_executor.wire.tasks import ResultOut, TaskOut

GET = protocol.health()
LOST = NoAnswer("refused", sent=False)


@pytest.mark.parametrize(
    ("text", "base", "socket"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080", None),
        (" http://head/ ", "http://head", None),
        ("http://[::1]:80/qpu/", "http://[::1]:80/qpu", None),
        ("unix:///run/q.sock", "http://manager", "/run/q.sock"),
    ],
)
def test_both_forms_of_an_address_are_read(text, base, socket):
    address = parse_address(text)
    assert (address.base, address.socket_path) == (base, socket)


@pytest.mark.parametrize(
    "text",
    ["", "head:8080", "ftp://x", "http://", "unix://host/x", "unix:", "http://h:port", "/run/q"],
)
def test_a_bad_address_is_refused_with_examples(text):
    with pytest.raises(ConfigError, match=r"\$QPU_MANAGER.*unix:///run.*http://127"):
        parse_address(text, where="$QPU_MANAGER")


def test_delays_grow_to_a_cap_and_end_with_the_time():
    patience = Patience(1000, started_at=50)
    delays = [patience.delay_s(LOST, GET, now=50, jitter=1.0) for _ in range(12)]
    assert delays[:4] == [0.05, 0.1, 0.2, 0.4]
    assert delays[-1] == MAX_DELAY_S
    assert patience.delay_s(LOST, GET, now=50, jitter=0.0) == MAX_DELAY_S / 2
    assert patience.delay_s(LOST, GET, now=1049.5, jitter=1.0) == 0.5
    assert patience.delay_s(LOST, GET, now=1050, jitter=1.0) is None


def test_a_busy_manager_says_itself_when_to_come_back():
    patience = Patience(100, started_at=0)
    assert patience.delay_s(ManagerBusy("b", retry_after_s=30), GET, now=0, jitter=0) == 30
    assert patience.delay_s(ManagerBusy("b", retry_after_s=30), GET, now=80, jitter=0) is None


def test_only_what_cannot_run_twice_is_repeated():
    may_be_done = NoAnswer("closed", sent=True)
    hold = protocol.hold([1])

    def delay(failure, request):
        return Patience(9, started_at=0).delay_s(failure, request, now=0, jitter=0)

    assert delay(may_be_done, hold) is None
    assert delay(LOST, hold) is not None
    assert delay(may_be_done, protocol.cancel([1])) is not None
    assert delay(may_be_done, GET) is not None
    assert "may have been done" in str(unreachable("http://h", may_be_done, hold, waited_s=0))


@pytest.mark.parametrize("code", sorted(error_types()))
def test_each_code_becomes_its_class_with_all_context(code):
    fields = {"detail": "d", "where": "w", "expected": "e", "next_step": "n", "code": code}
    fields |= {"rule": "r", "permanent": True}
    error = error_from(fields, status=400)
    assert type(error) is error_types()[code]
    assert (error.message, error.where, error.expected, error.next_step) == ("d", "w", "e", "n")
    assert getattr(error, "rule", "r") == "r"
    if code == TaskFailed.code:
        assert error.permanent


def test_unknown_codes_are_told_apart_by_status():
    assert type(error_from({"code": "new", "title": "t"}, status=409)) is CallerError
    assert type(error_from({"code": "new", "title": "t"}, status=500)) is InternalError


def test_a_success_that_is_not_ours_says_what_answered():
    reply = Reply(200, {"content-type": "text/html; x", "server": "nginx"}, b"<h1>hi")
    with pytest.raises(ManagerUnreachable, match=r"HTTP 200, text/html, server nginx, '<h1>hi'"):
        read_reply(reply, HealthOut, "http://h")
    assert isinstance(error_in(Reply(404, {}, b"nope"), "http://h"), ManagerUnreachable)
    assert isinstance(error_in(Reply(502, {}, b"\xff"), "http://h"), ManagerUnreachable)


def test_a_bare_503_is_busy_with_its_retry_after():
    error = error_in(Reply(503, {"retry-after": "7"}), "http://h")
    assert isinstance(error, ManagerBusy)
    assert error.retry_after_s == 7
    dated = error_in(Reply(429, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}), "http://h")
    assert isinstance(dated, ManagerBusy)
    assert dated.retry_after_s == 1


def test_events_are_the_same_however_their_bytes_are_cut():
    first = EventOut(type="task", task=3, state=TaskState.FAILED, reason="zé").model_dump_json()
    text = (
        f": heartbeat\r\n\r\nid: 7\r\ndata: {first}\r\n\r\n"
        'data: {"type":\ndata: "hello"}\n\ndata: {"type": "brand-new"}\n\nretry: 5\n\n'
        'data: {"type": "progress"}\n'
    ).encode()
    for size in (1, 2, 3, 7, len(text)):
        parser = EventParser()
        events = [
            event for at in range(0, len(text), size) for event in parser.feed(text[at : at + size])
        ]
        assert [(event.type, event.n, event.task, event.reason) for event in events] == [
            ("task", 7, 3, "zé"),
            ("hello", None, None, None),
        ]


def test_remembered_ends_say_how_far_back_they_reach():
    ends = RecentEnds(10, size=2)
    for n in (11, 12, 13):
        ends.add(n * 100, TaskState.COMPLETED, n)
    assert ends.state(1100) is None
    assert ends.reaches_back_to == 11
    assert ends.state(1300) is TaskState.COMPLETED


def test_an_order_keeps_its_key_and_its_origin_and_gets_a_key_otherwise():
    order = TaskOrder(Program("t", "x"), 5, key="k", key_origin="engine", session="mine")
    request = to_request(order, "default")
    assert (request.key, request.key_origin, request.session) == ("k", "engine", "mine")
    request = to_request(TaskOrder(Program("t", "x"), 5), "default")
    assert len(request.key or "") == 32
    assert (request.key_origin, request.session) == ("user", "default")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"shots": 0}, "shots=0"), ({"priority": 5000}, "priority=5000"), ({"seed": -1}, "seed=-1")],
)
def test_impossible_orders_are_refused_before_they_are_sent(options, message):
    order = TaskOrder(**({"program": Program("t", "x"), "shots": 1, "name": "n"} | options))
    with pytest.raises(RequestRefused, match=f"task 'n': {message} is not possible"):
        to_request(order, None)


def test_an_order_with_a_program_that_is_none_is_refused():
    with pytest.raises(RequestRefused, match="is a str"):
        to_request(TaskOrder("sequence", 1), None)


def test_queries_keep_their_commas_and_names_are_quoted():
    page = protocol.task_page(ids=[1, 2], states=[TaskState.QUEUED, TaskState.HELD], session="s/1")
    assert page.path == "/v1/tasks?limit=1000&ids=1,2&state=QUEUED,HELD&session=s%2F1"
    assert protocol.qpu("a/b").path == "/v1/qpus/a%2Fb"


def _task(state: TaskState = TaskState.COMPLETED, **more: object) -> TaskOut:
    start = datetime(2026, 1, 2, tzinfo=UTC)
    fields = {
        "id": 4, "name": "scan", "state": state, "job_class": "c", "priority": 0, "shots": 6,
        "shots_done": 6, "qpu": "q", "owner": "o", "account": "a", "session": None, "key": "k",
        "program_hash": "0" * 64, "seed": 1, "submitted_at": start,
        "started_at": start + timedelta(seconds=2), "ended_at": start + timedelta(seconds=5),
    }  # fmt: skip
    return TaskOut(**(fields | more))


def _result() -> Result:
    return Result.from_wire(
        ResultOut(
            task=_task(), counts={"00": 1, "01": 2, "10": 3, "11": 0}, shots=6, duration_ns=900,
            qubit_ids=["a", "b"], qpu="q", device="D", emulated=True, epochs=["e"], chunks=[],
            history=[], versions={"v": "1"},
        )
    )  # fmt: skip


def test_a_result_pickles_reads_well_and_knows_its_times():
    result = _result()
    assert pickle.loads(pickle.dumps(result)) == result
    assert (result.wait_s, result.run_s) == (2, 3)
    assert repr(result) == (
        "<Result of task 4 'scan': 6 shots on q (emulated), {10: 3, 01: 2, 00: 1, ...}>"
    )


def test_a_result_becomes_pulsers_own():
    pytest.importorskip("pulser")
    found = _result().to_pulser()
    assert found.atom_order == ("a", "b")
    assert found.total_duration == 900
    assert found.final_bitstrings == {"00": 1, "01": 2, "10": 3, "11": 0}


def test_a_failed_task_raises_a_new_error_each_time():
    end = _task(TaskState.FAILED, error="no light", permanent=False)
    raised: list[QpuExecutorError] = []
    for _ in range(2):
        with pytest.raises(TaskFailed, match="task 4 'scan' on q: no light") as caught:
            result_or_raise(end)
        raised.append(caught.value)
    assert raised[0] is not raised[1]
    assert not raised[0].permanent


def test_shared_programs_travel_once_and_defaults_not_at_all():
    shared, other = Program("t", "shared"), Program("t", "other")
    tasks = [to_request(TaskOrder(p, 1, key="k"), None) for p in (shared, shared, other)]
    request = protocol.submission(tasks, {p.hash: p for p in (shared, other)})
    body = json.loads(request.body or b"")
    assert set(body["programs"]) == {shared.hash, other.hash}
    assert body["tasks"][0] == {"program_hash": shared.hash, "shots": 1, "key": "k"}
    assert request.repeatable
    assert "idempotency-key" not in request.headers
