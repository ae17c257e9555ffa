"""A network between manager and database that swallows everything, and says nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.client import connect
from qpu_executor.errors import ManagerBusy, StoreError
from qpu_executor.manager.store import postgresql, postgresql_lock
from qpu_executor.manager.store.change_records import AddJournal, Change
from qpu_executor.manager.store.records import JournalRow
from qpu_executor.manager.store.sql import SqlStore
from qpu_executor.model.states import ChunkState
from qpu_executor.programs.program import Program
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.testing.controller.ledger import executed_by_mark
from qpu_executor.testing.controller.process import ControllerProcess
from qpu_executor.testing.postgres import Postgres
from qpu_executor.testing.relay import BOTH, Relay, Way
from qpu_executor.testing.sequences import small_sequence

SITE = """
manager:
  listen: {{listen}}
  store: {{{{url: '{database}', directory: files}}}}
  health_every_s: 0.2
default_class: development
job_classes:
  development: {{{{priority: 100, chunk_s: 1}}}}
qpus:
  fresnel: {{{{kind: pasqal-controller, url: "{url}", shot_rate_hz: 100, silence_s: 1}}}}
"""

SHOTS, SHOT_S = 300, 0.01
WARM_UP = 5
"""Shots of a task before, so that the controller has a job already."""
ANSWERS = frozenset({Way.TO_CLIENT})


@pytest.fixture
def relay(postgres: Postgres) -> Iterator[Relay]:
    made = Relay(postgres.socket)
    made.start()
    yield made
    made.close()


@pytest.fixture
def database(postgres: Postgres, relay: Relay) -> str:
    """The URL of an empty database, through the relay."""
    return relayed(postgres.new_database(), relay)


def relayed(url: str, relay: Relay) -> str:
    name = url.partition("?")[0].rpartition("/")[2]
    return f"postgresql://postgres@127.0.0.1:{relay.port}/{name}"


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[ControllerProcess]:
    made = ControllerProcess(tmp_path, "--coins", "--shot-s", str(SHOT_S))
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def program() -> Program:
    return to_program(small_sequence())


def wait_for(controller: ControllerProcess, event: str, jobs: int) -> None:
    """Return once that many jobs have begun or ended."""
    while sum(line["event"] == event for line in controller.ledger) < jobs:
        time.sleep(0.01)


def test_partition_under_a_running_chunk_its_counts_survive_and_callers_are_told(
    make_manager: Any,
    controller: ControllerProcess,
    program: Program,
    relay: Relay,
    database: str,
) -> None:
    served = make_manager(site=SITE.format(url=controller.url, database=database))
    served.start()
    with served.connect() as client:
        client.submit(program, WARM_UP).result(timeout=120)
        controller.control("machine", {"shot_s": 0.1})  # a chunk of 10 s
        task = client.submit(program, SHOTS)
        wait_for(controller, "began", 2)
        relay.swallow()
        controller.control("machine", {"shot_s": SHOT_S})
        wait_for(controller, "ended", 2)
        with connect(served.url, wait_s=1) as hasty, pytest.raises(ManagerBusy):
            hasty.submit(program, 5)
        with connect(served.url, wait_s=1) as hasty, pytest.raises(ManagerBusy) as busy:
            hasty.submit(program, 5)
        assert "nothing was lost" in str(busy.value)
        assert sum(line["event"] == "began" for line in controller.ledger) == 2
        relay.cut()
        relay.forward()
        result = task.result(timeout=120)
    assert {chunk.state for chunk in result.chunks} == {ChunkState.FINISHED}
    by_mark = executed_by_mark(controller.ledger)
    assert list(by_mark.values()) == [WARM_UP, *(chunk.shots_counted for chunk in result.chunks)]
    assert sum(by_mark.values()) == WARM_UP + SHOTS
    assert served.stop() == 0


@pytest.mark.parametrize("held", [ANSWERS, BOTH], ids=["answer", "commit"])
@pytest.mark.parametrize("resets", [True, False], ids=["reset", "goes on"])
def test_the_save_of_a_chunks_end_is_swallowed_and_it_is_counted_once(
    make_manager: Any,
    controller: ControllerProcess,
    program: Program,
    relay: Relay,
    database: str,
    held: frozenset[Way],
    resets: bool,
) -> None:
    served = make_manager(site=SITE.format(url=controller.url, database=database))
    served.start()
    with served.connect() as client:
        task = client.submit(program, SHOTS)
        wait_for(controller, "began", 2)
        sprung = relay.swallow_at(b"COMMIT", held)
        wait_for(controller, "ended", 2)
        assert sprung.wait(120)
        if resets:
            relay.cut()
        relay.forward()
        result = task.result(timeout=120)
    assert {chunk.state for chunk in result.chunks} == {ChunkState.FINISHED}
    by_mark = executed_by_mark(controller.ledger)
    assert list(by_mark.values()) == [chunk.shots_counted for chunk in result.chunks]
    assert sum(by_mark.values()) == SHOTS
    assert served.stop() == 0


@pytest.mark.parametrize("held", [ANSWERS, BOTH], ids=["answer", "commit"])
async def test_a_commit_given_up_on_that_arrives_late_is_in_once(
    relay: Relay, database: str, monkeypatch: pytest.MonkeyPatch, held: frozenset[Way]
) -> None:
    monkeypatch.setattr(postgresql, "ANSWER_S", 1.0)
    store = SqlStore(database, lease_s=4)
    await store.open()
    batch: list[Change] = [AddJournal(JournalRow(1, 1, "x"))]
    sprung = relay.swallow_at(b"COMMIT", held)
    async with asyncio.timeout(60):
        with pytest.raises(ManagerBusy, match="can't be reached"):
            await store.apply(batch)
        assert sprung.is_set()
        relay.forward()
        while True:
            try:
                await store.apply(batch)
                break
            except ManagerBusy:
                continue
    await store.apply([AddJournal(JournalRow(2, 2, "x"))])
    assert [row.n for row in await store.journal(0)] == [1, 2]
    await store.close()


async def test_a_manager_that_has_heard_nothing_of_its_lock_asks_before_it_writes(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.new_database()
    name = url.partition("?")[0].rpartition("/")[2]
    store, other = SqlStore(url, lease_s=300), SqlStore(url, lease_s=300)
    await store.open()
    await store.apply([])
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE "
    postgres.sql(f"{end} 'qpu manager %'", name)
    await other.stand_by(lambda why: None)  # it has the lock, and hasn't written yet
    later_s = postgresql_lock.boottime_s() + 200
    monkeypatch.setattr(postgresql_lock, "boottime_s", lambda: later_s)
    assert not store.surely_ours
    with pytest.raises(StoreError, match="another manager has taken over"):
        await store.apply([])
    await store.close()
    await other.close()
