"""Two users of one host over TCP: each is known by the kernel's word, and sees only their own."""

from __future__ import annotations

import encodings.idna  # noqa: F401  (the child can no longer load modules)
import http.client
import json
import os
import traceback
from typing import Any
from urllib.parse import urlsplit

import pytest

from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.testing.sequences import small_sequence

NOBODY = 65534

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
