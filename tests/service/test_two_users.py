"""Two users of one host over TCP: each is known by the kernel's word, and sees only their own."""

from __future__ import annotations

import encodings.idna  # noqa: F401  (the child can no longer load modules)
import http.client
import json
import os
import sqlite3
import traceback
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pytest

from qpu_executor.client import SessionTerms
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.testing.sequences import small_sequence

NOBODY = 65534

KEPT_SITE = """
manager:
  listen: {listen}
  store: store.sqlite
  time_scale: 2
policy: fifo
default_class: development
job_classes:
  development: {{priority: 100, chunk_s: 30}}
qpus:
  rehearsal:
    kind: simulated-qpu
    shot_rate_hz: 5
    keep_warm: {{max_linger_s: 1000}}
"""

pytestmark = [
    pytest.mark.root,
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


def as_user(uid: int, url: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Status and JSON of a request that a process of another user makes."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            os.write(writing, json.dumps([answer.status, answer.read().decode()]).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        status, text = json.loads(pipe.read())
    os.waitpid(child, 0)
    return status, json.loads(text)


def test_the_other_user_is_somebody_else(tcp_manager: Any) -> None:
    status, health = as_user(NOBODY, tcp_manager.url, "GET", "/v1/health")
    assert (status, health["caller"]) == (200, "nobody")
    with tcp_manager.connect() as client:
        assert client.health().caller == "root"


def test_the_other_user_neither_sees_nor_touches_my_tasks(tcp_manager: Any) -> None:
    program = to_program(small_sequence())
    with tcp_manager.connect() as client:
        mine = client.submit(program, 5, held=True, key="same")
        url = tcp_manager.url
        assert as_user(NOBODY, url, "GET", "/v1/tasks")[1]["tasks"] == []
        assert as_user(NOBODY, url, "GET", f"/v1/tasks/{mine.id}")[0] == 404
        assert as_user(NOBODY, url, "POST", "/v1/tasks/cancel", {"ids": [mine.id]})[0] == 404
        assert as_user(NOBODY, url, "GET", f"/v1/programs/{program.hash}")[0] == 404
        by_hash = {"tasks": [{"program_hash": program.hash, "shots": 5, "key": "same"}]}
        status, problem = as_user(NOBODY, url, "POST", "/v1/tasks", by_hash)
        assert (status, problem["code"]) == (404, "unknown-task"), "a hash is not a permission"
        assert client.task(mine.id).state == "HELD"


def test_the_other_user_waits_for_a_qpu_that_is_kept_warm_and_why_says_until_when(
    make_manager: Any,
) -> None:
    served = make_manager("http://127.0.0.1:0", KEPT_SITE)
    served.start()
    program = to_program(small_sequence())
    with served.connect() as client:
        session = client.open_session("loop", terms=SessionTerms(linger_s=1000))
        client.submit(program, 5, session=session.id).result(timeout=120)
        sent = {"program": {"kind": program.kind, "content": program.content}, "shots": 5}
        status, answer = as_user(NOBODY, served.url, "POST", "/v1/tasks", {"tasks": [sent]})
        assert status == 200, answer
        theirs = f"/v1/tasks/{answer['items'][0]['task']['id']}"
        _, why = as_user(NOBODY, served.url, "GET", f"{theirs}/why")
        assert why["reason"] == "Reservation"
        assert "kept warm for another session" in why["detail"]
        assert why["until"] > why["as_of"]
        hold = f"/v1/sessions/{session.id}/hold"
        assert as_user(NOBODY, served.url, "DELETE", hold)[0] == 400, "it isn't theirs to end"
        client.submit(program, 5, session=session.id).result(timeout=120)
        assert as_user(NOBODY, served.url, "GET", theirs)[1]["state"] == "QUEUED"
        client.give_back(session.id)
        # First in, first out: what comes after theirs ends after it.
        client.submit(program, 5).result(timeout=120)
        assert as_user(NOBODY, served.url, "GET", theirs)[1]["state"] == "COMPLETED"


def test_root_cancels_the_other_users_task_and_it_is_on_record(make_manager: Any) -> None:
    served = make_manager("http://127.0.0.1:0")
    served.start()
    program = to_program(small_sequence())
    sent = {"program": {"kind": program.kind, "content": program.content}, "shots": 5}
    task = {"tasks": [{**sent, "held": True}]}
    with served.connect() as client:
        _, answer = as_user(NOBODY, served.url, "POST", "/v1/tasks", task)
        task_id = answer["items"][0]["task"]["id"]
        (row,) = client.cancel_tasks([task_id])
        assert (row.state, row.info.owner) == ("CANCELLED", "nobody")
    assert served.stop() == 0
    with closing(sqlite3.connect(served.store)) as store, store:
        query = "SELECT data FROM journal WHERE kind = 'OperatorAsked'"
        ((data,),) = store.execute(query).fetchall()
    said = json.loads(data)
    assert (said["who"], said["what"], said["ids"]) == ("root", "cancel", [task_id])
