"""More than a manager can take, and callers that dawdle: refused or cut, and nobody is harmed."""

from __future__ import annotations

import json
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from qpu_executor.client import connect
from qpu_executor.errors import ManagerBusy
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.testing.sequences import small_sequence

SITE = """
manager:
  listen: {listen}
  store: store.sqlite
  limits:
    max_body_bytes: 1000000
    requests_per_caller: 4
    connections_per_caller: 40
    event_streams_per_caller: 3
    request_s: REQUEST_S
    answer_s: 1
default_class: development
job_classes:
  development: {{priority: 100, chunk_s: 10}}
qpus:
  emulator: {{kind: pulser-emulator, device: AnalogDevice, workers: 1}}
"""

MB = 1_000_000


@pytest.fixture(scope="module")
def patient(make_shared: Callable[..., Any]) -> Any:
    """A manager that waits long for requests, so that they can be kept under way."""
    return make_shared(site=SITE.replace("REQUEST_S", "60"))


@pytest.fixture(scope="module")
def strict(make_shared: Callable[..., Any]) -> Any:
    """A manager that waits for requests for seconds: longer than a busy host keeps one back."""
    return make_shared(site=SITE.replace("REQUEST_S", "4"))


@contextmanager
def raw(manager: Any, sent: bytes = b"") -> Iterator[socket.socket]:
    """A connection that is none of a proper client."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as found:
        found.settimeout(60)
        found.connect(manager.url.removeprefix("unix://"))
        found.sendall(sent)
        yield found


def until_closed(connection: socket.socket) -> bytes:
    pieces = []
    try:
        while piece := connection.recv(65_536):
            pieces.append(piece)
    except ConnectionError:
        pass
    return b"".join(pieces)


def answer(connection: socket.socket) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON of the one answer that is sent next."""
    with connection.makefile("rb") as file:
        status = int(file.readline().split()[1])
        headers = {}
        while line := file.readline().decode().strip():
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        return status, headers, json.loads(file.read(int(headers["content-length"])))


def asked(manager: Any, method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
    """Status and JSON of a request on a connection of its own."""
    with raw(manager, request(method, path, body)) as connection:
        status, _, found = answer(connection)
        return status, found


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: manager", "content-type: application/json"]
    if body:
        lines.append(f"content-length: {len(body)}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def begun() -> bytes:
    """A submission whose body doesn't come."""
    return request("POST", "/v1/tasks", content_length="100") + b"{"


def lives_on(manager: Any) -> None:
    with manager.connect() as client:
        assert client.submit(to_program(small_sequence()), 3).result(timeout=120).shots == 3
    assert "Traceback" not in manager.log


def chunks(size: int) -> Iterator[bytes]:
    for _ in range(size // MB):
        yield b"f4240\r\n" + b" " * MB + b"\r\n"


@pytest.mark.parametrize("how", ["said", "chunked"])
def test_body_of_100_mb_is_refused_while_it_is_read_and_never_held(patient: Any, how: str) -> None:
    process = psutil.Process(patient.pid)
    before = process.memory_info().rss
    most = before
    if how == "said":
        head = request("POST", "/v1/tasks", content_length=str(100 * MB))
        pieces: Iterator[bytes] = iter([b" " * MB] * 100)
    else:
        head = request("POST", "/v1/tasks", transfer_encoding="chunked")
        pieces = chunks(100 * MB)
    with raw(patient, head) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
                most = max(most, process.memory_info().rss)
        except ConnectionError:
            pass  # it was answered, and then cut off
        status, headers, problem = answer(connection)
    assert status == 413
    assert headers["content-type"] == "application/problem+json"
    assert problem["code"] == "request-refused"
    assert "max_body_bytes" in problem["expected"]
    assert most - before < 30 * MB
    lives_on(patient)


def test_body_that_is_expected_to_be_refused_isn_t_sent(patient: Any) -> None:
    head = request("POST", "/v1/tasks", content_length=str(100 * MB), expect="100-continue")
    with raw(patient, head) as connection:
        assert answer(connection)[0] == 413


def test_slow_requests_are_cut_and_others_are_answered_meanwhile(strict: Any) -> None:
    ends: dict[str, bytes] = {}

    def dawdle(name: str, sent: bytes) -> None:
        with raw(strict, sent) as connection:
            ends[name] = until_closed(connection)

    slow = {
        "nothing": b"",
        "head": b"GET /v1/health HTTP/1.1\r\nhost: ",
        "body": begun(),
        "second": request("GET", "/v1/health") + b"GET /v1/he",
    }
    threads = [threading.Thread(target=dawdle, args=one) for one in slow.items()]
    for thread in threads:
        thread.start()
    assert asked(strict, "GET", "/v1/tasks")[0] == 200
    for thread in threads:
        thread.join(60)
    assert ends["nothing"] == b""
    for name in ("head", "body"):
        assert ends[name].startswith(b"HTTP/1.1 408"), name
        assert b"application/problem+json" in ends[name], name
    assert ends["second"].startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in ends["second"]
    lives_on(strict)


def test_byte_by_byte_doesn_t_make_the_time_for_a_request_longer(strict: Any) -> None:
    with raw(strict, begun()) as connection:
        connection.settimeout(0.1)
        received = b""
        for _ in range(600):
            try:
                connection.sendall(b" ")
                received = connection.recv(65_536)
                break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        else:
            pytest.fail("it was never cut")
    assert received == b"" or received.startswith(b"HTTP/1.1 408")
    lives_on(strict)


def test_answers_that_nobody_reads_are_cut(strict: Any) -> None:
    with raw(strict, request("GET", "/openapi.json") * 20) as connection:
        hung_up = select.poll()
        hung_up.register(connection, select.POLLHUP)
        assert hung_up.poll(60_000), "without having been read"
        said = until_closed(connection)
    assert said.count(b"HTTP/1.1 200") < 20
    lives_on(strict)


def test_caller_with_too_much_under_way_gets_a_429_and_the_urgent_is_answered(
    patient: Any,
) -> None:
    with ExitStack() as under_way:
        for _ in range(4):
            under_way.enter_context(raw(patient, begun()))
        with raw(patient) as connection:
            status = 200
            while status == 200:  # until all four are being read
                connection.sendall(request("GET", "/v1/tasks"))
                status, headers, problem = answer(connection)
            assert status == 429
            assert headers["retry-after"] == "1"
            assert headers["content-type"] == "application/problem+json"
            assert problem["where"] == "limits.requests_per_caller"
            assert not problem["permanent"]
            connection.sendall(request("GET", "/v1/health"))
            assert answer(connection)[0] == 200
            connection.sendall(request("POST", "/v1/qpus/emulator/resume"))
            assert answer(connection)[0] == 200, "an operator's request"
        with (
            pytest.raises(ManagerBusy, match="4 requests under way") as caught,
            connect(patient.url, wait_s=0.5) as client,
        ):
            client.tasks()
        assert (caught.value.own_limit, caught.value.retry_after_s) == (True, 1.0)
        with patient.connect() as client:
            found: list[Any] = []
            waiting = threading.Thread(
                target=lambda: found.append(client.submit(to_program(small_sequence()), 3))
            )
            waiting.start()
            under_way.close()
            waiting.join(60)
            assert found[0].result(timeout=120).shots == 3
    lives_on(patient)


def test_event_streams_beyond_the_limit_are_refused_until_one_ends(patient: Any) -> None:
    def opened(connection: socket.socket) -> int:
        return int(connection.recv(65_536).split()[1])

    with ExitStack() as open_streams:
        streams: list[socket.socket] = []
        while len(streams) < 3:  # one of an earlier test may not be known to have ended yet
            one = open_streams.enter_context(raw(patient, request("GET", "/v1/events")))
            streams += [one] if opened(one) == 200 else []
        status, problem = asked(patient, "GET", "/v1/events")
        assert (status, problem["where"]) == (429, "limits.event_streams_per_caller")
        streams[0].close()
        while status == 429:
            with raw(patient, request("GET", "/v1/events")) as again:
                status = opened(again)
        assert status == 200


def test_connections_beyond_the_limit_hear_why_and_the_urgent_is_answered(patient: Any) -> None:
    with ExitStack() as idle:
        for _ in range(40):
            idle.enter_context(raw(patient))
        status = 200
        while status == 200:  # until all are taken
            with raw(patient, request("GET", "/v1/tasks")) as connection:
                status, headers, problem = answer(connection)
        assert (status, headers["connection"]) == (429, "close")
        assert problem["where"] == "limits.connections_per_caller"
        assert asked(patient, "GET", "/v1/health")[0] == 200
        assert asked(patient, "POST", "/v1/qpus/emulator/resume")[0] == 200
    while asked(patient, "GET", "/v1/tasks")[0] != 200:
        pass
    lives_on(patient)


ODD = {
    "deep nesting": (request("POST", "/v1/tasks", b"[" * 200_000), 400),
    "deep nesting of a field": (
        request("POST", "/v1/tasks", b'{"tasks": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001),
        400,
    ),
    "a number of 100000 digits": (
        request("POST", "/v1/tasks", b'{"tasks": [{"shots": ' + b"9" * 100_000 + b"}]}"),
        400,
    ),
    "invalid UTF-8": (request("POST", "/v1/tasks", b'{"tasks": "\xff\xfe"}'), 400),
    "another content type": (
        request("POST", "/v1/tasks", b"<xml/>").replace(b"application/json", b"text/xml"),
        400,
    ),
    "no content type": (
        request("POST", "/v1/tasks", b"{}").replace(b"content-type: application/json\r\n", b""),
        400,
    ),
    "a header of 100 kB": (request("GET", "/v1/health", x="y" * 100_000), 431),
    "a path of 100 kB": (request("GET", "/v1/" + "y" * 100_000), 431),
    "300 headers": (request("GET", "/v1/health", **{f"x{i}": "y" for i in range(300)}), 431),
    "no HTTP": (b"\x16\x03\x01 hello there\r\n\r\n", 400),
    "two lengths": (
        request("POST", "/v1/tasks", content_length="1").replace(
            b"\r\n\r\n", b"\r\ncontent-length: 9\r\n\r\n{"
        ),
        400,
    ),
    "a length that is none": (request("POST", "/v1/tasks", content_length="-5"), 400),
    "a path that is no text": (request("GET", "/v1/health").replace(b"/v1/h", b"/v1/\xff"), 400),
}


@pytest.mark.parametrize("what", ODD)
def test_odd_requests_get_a_problem_document(patient: Any, what: str) -> None:
    sent, expected = ODD[what]
    with raw(patient, sent) as connection:
        status, headers, problem = answer(connection)
    assert (status, headers["content-type"]) == (expected, "application/problem+json")
    assert problem["status"] == expected
    assert asked(patient, "GET", "/v1/health")[0] == 200
    assert "Traceback" not in patient.log


def test_pipelined_requests_are_answered_in_order(patient: Any) -> None:
    paths = ["/v1/health", "/v1/classes", "/v1/qpus/nope", "/v1/sessions"]
    sent = b"".join(request("GET", path) for path in paths)
    with raw(patient, sent + request("GET", "/v1/health", connection="close")) as connection:
        said = until_closed(connection)
    assert [int(one[:3]) for one in said.split(b"HTTP/1.1 ")[1:]] == [200, 200, 400, 200, 200]


def test_half_closed_and_vanished_connections_leave_nothing_behind(patient: Any) -> None:
    before = sockets_of(patient.pid)
    for sent in (begun(), request("GET", "/v1/events"), request("GET", "/v1/tasks"), b"GET"):
        with raw(patient, sent) as connection:
            connection.shutdown(socket.SHUT_WR)
            until_closed(connection)
        with raw(patient, sent):
            pass
    while sockets_of(patient.pid) > before:  # they are closed as soon as the manager sees it
        pass
    lives_on(patient)


def sockets_of(pid: int) -> int:
    """Open sockets of a process; the store's files come and go with its readers."""
    return sum(one.is_socket() for one in Path(f"/proc/{pid}/fd").iterdir() if one.exists())
