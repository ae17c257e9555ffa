"""Handles of tasks on a real manager: growing results, waits that end, handles that travel."""

from __future__ import annotations

import base64
import pickle
import subprocess
import sys
from itertools import pairwise
from typing import Any

import pytest

from qpu_executor.client import Task, aconnect
from qpu_executor.client.connect import shared_client
from qpu_executor.errors import TaskCancelled, WaitTimeout
from qpu_executor.model.states import TaskState
from qpu_executor.testing.sequences import small_sequence

SITE = """
manager:
  listen: {listen}
  store: store.sqlite
  time_scale: 40
default_class: development
job_classes:
  development: {{priority: 100, chunk_s: 10, max_shots: 5000}}
qpus:
  rehearsal: {{kind: simulated-qpu, shot_rate_hz: 5, setup_s: 2}}
"""

SHOTS = 2500
"""500 s on the QPU, 13 s on the test's clock: who looks late still sees it grow."""


@pytest.fixture(scope="module")
def manager(make_shared: Any) -> Any:
    return make_shared(site=SITE)


def test_a_result_grows_chunk_by_chunk_to_the_whole_one(manager):
    with manager.connect() as client:
        task = client.submit(small_sequence(), SHOTS, seed=5)
        grown = list(task.stream())
        whole = task.result(timeout=120)
    shots = [result.shots for result in grown]
    assert shots == sorted(set(shots)), "each has more than the one before"
    assert len(shots) > 2
    assert all(sum(result.counts.values()) == result.shots for result in grown)
    assert all(result.shots_asked == SHOTS for result in grown)
    assert grown[-1].counts == whole.counts
    for before, after in pairwise(grown):
        assert before.counts <= after.counts


async def test_in_an_event_loop_too_and_who_stops_looking_stops_nothing(manager):
    async with await aconnect(manager.url, wait_s=30) as client:
        task = await client.submit(small_sequence(), SHOTS)
        growing = task.stream()
        async for result in growing:
            assert 0 < result.shots < SHOTS
            break
        await growing.aclose()
        assert (await task.result(timeout=120)).shots == SHOTS
        assert [result.shots async for result in task.stream()] == [SHOTS]
        with pytest.raises(TypeError, match=f"send its id, {task.id}"):
            pickle.dumps(task)


def test_a_stream_of_a_cancelled_task_ends_as_its_result_would(manager):
    with manager.connect() as client:
        task = client.submit(small_sequence(), 5000)
        growing = task.stream()
        assert next(growing).shots < 5000
        task.cancel()
        with pytest.raises(TaskCancelled):
            list(growing)


def test_a_timeout_ends_the_wait_and_never_the_task(manager):
    with manager.connect() as client:
        task = client.submit(small_sequence(), 150, held=True)
        with pytest.raises(WaitTimeout, match="the task goes on"):
            task.result(timeout=0.05)
        assert task.refresh().state is TaskState.HELD
        task.release()
        assert client.task(task.id).result(timeout=120).shots == 150


TRAVELLED = """
import base64, pickle, sys
task = pickle.loads(base64.b64decode(sys.argv[1]))
print(task.id, task.state)
print(task.result(timeout=120).shots, task.done())
"""


def test_a_handle_that_travelled_asks_the_same_manager(manager):
    with manager.connect() as client:
        task = client.submit(small_sequence(), 60, name="far")
        sent = pickle.dumps(task)
        words = [sys.executable, "-c", TRAVELLED, base64.b64encode(sent).decode()]
        done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=True)
        first, second = done.stdout.splitlines()
        assert first.startswith(f"{task.id} ")
        assert second == "60 True"
    back: Task = pickle.loads(sent)
    other: Task = pickle.loads(pickle.dumps(back))
    assert (back.id, repr(back)) == (task.id, repr(other))
    assert back.result(timeout=120).counts == other.result(timeout=120).counts
    shared = shared_client(manager.url)
    assert shared is back._client is other._client, "one connection for all of a process"
    shared.close()
    late: Task = pickle.loads(sent)
    assert late.done(), "a closed one is replaced"
    shared_client(manager.url).close()
