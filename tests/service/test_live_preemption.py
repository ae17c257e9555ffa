"""A real manager with a simulated QPU: what the policies promise, on a clock that runs fast."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from qpu_executor.client import Client, Result
from qpu_executor.model.states import ChunkState, TaskState
from qpu_executor.programs.devices import device_json
from qpu_executor.programs.program import Program
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.qpus.sampling import Distribution, sample
from qpu_executor.qpus.simulating import simulate
from qpu_executor.testing.sequences import small_sequence
from qpu_executor.wire.tasks import ChunkOut

SITE = """
manager:
  listen: {{listen}}
  store: store.sqlite
  time_scale: {time_scale}
default_class: development
job_classes:
  production: {{{{priority: 300, chunk_s: 30}}}}
  development: {{{{priority: 100, chunk_s: 10, max_shots: 5000}}}}
qpus:
  rehearsal: {{{{kind: simulated-qpu, shot_rate_hz: 5, setup_s: 2, {settings}}}}}
"""


def site(settings: str, time_scale: float) -> str:
    """A site file's text: one QPU of 5 shots a second."""
    return SITE.format(settings=settings, time_scale=time_scale)


@pytest.fixture(scope="module")
def program() -> Program:
    return to_program(small_sequence())


@pytest.fixture(scope="module")
def distribution(program: Program) -> Distribution:
    return simulate(program, device_json("AnalogDevice"), 14)


def wait_for_shots(client: Client, task_id: int, shots: int) -> None:
    """Return once so many shots of the task are counted."""
    for event in client.events(after=0):
        if event.task == task_id and (event.shots_done or 0) >= shots:
            return


def wait_for_chunk(client: Client, task_id: int) -> None:
    """Return once the QPU has accepted the task's chunk."""
    for event in client.events(after=0):
        if event.task == task_id and event.state is TaskState.RUNNING:
            break
    while client.task_detail(task_id).chunks[-1].state is ChunkState.SENT:
        next(iter(client.events(after=0)))


def in_order(*results: Result) -> list[tuple[str, ChunkOut]]:
    """All chunks with the names of their tasks, as they were sent."""
    chunks = [(result.name, chunk) for result in results for chunk in result.chunks]
    return sorted(chunks, key=lambda one: (one[1].sent_at, one[1].n))


def assert_every_shot_once(result: Result, states: Sequence[ChunkState]) -> None:
    assert {chunk.state for chunk in result.chunks} <= set(states)
    assert sum(result.counts.values()) == result.shots
    edges = [(c.first_shot, c.first_shot + c.shots_counted) for c in result.chunks]
    assert edges[0][0] == 0
    assert edges[-1][1] == result.shots
    assert all(before[1] == after[0] for before, after in pairwise(edges))


def test_production_behind_a_long_development_task_starts_within_one_chunk(
    make_manager: Any, program: Program, distribution: Distribution
) -> None:
    served = make_manager(site=site("", time_scale=20))
    served.start()
    with served.connect() as client:
        on_qpu = {"qpu": "rehearsal", "seed": 5}
        long = client.submit(program, 1000, job_class="development", name="dev", **on_qpu)
        wait_for_shots(client, long.id, 100)
        urgent = client.submit(program, 400, job_class="production", name="prod", **on_qpu)
        second = client.submit(program, 60, job_class="development", name="dev2", **on_qpu)
        prod, dev, dev2 = (task.result(timeout=120) for task in (urgent, long, second))
    chunks = in_order(prod, dev, dev2)
    # One chunk at a time, and what ran when production came was the last before it.
    for (_, before), (_, after) in pairwise(chunks):
        assert before.ended_at is not None
        assert after.sent_at >= before.ended_at
    names = [name for name, _ in chunks]
    first = names.index("prod")
    sent_since = [
        name
        for name, chunk in chunks
        if prod.submitted_at < chunk.sent_at < chunks[first][1].sent_at
    ]
    assert sent_since == []
    running = chunks[first - 1][1]
    assert running.sent_at <= prod.submitted_at
    assert (running.setup_s, running.device_s) == (2, 10)
    # Production takes the QPU until it is done; development goes on where it was.
    assert names[first : first + 3] == ["prod"] * 3
    assert "prod" not in names[first + 3 :]
    assert len(dev.chunks) == 20
    for result in (prod, dev, dev2):
        assert_every_shot_once(result, [ChunkState.FINISHED])
    assert (prod.shots, dev.shots, dev2.shots) == (400, 1000, 60)
    assert sum(chunk.device_s for chunk in dev.chunks) == pytest.approx(200)
    assert dev.counts == sample(distribution, seed=5, first_shot=0, shots=1000)
    assert dev.emulated


def test_a_chunk_outlives_its_manager_where_the_qpu_remembers(
    make_manager: Any, program: Program, distribution: Distribution
) -> None:
    served = make_manager(site=site("memory: file", time_scale=3))
    served.start()
    with served.connect() as client:
        task = client.submit(program, 100, qpu="rehearsal", job_class="production", seed=3)
        wait_for_chunk(client, task.id)
        served.kill()
        served.start()
        result = task.result(timeout=120)
    assert_every_shot_once(result, [ChunkState.FINISHED])
    assert [chunk.shots_counted for chunk in result.chunks] == [100]
    assert result.counts == sample(distribution, seed=3, first_shot=0, shots=100)


def test_a_chunk_that_the_qpu_forgot_is_taken_again(make_manager: Any, program: Program) -> None:
    served = make_manager(site=site("memory: none", time_scale=1))
    served.start()
    with served.connect() as client:
        task = client.submit(program, 100, qpu="rehearsal", job_class="production", seed=3)
        wait_for_chunk(client, task.id)
        served.kill()
        served.start()
        result = task.result(timeout=120)
    assert [(chunk.state, chunk.shots_counted) for chunk in result.chunks] == [
        (ChunkState.LOST, 0),
        (ChunkState.FINISHED, 100),
    ]


def test_closings_and_calibrations_cost_time_and_no_shot(
    make_manager: Any, program: Program, distribution: Distribution
) -> None:
    settings = (
        "partial_results: true, "
        "closed: [{{after_s: 300, length_s: 100, every_s: 1000, reason: an inspection}}], "
        "calibration: {{every_s: [250, 300], length_s: 40}}"
    )
    served = make_manager(site=site(settings, time_scale=100))
    served.start()
    with served.connect() as client:
        task = client.submit(program, 3000, qpu="rehearsal", seed=9)
        result = task.result(timeout=150)
    assert_every_shot_once(result, [ChunkState.FINISHED, ChunkState.STOPPED])
    assert result.counts == sample(distribution, seed=9, first_shot=0, shots=3000)
    assert len(set(result.epochs)) >= 3
    assert None not in result.epochs
