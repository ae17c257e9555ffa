"""A standby takes over from a leader that dies or hangs while a chunk runs on the QPU.

What was executed is read from the controller's own ledger.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.client import Client, connect
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
  store: {store}
  health_every_s: 0.2
default_class: development
job_classes:
  development: {{{{priority: 100, chunk_s: 0.5}}}}
qpus:
  fresnel: {{{{kind: pasqal-controller, url: "{url}", shot_rate_hz: 100, silence_s: 1}}}}
"""

SHOTS = 300
WARM_UP = 5
"""Shots of a task before, so that the controller has a job already."""
SHOT_S, SLOW_SHOT_S = 0.01, 0.1
"""The slow one makes a chunk of 5 s: time enough to stop somebody meanwhile."""


class Standby:
    """`qpu serve --standby` on a leader's site file (or its own), with an address of its own."""

    def __init__(self, leader: Any, site: Path | None = None) -> None:
        self.url = f"unix://{leader.directory}/standby.sock"
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "qpu_executor.cli.main", "serve", "--standby"),
                *("--site", str(site or leader._site), "--listen", self.url),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def log_until(self, words: str) -> str:
        """Read its log up to a line with these words."""
        assert self.process.stderr is not None
        said = ""
        for line in self.process.stderr:
            said += line
            if words in line:
                return line
        raise AssertionError(f"it ended without saying {words!r}, but {said}")

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def standby_of(leader: Any, site: Path | None = None) -> Iterator[Standby]:
    standby = Standby(leader, site)
    try:
        yield standby
    finally:
        standby.close()


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[ControllerProcess]:
    made = ControllerProcess(tmp_path, "--coins", "--shot-s", str(SHOT_S))
    made.start()
    yield made
    made.close()


@pytest.fixture
def relay(postgres: Postgres) -> Iterator[Relay]:
    made = Relay(postgres.socket)
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def program() -> Program:
    return to_program(small_sequence())


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> str:
    """The site file's word for it."""
    if request.param == "sqlite":
        return "store.sqlite"
    return on_postgresql(request.getfixturevalue("postgres").new_database())


def on_postgresql(url: str) -> str:
    # Longer than a leader may have to wait for a processor: it would lose the store.
    return f"{{{{url: '{url}', directory: files, lease_s: 6}}}}"


def submit_and_wait_for_a_running_chunk(
    client: Client, controller: ControllerProcess, program: Program
) -> int:
    """A task of SHOTS, while its first chunk is being executed: for seconds, the others fast."""
    assert client.submit(program, WARM_UP).result(timeout=120).shots == WARM_UP
    controller.control("machine", {"shot_s": SLOW_SHOT_S})
    task = client.submit(program, SHOTS)
    while controller.ledger[-1]["event"] != "began":
        time.sleep(0.01)
    controller.control("machine", {"shot_s": SHOT_S})
    return task.id


def each_shot_once(controller: ControllerProcess, chunks: Any) -> None:
    by_mark = executed_by_mark(controller.ledger)
    counted = [chunk.shots_counted for chunk in chunks]
    assert list(by_mark.values()) == [WARM_UP, *counted]
    assert sum(counted) == SHOTS
    assert sum(line["event"] == "began" for line in controller.ledger) == len(by_mark)


def test_leader_killed_while_a_chunk_runs_the_standby_finishes_it(
    make_manager: Any, controller: ControllerProcess, program: Program, store: str
) -> None:
    leader = make_manager(site=SITE.format(url=controller.url, store=store))
    leader.start()
    with standby_of(leader) as standby:
        said = standby.log_until("standby: the store is in use by")
        assert f"process {leader._process.pid} on " in said
        with leader.connect() as client:
            task_id = submit_and_wait_for_a_running_chunk(client, controller, program)
            leader.kill()
        standby.log_until("standby: this manager takes over")
        standby.log_until("listening on")
        with connect(standby.url, wait_s=30) as client:
            result = client.task(task_id).result(timeout=120)
    assert {chunk.state for chunk in result.chunks} == {ChunkState.FINISHED}
    each_shot_once(controller, result.chunks)


def test_leader_that_hangs_loses_the_store_and_ends_when_it_wakes_up(
    make_manager: Any, controller: ControllerProcess, program: Program, postgres: Any
) -> None:
    store = on_postgresql(postgres.new_database())
    leader = make_manager(site=SITE.format(url=controller.url, store=store))
    leader.start()
    with standby_of(leader) as standby:
        standby.log_until("standby: the store is in use by")
        with leader.connect() as client:
            task_id = submit_and_wait_for_a_running_chunk(client, controller, program)
            os.kill(leader._process.pid, signal.SIGSTOP)
        standby.log_until("standby: this manager takes over")
        standby.log_until("listening on")
        with connect(standby.url, wait_s=30) as client:
            os.kill(leader._process.pid, signal.SIGCONT)
            assert leader._process.wait(60) == 1
            assert "another manager has taken over the store" in leader.log
            result = client.task(task_id).result(timeout=120)
    each_shot_once(controller, result.chunks)


@pytest.mark.parametrize("ways", [BOTH, frozenset({Way.TO_CLIENT})], ids=["both", "answers"])
def test_leader_cut_off_from_the_database_loses_it_and_ends_when_it_hears_of_that(
    make_manager: Any,
    controller: ControllerProcess,
    program: Program,
    postgres: Postgres,
    relay: Relay,
    ways: frozenset[Way],
) -> None:
    url = postgres.new_database()
    name = url.partition("?")[0].rpartition("/")[2]
    through = on_postgresql(f"postgresql://postgres@127.0.0.1:{relay.port}/{name}")
    leader = make_manager(site=SITE.format(url=controller.url, store=through))
    leader.start()
    site = leader.directory / "standby.yaml"
    direct = SITE.format(url=controller.url, store=on_postgresql(url))
    site.write_text(direct.format(listen="['http://127.0.0.1:8080']"))
    with standby_of(leader, site) as standby:
        standby.log_until("standby: the store is in use by")
        with leader.connect() as client:
            task_id = submit_and_wait_for_a_running_chunk(client, controller, program)
            relay.swallow(ways)
        standby.log_until("standby: this manager takes over")
        standby.log_until("listening on")
        with connect(standby.url, wait_s=30) as client:
            result = client.task(task_id).result(timeout=60)
            relay.forward()
            assert leader._process.wait(60) == 1
            assert "another manager has taken over the store" in leader.log
            assert "Traceback" not in leader.log
    each_shot_once(controller, result.chunks)


def test_standby_that_is_stopped_ends_and_touches_nothing(
    make_manager: Any, controller: ControllerProcess, program: Program, store: str
) -> None:
    leader = make_manager(site=SITE.format(url=controller.url, store=store))
    leader.start()
    with standby_of(leader) as standby:
        standby.log_until("standby: the store is in use by")
        standby.process.send_signal(signal.SIGTERM)
        assert standby.process.wait(60) == 0
    with leader.connect() as client:
        assert client.submit(program, 5).result(timeout=120).shots == 5
