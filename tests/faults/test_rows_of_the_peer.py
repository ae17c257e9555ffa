"""Faults that the peer was measured with, each once, in front of a controller with a ledger."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from qpu_executor.client import connect
from qpu_executor.testing.controller.ledger import executed_by_mark
from qpu_executor.testing.fault_matrix.clients import program
from qpu_executor.testing.fault_matrix.evidence import driven
from qpu_executor.testing.fault_matrix.forked import Forked, NurseryProcess
from qpu_executor.testing.fault_matrix.machine import Machine
from qpu_executor.testing.fault_matrix.site import Place
from qpu_executor.testing.fault_matrix.weather import Weather
from qpu_executor.wire.tasks import TaskDetail

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

both = ("sqlite", "postgresql")

LOCKED_S = 8.0
TABLES = "tasks, chunks, journal, meta"


class Here:
    """A controller, and managers of one store before it."""

    def __init__(self, nursery: NurseryProcess, place: Place) -> None:
        self.place = place
        self.machine = Machine(nursery, place.directory)
        self.managers: list[Forked] = []
        self._nursery = nursery

    def fork(self) -> Forked:
        """A manager that may or may not listen some time."""
        arguments = {"site": str(self.place.site)}
        self.managers.append(self._nursery.fork("manager", arguments, self.place.log))
        return self.managers[-1]

    def manager(self) -> Forked:
        """A manager that listens."""
        found = self.fork()
        assert found.stdout.readline(), self.place.log_end
        return found

    def client(self, number: int, tasks: int) -> Forked:
        """Somebody who submits one task after the other."""
        arguments = {
            "url": self.place.url,
            "tasks": {f"{number}-{n}": 5 for n in range(tasks)},
            "together": 1,
            "told": str(self.told),
        }
        return self._nursery.fork("client", arguments, self.place.log)

    @property
    def told(self) -> Path:
        """Where clients write down what was acknowledged."""
        return self.place.directory / "told.jsonl"

    @property
    def acknowledged(self) -> list[dict[str, Any]]:
        """What they have written down so far."""
        told = self.told.read_text("utf-8") if self.told.exists() else ""
        whole, _, _ = told.rpartition("\n")  # who writes may be in the middle of a line
        return [json.loads(line) for line in whole.splitlines()]

    def wait_for_jobs(self, at_least: int) -> None:
        """Until the controller has begun so many."""
        while self.machine.jobs_begun < at_least:
            assert self.managers[-1].poll() is None

    def executed_once(self, detail: TaskDetail) -> None:
        """What the ledger has is what the task counts."""
        executed = executed_by_mark(self.machine.ledger)
        assert sum(executed.values()) == detail.shots_done
        began = [line["mark"] for line in self.machine.ledger if line["event"] == "began"]
        assert len(began) == len(set(began)) == len(detail.chunks)


@pytest.fixture
def here(nursery: NurseryProcess, place: Callable[..., Place]) -> Iterator[Here]:
    found = Here(nursery, place())
    found.machine.start()
    found.place.write_site(found.machine.url)
    yield found
    for one in found.managers:
        one.kill()
    found.machine.close()


@contextmanager
def locked(store: str) -> Iterator[None]:
    """Another process of the host has the store's tables for itself."""
    if "://" in store:
        engine = create_engine(driven(store))
        with engine.begin() as connection:
            connection.execute(text(f"LOCK TABLE {TABLES} IN ACCESS EXCLUSIVE MODE"))
            yield
        engine.dispose()
    else:
        with closing(sqlite3.connect(store, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")


@pytest.mark.parametrize("engine", both)
def test_killed_under_four_clients_whatever_was_acknowledged_is_there(here: Here) -> None:
    manager = here.manager()
    clients = [here.client(n, 60) for n in range(4)]
    while len(here.acknowledged) < 80:
        assert manager.poll() is None
    manager.kill()
    for one in clients:
        one.kill()
    acknowledged = here.acknowledged
    here.manager()
    with connect(here.place.url, wait_s=30) as client:
        there = {client.task_detail(task.id).name: task.id for task in client.tasks()}
    assert {one["key"]: one["id"] for one in acknowledged}.items() <= there.items()
    # What was saved and not acknowledged: at most one of each client.
    assert len(there) <= len(acknowledged) + 4


@pytest.mark.parametrize("engine", both)
def test_the_database_is_locked_for_seconds_during_a_job_and_work_goes_on(here: Here) -> None:
    manager = here.manager()
    with connect(here.place.url, wait_s=60) as client:
        task = client.submit(program(), 300)
        here.wait_for_jobs(2)
        with locked(here.place.store), pytest.raises(TimeoutError):
            manager.wait(LOCKED_S)
        after = client.submit(program(), 30)
        assert task.result(timeout=120).shots == 300
        assert after.result(timeout=120).shots == 30
        after_detail, detail = client.task_detail(after.id), client.task_detail(task.id)
    assert len(after_detail.chunks) + len(detail.chunks) == here.machine.jobs_begun
    assert sum(executed_by_mark(here.machine.ledger).values()) == 330
    assert manager.poll() is None


@pytest.mark.parametrize("engine", both)
def test_a_second_manager_refuses_and_the_first_goes_on(here: Here) -> None:
    first = here.manager()
    with connect(here.place.url, wait_s=30) as client:
        task = client.submit(program(), 60)
        second = here.fork()
        assert second.wait(60) == 1, here.place.log_end
        assert "in use by" in here.place.log_end
        assert task.result(timeout=120).shots == 60
        here.executed_once(client.task_detail(task.id))
    assert first.poll() is None


@pytest.mark.parametrize("engine", ["sqlite"])
def test_jobs_refused_with_500_while_it_says_that_it_is_up_drain_no_queue(here: Here) -> None:
    here.manager()
    with connect(here.place.url, wait_s=30) as client:
        before = client.submit(program(), 30)
        before.result(timeout=120)
        here.machine.cloud(Weather("", ({"do": "status", "on": ["create"]},)))
        tasks = [client.submit(program(), 30, name=str(n)) for n in range(4)]
        with pytest.raises(TimeoutError):
            here.managers[0].wait(20.0)
        here.machine.heal()
        assert [task.result(timeout=120).shots for task in tasks] == [30] * 4
    assert sum(executed_by_mark(here.machine.ledger).values()) == 150
