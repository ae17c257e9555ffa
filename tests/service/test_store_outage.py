"""The database is gone for a while: nothing is lost or run twice, and work goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.client import connect
from qpu_executor.errors import ManagerBusy
from qpu_executor.manager.store import postgresql
from qpu_executor.manager.store.change_records import AddJournal, Change
from qpu_executor.manager.store.records import JournalRow
from qpu_executor.manager.store.sql import SqlStore
from qpu_executor.model.states import ChunkState
from qpu_executor.programs.program import Program
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.testing.controller.ledger import executed_by_mark
from qpu_executor.testing.controller.process import ControllerProcess
from qpu_executor.testing.postgres import Postgres
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

SHOTS = 300


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[ControllerProcess]:
    made = ControllerProcess(tmp_path, "--coins", "--shot-s", "0.01")
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


@pytest.mark.parametrize("end", [Postgres.kill, Postgres.stop], ids=["kill -9", "stop"])
def test_the_running_chunks_counts_survive_and_work_goes_on(
    make_manager: Any,
    controller: ControllerProcess,
    program: Program,
    own_postgres: Postgres,
    end: Callable[[Postgres], None],
) -> None:
    site = SITE.format(url=controller.url, database=own_postgres.new_database())
    served = make_manager(site=site)
    served.start()
    with served.connect() as client:
        client.submit(program, 5).result(timeout=120)
        controller.control("machine", {"shot_s": 0.06})  # a chunk of 6 s
        task = client.submit(program, SHOTS)
        wait_for(controller, "began", 2)
        end(own_postgres)
        controller.control("machine", {"shot_s": 0.01})
        wait_for(controller, "ended", 2)
        with connect(served.url, wait_s=1) as hasty, pytest.raises(ManagerBusy) as busy:
            hasty.submit(program, 5)
        assert busy.value.retry_after_s >= 1
        assert sum(line["event"] == "began" for line in controller.ledger) == 2
        own_postgres.start()
        result = task.result(timeout=120)
        assert client.submit(program, 5).result(timeout=120).shots == 5
    assert {chunk.state for chunk in result.chunks} == {ChunkState.FINISHED}
    by_mark = executed_by_mark(controller.ledger)
    assert sum(by_mark.values()) == 5 + SHOTS + 5
    assert sum(line["event"] == "began" for line in controller.ledger) == len(by_mark)
    assert "Traceback" not in served.log
    assert served.stop() == 0


async def test_killed_again_and_again_while_it_is_written_to_every_row_is_there_once(
    own_postgres: Postgres,
) -> None:
    store = SqlStore(own_postgres.new_database(), lease_s=2)
    await store.open()
    wanted = 400

    async def write(batch: list[Change]) -> None:
        while True:
            try:
                return await store.apply(batch)
            except ManagerBusy:
                await asyncio.sleep(0.01)  # as whoever hands it in again does

    async def write_all(first: int) -> None:
        for n in range(first, wanted, 4):
            await write([AddJournal(JournalRow(n + 1, n, "x"))])

    async def torment() -> None:
        for _ in range(3):
            await asyncio.to_thread(own_postgres.kill)
            await asyncio.to_thread(own_postgres.start)

    async with asyncio.timeout(120):
        await asyncio.gather(*map(write_all, range(4)), torment())
    assert [row.n for row in await store.journal(0)] == list(range(1, wanted + 1))
    await store.close()


async def test_a_server_that_takes_everything_and_never_answers_is_given_up(
    own_postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "ANSWER_S", 1.0)
    store = SqlStore(own_postgres.new_database(), lease_s=300)
    await store.open()
    batch: list[Change] = [AddJournal(JournalRow(1, 1, "x"))]
    await store.journal(0)
    own_postgres.freeze()
    try:
        async with asyncio.timeout(60):
            with pytest.raises(ManagerBusy, match="can't be reached"):
                await store.apply(batch)
            with pytest.raises(ManagerBusy):
                await store.journal(0)
    finally:
        own_postgres.thaw()
    while True:
        try:
            await store.apply(batch)
            break
        except ManagerBusy:
            continue
    assert [row.n for row in await store.journal(0)] == [1]
    await store.close()
