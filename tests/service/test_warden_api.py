"""Warden's protocol at a real manager, byte by byte: shapes, refusals, who may what."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pulser
import pytest

from qpu_executor import munge
from qpu_executor.client import Client, SessionTerms, connect
from qpu_executor.errors import RequestRefused
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.testing.munged import Munged
from qpu_executor.testing.sequences import small_sequence
from qpu_executor.wire.tokens import TokenRequest

SITE = """
manager:
  listen: {listen}
  store: store.sqlite
  authentication: AUTH
default_class: development
job_classes:
  production: {{priority: 300, chunk_s: 30}}
  development: {{priority: 100, chunk_s: 10, max_shots: 5000}}
  quick: {{priority: 200, chunk_s: 1}}
  elsewhere: {{priority: 100, chunk_s: 10, qpus: [emulator], device_of: machine}}
  rehearsal: {{priority: 100, chunk_s: 10, qpus: [machine]}}
qpus:
  emulator: {{kind: pulser-emulator, device: AnalogDevice, workers: 1}}
  machine: {{kind: simulated-qpu, device: AnalogDevice, shot_rate_hz: 50}}
"""
LOOPBACK = "http://127.0.0.1:0"
ADA, BOB = 64001, 64002


@dataclass
class Caller:
    """Speaks Warden's protocol as somebody."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)
    resource: str = "emulator"

    def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON of a request; `body`: bytes as they are, anything else as JSON."""
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        every = {**self.headers, "content-type": "application/json"}
        every |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=120)
        with contextlib.closing(connection):
            connection.request(method, f"/warden/{self.resource}{path}", sent, every)
            answer = connection.getresponse()
            found = json.loads(answer.read())
        assert isinstance(found, dict)
        return answer.status, found

    def start(self, session: str, shots: int = 20, sequence: str | None = None) -> dict[str, Any]:
        """A job, accepted."""
        status, job = self.submit(session, shots, sequence)
        assert status == 200, job
        return job

    def submit(
        self, session: str, shots: Any = 20, sequence: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        wanted = {"sequence": SEQUENCE if sequence is None else sequence, "shots": shots}
        return self.ask("POST", "/jobs", wanted, x_warden_session=session)

    def acquire(self, uid: int = ADA) -> str:
        status, session = self.ask(
            "POST", "/sessions", {"user_id": str(uid), "slurm_job_id": "77", "qpu_slots": 2}
        )
        assert status == 200, session
        return str(session["id"])

    def ended(self, job: dict[str, Any]) -> dict[str, Any]:
        """The job once it has ended; the test's own time limit ends this."""
        while True:
            status, found = self.ask("GET", f"/jobs/{job['id']}")
            assert status == 200, found
            if found["status"] not in ("PENDING", "RUNNING"):
                return found
            time.sleep(0.02)  # Warden's protocol has nothing to wait with


@pytest.fixture(scope="module")
def served(make_shared: Callable[..., Any]) -> Any:
    return make_shared(LOOPBACK, SITE.replace("AUTH", "[peer, token]"))


@pytest.fixture(scope="module")
def operator(served: Any) -> Iterator[Client]:
    with connect(served.url) as client:
        yield client


@pytest.fixture(scope="module")
def who(served: Any, operator: Client) -> Callable[..., Caller]:
    """Callers by the uid of their token."""

    def make(uid: int, roles: list[str] | None = None, resource: str = "emulator") -> Caller:
        asked = TokenRequest(user=f"uid-{uid}", roles=roles or [])
        token = operator.issue_token(asked).token
        return Caller(served.url, {"authorization": f"Bearer {token}"}, resource)

    return make


@pytest.fixture(scope="module")
def prolog(who: Callable[..., Caller]) -> Caller:
    return who(64000, ["service"])


@pytest.fixture(scope="module")
def ada(who: Callable[..., Caller]) -> Caller:
    return who(ADA)


@pytest.fixture(scope="module")
def bob(who: Callable[..., Caller]) -> Caller:
    return who(BOB)


@pytest.fixture
def session(prolog: Caller) -> str:
    return prolog.acquire()


SEQUENCE = to_program(small_sequence()).content


# -- shapes -----------------------------------------------------------------------------------


def test_every_answer_has_the_fields_and_types_that_the_client_reads(
    ada: Caller, prolog: Caller, session: str
) -> None:
    status, said = Caller(ada.url).ask("GET", "/accessible")
    assert (status, said) == (200, {"is_accessible": True, "message": "emulator is online"})
    status, specs = ada.ask("GET", "/qpu/specs")
    assert json.loads(specs["specs"])["name"] == "AnalogDevice"
    job = ada.start(session)
    assert set(job) == {"id", "user_id", "status", "results"}
    assert (type(job["id"]), job["user_id"]) == (int, str(ADA))
    assert 0 < job["id"] < 2**31
    assert job["status"] in ("PENDING", "RUNNING", "DONE")
    done = ada.ended(job)
    assert done["status"] == "DONE"
    counter = json.loads(done["results"])["counter"]
    assert sum(counter.values()) == 20
    assert {len(bits) for bits in counter} == {3}
    assert ada.ask("POST", f"/jobs/{job['id']}/cancel") == (200, done), "it has ended: as it is"
    status, logs = ada.ask("GET", f"/jobs/{job['id']}/logs")
    assert (status, type(logs["logs"])) == (200, str)
    assert "20 of 20 shots counted" in logs["logs"]
    assert "counter" not in logs["logs"]
    status, closed = prolog.ask("DELETE", f"/sessions/{session}")
    assert (status, closed["id"], closed["user_id"]) == (200, session, str(ADA))


def test_a_task_of_warden_s_is_a_task_like_any_other(
    ada: Caller, prolog: Caller, served: Any, operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"user_id": str(ADA), "slurm_job_id": "78", "account": "lattices"}
    session = prolog.ask("POST", "/sessions", asked)[1]["id"]
    monkeypatch.setenv("QPU_TOKEN", ada.headers["authorization"].partition(" ")[2])
    with connect(served.url) as hers:
        urgent = Caller(served.url, prolog.headers, "emulator:production").acquire()
        for resource, given, job_class in (
            ("emulator", session, "development"),
            ("emulator:quick", session, "quick"),
            ("emulator", urgent, "production"),
            ("emulator:quick", urgent, "quick"),
        ):
            caller = Caller(served.url, ada.headers, resource)
            task = hers.task(caller.start(given)["id"]).info
            assert task.job_class == job_class
            assert (task.owner, task.session) == (f"uid-{ADA}", given)
            assert task.qpu_asked == "emulator"
            assert task.account == ("lattices" if given == session else f"uid-{ADA}")
        assert hers.session(session).name == "Slurm job 78"
        assert hers.session(urgent).job_class == "production"


def test_a_class_that_is_not_there_opens_no_session(operator: Client) -> None:
    with pytest.raises(RequestRefused, match="did you mean 'production'"):
        operator.open_session(terms=SessionTerms(job_class="producton"))


def test_a_class_that_develops_for_a_qpu_takes_its_jobs_where_the_site_says(
    ada: Caller, session: str
) -> None:
    there = Caller(ada.url, ada.headers, "machine:elsewhere")
    job = there.start(session)
    assert there.ended(job)["status"] == "DONE"
    assert "sent to emulator" in there.ask("GET", f"/jobs/{job['id']}/logs")[1]["logs"]
    refused = Caller(ada.url, ada.headers, "emulator:rehearsal").submit(session)
    assert refused[0] == 400
    assert "may not use QPU emulator" in refused[1]["detail"]


def test_a_waiting_job_says_why_and_a_cancelled_one_keeps_its_partial_counts(
    who: Callable[..., Caller], prolog: Caller
) -> None:
    caller = who(ADA, resource="machine:quick")
    session = prolog.acquire()
    first = caller.start(session, 3000)
    second = caller.start(session, 4000)
    status, said = caller.ask("GET", f"/jobs/{second['id']}/logs")
    assert status == 200
    for part in ("it waits: ", "place in line: 1", "expected start: "):
        assert part in said["logs"]
    assert caller.ask("GET", f"/jobs/{second['id']}")[1]["results"] is None
    cancelled = caller.ask("POST", f"/jobs/{second['id']}/cancel")[1]
    assert (cancelled["status"], cancelled["results"]) == ("CANCELED", None)
    path = f"/jobs/{first['id']}"
    while "chunk 0 FINISHED" not in caller.ask("GET", f"{path}/logs")[1]["logs"]:
        time.sleep(0.02)  # Warden's protocol has nothing to wait with
    assert caller.ask("GET", path)[1]["results"] is None, "partial counts are no result yet"
    caller.ask("POST", f"{path}/cancel")
    ended = caller.ended(first)
    shots = sum(json.loads(ended["results"])["counter"].values())
    assert ended["status"] == "CANCELED"
    assert 0 < shots < 3000
    assert f"{shots} of 3000 shots counted" in caller.ask("GET", f"{path}/logs")[1]["logs"]


# -- who may what -----------------------------------------------------------------------------


def test_only_services_acquire_and_only_for_whom_they_say(ada: Caller, prolog: Caller) -> None:
    asked = {"user_id": str(ADA), "slurm_job_id": "1"}
    status, said = ada.ask("POST", "/sessions", asked)
    assert (status, said["code"]) == (403, "not-allowed")
    assert Caller(ada.url, {"authorization": "Bearer x"}).ask("POST", "/sessions", asked)[0] == 401
    assert prolog.submit(prolog.acquire())[0] == 403, "it is ada's, not the prolog's"


def test_another_user_gets_in_nowhere_and_sees_nothing(
    ada: Caller, bob: Caller, session: str
) -> None:
    job = ada.start(session)
    said = [bob.submit(session)]
    for method, path in (
        ("GET", f"/jobs/{job['id']}"),
        ("POST", f"/jobs/{job['id']}/cancel"),
        ("GET", f"/jobs/{job['id']}/logs"),
        ("DELETE", f"/sessions/{session}"),
    ):
        said.append(bob.ask(method, path))
        # The answer is the one for what was never there.
        nothing = path.replace(str(job["id"]), "2000000000").replace(session, "f" * 32)
        unknown = bob.ask(method, nothing)
        assert unknown[0] == said[-1][0]
        assert str(unknown[1]).replace("2000000000", str(job["id"])).replace(
            "f" * 32, session
        ) == str(said[-1][1])
    assert [status for status, _ in said] == [403, 404, 404, 404, 404]
    assert ada.ended(job)["status"] == "DONE"


def test_a_job_needs_an_open_session_of_its_user(ada: Caller, prolog: Caller) -> None:
    session = prolog.acquire()
    wanted = {"sequence": SEQUENCE, "shots": 20}
    assert ada.ask("POST", "/jobs", wanted)[0] == 403
    assert ada.submit("")[0] == 403
    assert ada.submit("no-such-session")[0] == 403
    waiting = Caller(ada.url, ada.headers, "machine").start(session, 3000)
    assert prolog.ask("DELETE", f"/sessions/{session}")[0] == 200
    assert prolog.ask("DELETE", f"/sessions/{session}")[0] == 200, "twice is once"
    status, said = ada.submit(session)
    assert (status, "is closed" in said["detail"]) == (403, True)
    status, found = ada.ask("GET", f"/jobs/{waiting['id']}")
    assert status == 200
    assert found["status"] in ("PENDING", "RUNNING"), "its jobs go on"
    ada.ask("POST", f"/jobs/{waiting['id']}/cancel")
    own = prolog.acquire()
    assert ada.ask("DELETE", f"/sessions/{own}")[0] == 200, "users close their own"


# -- what can't be right ------------------------------------------------------------------------


@pytest.mark.parametrize("shots", [-5, 0, 10**12, 10**30, 6000, 1.5, "20", None, True, [20]])
def test_impossible_shots_are_a_clear_refusal(ada: Caller, session: str, shots: Any) -> None:
    status, said = ada.submit(session, shots)
    assert status in (400, 422)
    assert "shots" in str(said)
    assert said["code"] == "request-refused"


@pytest.mark.parametrize(
    "sequence", ["", "{}", "text", "[]", "\ud800", "null", "9" * 5000, "[" * 10**5]
)
def test_what_is_no_sequence_is_refused_before_it_is_a_job(
    ada: Caller, session: str, sequence: str
) -> None:
    status, said = ada.submit(session, 20, sequence)
    assert status in (400, 422), said
    assert said["detail"]
    assert "Traceback" not in str(said)


def test_a_sequence_that_the_device_forbids_says_which_rule(ada: Caller, session: str) -> None:
    too_long = to_program(small_sequence(pulser.MockDevice, duration_ns=9000)).content
    status, said = ada.submit(session, 20, too_long)
    assert (status, said["code"]) == (422, "program-refused")
    assert "AnalogDevice" in said["detail"] or "duration" in str(said)


def test_twenty_megabytes_are_refused_and_harm_nobody(ada: Caller, session: str) -> None:
    status, said = ada.submit(session, 20, "x" * 20_000_000)
    assert status in (400, 413, 422), said
    assert len(str(said)) < 5000
    assert ada.ended(ada.start(session))["status"] == "DONE"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/sessions", b"{"),
        ("POST", "/sessions", b"\xff\xfe"),
        ("POST", "/sessions", b"[]"),
        ("POST", "/sessions", b"{}"),
        ("POST", "/sessions", b'{"user_id": 1000, "slurm_job_id": 77}'),
        ("POST", "/sessions", b'{"user_id": "ada", "slurm_job_id": "77"}'),
        ("POST", "/sessions", b'{"user_id": "4294967295", "slurm_job_id": "77"}'),
        ("POST", "/sessions", b'{"user_id": "1000", "slurm_job_id": ""}'),
        ("POST", "/sessions", b'{"user_id": "1000", "slurm_job_id": "\\ud800"}'),
        ("POST", "/sessions", b'{"user_id": "1000", "slurm_job_id": "7", "account": "\\ud800"}'),
        ("POST", "/sessions", b'{"user_id": "1000", "slurm_job_id": "7\\u0000"}'),
        ("POST", "/sessions", b'{"user_id": "1000", "slurm_job_id": "7", "account": "\\u0000"}'),
        ("DELETE", "/sessions/%00", None),
        ("DELETE", "/sessions/" + "f" * 65, None),
        ("POST", "/jobs", b"null"),
        ("POST", "/jobs", b'{"shots": 1}'),
        ("POST", "/jobs", b'{"sequence": {}, "shots": 1}'),
        ("GET", "/jobs/x", None),
        ("GET", "/jobs/-1", None),
        ("GET", "/jobs/99999999999999999999", None),
        ("POST", "/jobs/99999999999999999999/cancel", None),
        ("GET", "/jobs/2000000000", None),
        ("GET", "/nothing", None),
    ],
)
def test_junk_is_a_refusal_that_says_what_was_wrong(
    prolog: Caller, method: str, path: str, body: bytes | None
) -> None:
    status, said = prolog.ask(method, path, body, x_warden_session=prolog.acquire(64000))
    assert 400 <= status < 500, said
    assert said["detail"]


@pytest.mark.parametrize(
    ("resource", "said"),
    [
        ("emulatr", "did you mean 'emulator'"),
        ("emulator:", "no job class"),
        ("emulator:producton", "did you mean 'production'"),
    ],
)
def test_an_unknown_resource_names_the_nearest(ada: Caller, resource: str, said: str) -> None:
    status, problem = Caller(ada.url, ada.headers, resource).ask("GET", "/accessible")
    assert (status, said in problem["detail"]) == (400, True)


def test_a_qpu_that_operators_drain_is_not_accessible_and_says_so(
    ada: Caller, operator: Client
) -> None:
    operator.drain("machine", "laser service")
    there = Caller(ada.url, resource="machine")
    assert there.ask("GET", "/accessible") == (
        200,
        {"is_accessible": False, "message": "machine is paused: laser service"},
    )
    operator.resume("machine")
    assert there.ask("GET", "/accessible")[1]["is_accessible"] is True


# -- MUNGE --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def munged(munged_installed: None) -> Iterator[Munged]:
    daemon = Munged()
    daemon.start()
    yield daemon
    daemon.close()


@pytest.fixture(scope="module")
def proven(make_shared: Callable[..., Any], munged: Munged) -> Caller:
    """A caller at a manager that takes nothing but MUNGE."""
    auth = f"[{{{{kind: munge, socket: {munged.socket}}}}}]"
    return Caller(make_shared(LOOPBACK, SITE.replace("AUTH", auth)).url)


def test_an_empty_credential_proves_who_asks_once(proven: Caller, munged: Munged) -> None:
    credential = munge.encode(socket=munged.socket)
    assert proven.ask("GET", "/qpu/specs", x_munge_cred=credential)[0] == 200
    status, said = proven.ask("GET", "/qpu/specs", x_munge_cred=credential)
    assert (status, "used before" in said["detail"]) == (401, True)


@pytest.mark.parametrize("credential", ["", "x", "MUNGE:AAAA:", "MUNGE:" + "A" * 20_000 + ":"])
def test_a_malformed_credential_is_a_401(proven: Caller, credential: str) -> None:
    status, said = proven.ask("GET", "/qpu/specs", x_munge_cred=credential)
    assert (status, said["code"]) == (401, "not-authenticated")


def test_without_a_credential_nothing_is_told_but_accessible(proven: Caller) -> None:
    assert proven.ask("GET", "/accessible")[0] == 200
    for method, path in (
        ("GET", "/qpu/specs"),
        ("DELETE", "/sessions/x"),
        ("GET", "/jobs/1"),
        ("POST", "/jobs/1/cancel"),
        ("GET", "/jobs/1/logs"),
    ):
        assert proven.ask(method, path)[0] == 401, path


def test_while_munged_is_down_callers_are_told_to_come_back(proven: Caller, munged: Munged) -> None:
    credential = munge.encode(socket=munged.socket)
    munged.stop()
    try:
        status, said = proven.ask("GET", "/qpu/specs", x_munge_cred=credential)
        assert (status, said["code"]) == (503, "manager-busy")
    finally:
        munged.start()
    fresh = munge.encode(socket=munged.socket)
    assert proven.ask("GET", "/qpu/specs", x_munge_cred=fresh)[0] == 200
