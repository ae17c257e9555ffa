"""Counts while a task runs, over the event stream."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from qpu_executor.client import aconnect
from qpu_executor.errors import TaskCancelled, UnknownTask
from qpu_executor.testing.sequences import small_sequence

SITE = """
manager: {{listen: {listen}, store: store.sqlite}}
default_class: development
job_classes:
  development: {{priority: 100, chunk_s: 0.5}}
qpus:
  fresnel: {{kind: simulated-qpu, device: AnalogDevice, shot_rate_hz: 100}}
"""

SHOTS = 200


@pytest.fixture(scope="module")
def chunked(make_shared: Callable[..., Any]) -> Any:
    return make_shared(site=SITE)


def test_counts_grow_chunk_by_chunk_up_to_the_result(chunked: Any) -> None:
    with chunked.connect() as client:
        task = client.submit(small_sequence(), SHOTS, seed=3)
        seen = list(client.partial_results(task.id))
        assert seen[-1] == task.result(timeout=60)
    shots = [one.shots for one in seen]
    assert shots == sorted(set(shots))
    assert len(shots) > 1
    assert shots[-1] == SHOTS
    for before, after in itertools.pairwise(seen):
        assert sum(before.counts.values()) == before.shots
        assert all(after.counts[bits] >= n for bits, n in before.counts.items())


async def test_task_that_has_ended_gives_its_result_and_that_is_all(chunked: Any) -> None:
    async with await aconnect(chunked.url) as client:
        task = await client.submit(small_sequence(), 10)
        result = await task.result(timeout=60)
        assert [one async for one in client.partial_results(task.id)] == [result]


def test_cancelled_task_gives_its_shots_and_then_says_so(chunked: Any) -> None:
    with chunked.connect() as client:
        task = client.submit(small_sequence(), 4000)
        counts = client.partial_results(task.id)
        shots = [next(counts).shots]
        task.cancel()
        with pytest.raises(TaskCancelled):
            shots.extend(one.shots for one in counts)
    assert 0 < shots[-1] < 4000


def test_iterating_may_stop_early_and_an_unknown_task_is_said_so(chunked: Any) -> None:
    with chunked.connect() as client:
        task = client.submit(small_sequence(), SHOTS)
        assert next(iter(client.partial_results(task.id))).shots > 0
        assert task.result(timeout=60).shots == SHOTS
        with pytest.raises(UnknownTask):
            list(client.partial_results(4711))
