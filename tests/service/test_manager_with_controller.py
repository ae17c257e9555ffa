"""`qpu serve` on a controller, both as processes; one of them is killed while a chunk runs.

What was executed is read from the controller's own ledger.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.client import Client, Task
from qpu_executor.errors import ProgramRefused, RequestRefused
from qpu_executor.model.states import ChunkState, QpuState
from qpu_executor.programs.program import Program
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.testing.controller.ledger import executed_by_mark
from qpu_executor.testing.controller.process import ControllerProcess
from qpu_executor.testing.sequences import small_sequence
from qpu_executor.wire.policy import SettleRequest

SITE = """
manager:
  listen: {{listen}}
  store: store.sqlite
  health_every_s: 0.2
default_class: development
job_classes:
  development: {{{{priority: 100, chunk_s: 0.5}}}}
qpus:
  fresnel: {{{{kind: pasqal-controller, url: "{url}", shot_rate_hz: 100, silence_s: 1}}}}
"""

SHOTS = 200
WARM_UP = 5
"""Shots of a task before, so that the controller has a job already."""
SHOT_S, SLOW_SHOT_S = 0.01, 0.1
"""The slow one makes a chunk of 5 s: time enough to kill somebody meanwhile."""
EXAMPLE = Path(__file__).parents[2] / "configs" / "controller.yaml"


@pytest.fixture(scope="module")
def program() -> Program:
    return to_program(small_sequence())


@pytest.fixture
def make_controller(tmp_path: Path) -> Iterator[Callable[[], ControllerProcess]]:
    made: list[ControllerProcess] = []

    def make() -> ControllerProcess:
        directory = tmp_path / f"c{len(made)}"
        directory.mkdir()
        made.append(ControllerProcess(directory, "--coins", "--shot-s", str(SHOT_S)))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.close()


def submit_and_wait_for_a_running_chunk(
    client: Client, controller: ControllerProcess, program: Program
) -> Task:
    """A task of SHOTS, while its first chunk is being executed: for seconds, the others fast."""
    assert client.submit(program, WARM_UP).result(timeout=120).shots == WARM_UP
    controller.control("machine", {"shot_s": SLOW_SHOT_S})
    task = client.submit(program, SHOTS)
    while controller.ledger[-1]["event"] != "began":
        time.sleep(0.01)
    controller.control("machine", {"shot_s": SHOT_S})
    return task


def test_manager_killed_while_a_chunk_runs_every_shot_is_taken_once(
    make_manager: Any, make_controller: Callable[[], ControllerProcess], program: Program
) -> None:
    undisturbed = make_manager(site=SITE.format(url=make_controller().url))
    undisturbed.start()
    with undisturbed.connect() as client:
        client.submit(program, WARM_UP).result(timeout=120)
        expected = client.submit(program, SHOTS).result(timeout=120)
    controller = make_controller()
    served = make_manager(site=SITE.format(url=controller.url))
    served.start()
    with served.connect() as client:
        task = submit_and_wait_for_a_running_chunk(client, controller, program)
        served.kill()
        assert controller.ledger[-1]["event"] == "began"
        served.start()
        result = task.result(timeout=120)
    assert result.counts == expected.counts
    assert len(result.chunks) >= 4
    assert {chunk.state for chunk in result.chunks} == {ChunkState.FINISHED}
    by_mark = executed_by_mark(controller.ledger)
    counted = [chunk.shots_counted for chunk in result.chunks]
    assert list(by_mark.values()) == [WARM_UP, *counted]
    assert sum(counted) == SHOTS
    assert sum(line["event"] == "began" for line in controller.ledger) == len(by_mark)


def test_controller_killed_and_started_anew_the_repeat_is_on_record(
    make_manager: Any, make_controller: Callable[[], ControllerProcess], program: Program
) -> None:
    controller = make_controller()
    served = make_manager(site=SITE.format(url=controller.url))
    served.start()
    with served.connect() as client:
        task = submit_and_wait_for_a_running_chunk(client, controller, program)
        controller.kill()
        controller.start()
        result = task.result(timeout=120)
        detail = client.task_detail(task.id)
    states = [chunk.state for chunk in detail.chunks]
    assert states.count(ChunkState.LOST) == 1
    lost = detail.chunks[states.index(ChunkState.LOST)]
    assert "doesn't know job" in lost.reason or "started anew" in lost.reason
    assert result.shots == SHOTS == sum(result.counts.values())
    counted = [chunk.shots_counted for chunk in result.chunks if chunk.shots_counted]
    assert list(executed_by_mark(controller.ledger).values()) == [WARM_UP, *counted]
    assert sum(counted) == SHOTS


def test_the_example_site_runs_on_the_stand_in(
    make_manager: Any, make_controller: Callable[[], ControllerProcess], program: Program
) -> None:
    text = EXAMPLE.read_text("utf-8").replace("http://127.0.0.1:4300", make_controller().url)
    served = make_manager(site=text.replace("[http://127.0.0.1:8082]", "{listen}"))
    served.start()
    with served.connect() as client:
        result = client.submit(program, 5).result(timeout=120)
    assert (result.shots, result.qpu) == (5, "fresnel")


def test_chunk_that_a_dead_controller_leaves_open_is_settled_by_an_operator(
    make_manager: Any, make_controller: Callable[[], ControllerProcess], program: Program
) -> None:
    controller = make_controller()
    site = SITE.replace("silence_s: 1", "silence_s: 0.5, unknown_deadline_s: 0.5")
    served = make_manager(site=site.format(url=controller.url))
    served.start()
    with served.connect() as client:
        task = submit_and_wait_for_a_running_chunk(client, controller, program)
        controller.kill()
        while f"`qpu settle {task.id}`" not in (client.qpus()[0].status_reason or ""):
            time.sleep(0.05)
        assert client.qpus()[0].state == "DOWN"
        unknown = client.task_detail(task.id).chunks[-1]
        assert unknown.state is ChunkState.UNKNOWN
        with pytest.raises(RequestRefused, match=f"chunk {unknown.n + 1} isn't out"):
            client.settle(task.id, SettleRequest(lost=True, chunk=unknown.n + 1))
        client.settle(task.id, SettleRequest(lost=True, chunk=unknown.n))
        controller.start()
        result = task.result(timeout=120)
        settled = client.task_detail(task.id).chunks[unknown.n]
    assert settled.state is ChunkState.LOST
    assert "declared lost by" in settled.reason
    assert result.shots == SHOTS == sum(result.counts.values())
    assert sum(executed_by_mark(controller.ledger).values()) == WARM_UP + SHOTS


def test_controller_that_was_away_joins_and_a_smaller_limit_is_planned_with(
    make_manager: Any, make_controller: Callable[[], ControllerProcess], program: Program
) -> None:
    controller = make_controller()
    controller.kill()
    site = SITE.replace("silence_s: 1", "silence_s: 1, specs_every_s: 0.01")
    site += "  local: {{{{kind: pulser-emulator}}}}\n"
    served = make_manager(site=site.format(url=controller.url))
    served.start()
    with served.connect() as client:
        assert state_of(client, "fresnel") is QpuState.DOWN
        with pytest.raises(ProgramRefused, match="qpu resume fresnel"):
            client.submit(program, SHOTS, qpu="fresnel")
        controller.start()
        client.resume("fresnel")
        while state_of(client, "fresnel") is not QpuState.UP:
            time.sleep(0.05)
        assert client.submit(program, 50, qpu="fresnel").result(timeout=120).shots == 50
        controller.control("specs", {"max_runs": 7})
        result = client.submit(program, 50, qpu="fresnel").result(timeout=120)
        assert result.shots == 50
        whole = client.submit(program, 21, qpu="fresnel").result(timeout=120)
    counted = [chunk.shots_counted for chunk in whole.chunks]
    assert sum(counted) == 21
    assert max(counted) <= 7


def state_of(client: Client, name: str) -> QpuState:
    """That of one QPU."""
    return {qpu.name: qpu.state for qpu in client.qpus()}[name]
