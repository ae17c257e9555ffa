"""A real manager and real clients: leases are renewed whatever the user's code does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from qpu_executor.cli.main import main
from qpu_executor.client import SessionTerms, aconnect
from qpu_executor.client.keeper import Keeper
from qpu_executor.errors import RequestRefused
from qpu_executor.model.states import TaskState
from qpu_executor.programs.program import Program
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.testing.sequences import small_sequence

SITE = """
manager:
  listen: {listen}
  store: store.sqlite
policy: fifo
default_class: production
job_classes:
  production: {{priority: 300, chunk_s: 1}}
sessions: {{lease_s: 2, grace_s: 600}}
qpus:
  rehearsal:
    kind: simulated-qpu
    shot_rate_hz: 5
"""

Verb = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def program() -> Program:
    return to_program(small_sequence())


@pytest.fixture
def manager(make_manager: Callable[..., Any]) -> Any:
    served = make_manager(site=SITE)
    served.start()
    return served


@pytest.fixture
def qpu(manager: Any, capsys: pytest.CaptureFixture[str]) -> Verb:
    """Runs the command in this process: exit code, output, errors."""

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([*words, "--manager", manager.url])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def state_of(client: Any, session_id: str) -> str:
    """As a listing says, which doesn't renew what it shows."""
    found: dict[str, Any] = {one.id: one for one in client.sessions()}
    return str(found[session_id].state)


def until(what: Callable[[], bool]) -> None:
    """Return once it is so."""
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)  # who asks without a pause keeps the manager from its work


def until_lost(client: Any, session_id: str) -> None:
    until(lambda: state_of(client, session_id) == "lost")


async def test_coroutine_that_blocks_its_loop_loses_no_lease(make_manager: Any) -> None:
    # Longer than this process may have to wait for a processor, its keeper included.
    manager = make_manager(site=SITE.replace("lease_s: 2", "lease_s: 6"))
    manager.start()
    with manager.connect() as other:
        client = await aconnect(manager.url)
        busy = await client.open_session("busy", terms=SessionTerms(leased=True))
        witness = await client.open_session("witness", terms=SessionTerms(leased=True))
        assert busy.lease_s == 6.0
        client._keeper.forget(witness.id)
        until_lost(other, witness.id)  # blocks this event loop, as a computation does
        for _ in range(2):
            other.heartbeat(witness.id)
            until_lost(other, witness.id)
            assert state_of(other, busy.id) == "open"
        await client.close()
        until_lost(other, busy.id)


def test_block_has_a_session_that_is_renewed_and_closed_with_it(
    manager: Any, program: Program
) -> None:
    with manager.connect() as client:
        with client.in_session("vqe") as session:
            task = client.submit(program, 5)
            assert task.result(timeout=120).shots == 5
            assert client.task_detail(task.id).session == session.id
            until(lambda: client.session(session.id).state == "open")
            found = client.session(session.id)
            assert (found.tasks, found.shots, found.live_tasks) == (1, 5, 0)
            assert found.qpu_s == pytest.approx(1.0, rel=0.5)
        assert client.session(session.id).state == "closed"
        assert client.task_detail(client.submit(program, 1).id).session is None


def test_blocks_that_overlap_leave_no_closed_session_behind(manager: Any, program: Program) -> None:
    def home(client: Any) -> str | None:
        found: str | None = client.task_detail(client.submit(program, 1).id).session
        return found

    with manager.connect() as client:
        first, second = client.in_session("first"), client.in_session("second", "k")
        again = client.in_session("again", "k")
        one, other = first.__enter__(), second.__enter__()
        assert again.__enter__().id == other.id
        first.__exit__(None, None, None)
        assert client.session(one.id).state == "closed"
        assert home(client) == other.id
        again.__exit__(None, None, None)
        assert home(client) == other.id, "still within a block of it"
        second.__exit__(None, None, None)
        assert client.session(other.id).state == "closed"
        assert home(client) is None


def test_client_that_comes_back_is_told_and_its_tasks_go_on(manager: Any, program: Program) -> None:
    told: list[str] = []
    with manager.connect() as client:
        kept = client.open_session("kept", terms=SessionTerms(leased=True))
        client._client._keeper.forget(kept.id)
        task = client.submit(program, 1000, session=kept.id)
        until_lost(client, kept.id)
        until(lambda: client.task_detail(task.id).held_because is not None)
        keeper = Keeper(client._client._channel.transport.address, None, told.append)
        keeper.keep(kept.id, 0.3)
        until(lambda: bool(told))
        assert f"session {kept.id} had lost its lease of 2 s, and has it back" in told[0]
        assert f"go on: {task.id}" in told[0]
        until(lambda: client.task_detail(task.id).held_because is None)
        client.close_session(kept.id)
        until(lambda: "isn't renewed any more" in told[-1])
        keeper.close()
        keeper.close()
        with pytest.raises(RequestRefused, match="is closed"):
            client.heartbeat(kept.id)


def test_manager_killed_while_a_session_is_lost_still_knows_what_that_held(
    manager: Any, program: Program
) -> None:
    with manager.connect() as client:
        session = client.open_session("s", terms=SessionTerms(leased=True))
        client._client._keeper.forget(session.id)
        task = client.submit(program, 1000, session=session.id)
        own = client.submit(program, 5, session=session.id, held=True)
        until(lambda: client.task(task.id).state is TaskState.HELD)
        manager.kill()
    manager.start()
    with manager.connect() as client:
        assert state_of(client, session.id) == "lost"
        assert client.task(task.id).state is TaskState.HELD
        answer = client.heartbeat(session.id)
        assert (answer.was_lost, answer.released) == (True, [task.id])
        assert client.task(own.id).state is TaskState.HELD


def test_verbs_about_leases(manager: Any, qpu: Verb, program: Program) -> None:
    _, out, _ = qpu("session", "open", "night", "--lease", "1.5s", "--on-close", "cancel")
    session_id = out.strip()
    with manager.connect() as client:
        task = client.submit(program, 1000, session=session_id)
        until_lost(client, session_id)
        until(lambda: client.task(task.id).state is TaskState.HELD)
        _, out, _ = qpu("session", "show", session_id)
        assert "lost since" in out
        assert f"qpu session heartbeat {session_id} brings it back" in out
        _, out, _ = qpu("why", str(task.id))
        assert "session night lost its lease at" in out
        assert "a heartbeat (qpu session heartbeat" in " ".join(out.split())
        _, out, _ = qpu("session", "list")
        assert "lost" in out
        _, out, _ = qpu("session", "heartbeat", session_id)
        assert f"it had been lost, tasks that go on: {task.id}" in out
        code, _, err = qpu("session", "open", "--lease", "1h")
        assert code == 2
        assert "lease_s: sessions of this site have 2 s, not 3600 s" in err
        code, _, err = qpu("session", "open", "--slurm")
        assert code == 2
        assert "no Slurm job" in err
        _, out, _ = qpu("session", "show", session_id, "--json")
        assert json.loads(out)["lease_s"] == 1.5
        _, out, _ = qpu("session", "close", session_id, "--tasks", "hold")
        assert "(closed)" in out
        assert client.task_detail(task.id).held_because is not None
