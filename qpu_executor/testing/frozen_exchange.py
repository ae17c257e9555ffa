"""Records what a client and a manager of this version say to each other, for later versions.

    python -m qpu_executor.testing.frozen_exchange http://127.0.0.1:8080 exchange.json

The manager must have a fresh store and a QPU `emulator` for Pulser programs.
A later manager has to understand these requests, and a later client these
answers (`tests/service/test_exchange_upgrade.py`).
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from qpu_executor import __version__
from qpu_executor.client import Client, Result, SessionTerms, TaskOrder, connect
from qpu_executor.client.problems import Reply
from qpu_executor.client.protocol import ApiRequest
from qpu_executor.client.transport import Transport
from qpu_executor.errors import QpuExecutorError
from qpu_executor.programs.program import PULSER, Program
from qpu_executor.programs.pulser_sequence import to_program


class RecordingTransport(Transport):
    """A transport that keeps a note of everything, in order."""

    notes: list[dict[str, Any]]

    async def send(self, request: ApiRequest) -> Reply:
        """Send, and note request and reply."""
        reply = await super().send(request)
        answer = json.loads(reply.body)
        if "host" in answer:
            answer["host"] = "qpu-head"
        self.notes.append(
            {
                "method": request.method,
                "path": request.path,
                "headers": dict(request.headers),
                "body": None if request.body is None else request.body.decode(),
                "status": reply.status,
                "answer": answer,
            }
        )
        return reply


def record(url: str, program: Program) -> list[dict[str, Any]]:
    """The notes of one conversation that uses the verbs of a user's client."""
    notes: list[dict[str, Any]] = []
    with connect(url) as client:
        transport = client._client._channel.transport
        transport.__class__ = RecordingTransport
        transport.notes = notes  # type: ignore[attr-defined]
        talk(client, program)
        talk_of_policies(client, program)
    return notes


def talk(client: Client, program: Program) -> list[Result]:
    """What the first client could ask, every verb of it; the results of its first two tasks."""
    client.health()
    client.qpus()
    client.qpu("emulator")
    client.classes()
    session = client.open_session("frozen", key="frozen-session")
    orders = [
        TaskOrder(program=program, shots=20, seed=1, name="a", key="a", session=session.id),
        TaskOrder(program=program, shots=30, seed=2, name="b", key="b", qpu="emulator"),
        TaskOrder(program=program, shots=5, seed=3, name="held", key="c", held=True),
    ]
    tasks = client.submit_many(orders)
    results = [task.result(timeout=120) for task in tasks[:2]]
    client.submit_many(orders[:1])
    client.results([task.id for task in tasks])
    client.task_detail(tasks[0].id)
    client.tasks()
    client.cancel_tasks([tasks[2].id])
    refused = (
        TaskOrder(program=program, shots=21, seed=1, key="a"),
        TaskOrder(program=program, shots=5, job_class="no-such-class", key="d"),
        TaskOrder(program=Program(PULSER, "{}"), shots=5, key="e"),
    )
    for order in refused:
        with contextlib.suppress(QpuExecutorError):
            client.submit_many([order])
    with contextlib.suppress(QpuExecutorError):
        client.task_detail(999_999)
    client.session(session.id)
    client.cancel_session(session.id)
    client.close_session(session.id)
    return results


def talk_of_policies(client: Client, program: Program) -> list[Result]:
    """What came with policies, sessions that say something, and windows; after `talk`."""
    client.windows()
    client.shares()
    client.program(program.hash)
    client.estimate(program, 10, job_class="production")
    terms = SessionTerms(ends_in_s=3600.0, shape="balanced", expected_tasks=2, think_s=5.0)
    session = client.open_session("policies", key="frozen-policies", terms=terms)
    client.sessions()
    first = TaskOrder(
        program, 25, seed=4, key="p", session=session.id, device="AnalogDevice",
        require={"emulated": True, "min_qubits": 2}, time_limit_s=600.0, path_s=3.0,
        on_recalibration="continue", stop_when={"min_shots": 20, "distinct": 2},
    )  # fmt: skip
    held = TaskOrder(program, 5, seed=5, key="q", held=True, session=session.id)
    one, other = client.submit_many([first, held])
    client.why(other.id)
    client.partial_result(other.id)
    result = one.result(timeout=120)
    client.release_tasks([other.id])
    last = other.result(timeout=120)
    with contextlib.suppress(QpuExecutorError):
        client.keep_warm(session.id, linger_s=1e6)
    client.give_back(session.id)
    client.close_session(session.id)
    return [result, last]


def main(url: str, path: str) -> None:
    """Record into a file."""
    from qpu_executor.testing.sequences import small_sequence

    notes = record(url, to_program(small_sequence()))
    Path(path).write_text(json.dumps({"version": __version__, "notes": notes}, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:3])
