"""Programs, counts and tokens reach neither the manager's log, at its loudest, nor its journal."""

from __future__ import annotations

import http.client
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pytest

from qpu_executor.errors import ProgramError, TaskFailed
from qpu_executor.programs.program import PULSER, Program
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.testing.sequences import small_sequence
from qpu_executor.wire.tokens import TokenRequest

SITE = """
manager:
  listen: {listen}
  store: store.sqlite
  authentication: [peer, token]
default_class: development
job_classes:
  development: {{priority: 100, chunk_s: 10}}
qpus:
  emulator: {{kind: pulser-emulator, device: AnalogDevice, workers: 1}}
"""

SENTINEL = "5entinel"


def sentinel_program() -> Program:
    """A program that runs, and has the sentinel in it."""
    found = json.loads(to_program(small_sequence()).content)
    return Program(PULSER, json.dumps({**found, "name": f"{SENTINEL}-program"}))


def status_with(url: str, token: str) -> int:
    """Of a request with this bearer token."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    connection.request("GET", "/v1/tasks", headers={"authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def test_at_debug_the_log_and_the_journal_have_no_program_counts_or_token(
    make_manager: Callable[..., Any],
) -> None:
    served = make_manager("http://127.0.0.1:0", SITE)
    served.options = ("--verbose",)
    served.start()
    wrong = f"qpu_{'0' * 12}_{SENTINEL:x<43}"
    with served.connect() as client:
        result = client.submit(sentinel_program(), 4321).result(timeout=120)
        with pytest.raises((ProgramError, TaskFailed)):
            client.submit(Program(PULSER, json.dumps({"name": SENTINEL})), 5).result(timeout=120)
        token = client.issue_token(TokenRequest(note="for a test")).token
        assert status_with(served.url, token) == 200
        assert status_with(served.url, wrong) == 401
        client.resume("emulator")  # once that is saved, so is what came before it
        told = client.audit()
        assert [one.what for one in told.entries] == ["resume", "GET /v1/tasks", "issue token"]
    assert served.stop() == 0
    with closing(sqlite3.connect(served.store)) as store:
        journal = "\n".join(str(row) for row in store.execute("SELECT * FROM journal"))
    counts = [
        text
        for bits, seen in result.counts.items()
        for text in (f"{bits!r}: {seen}", f'"{bits}": {seen}', f'"{bits}":{seen}')
    ]
    assert counts != []
    assert served.log != ""
    for where in (served.log, journal, told.model_dump_json()):
        secret = token.rpartition("_")[2]
        assert [one for one in (SENTINEL, token, secret, *counts) if one in where] == []
