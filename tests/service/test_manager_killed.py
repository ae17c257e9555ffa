"""kill -9 of the manager at bad moments: nothing lost, nothing counted twice."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pulser
import pytest

from qpu_executor.client import Client, TaskOrder
from qpu_executor.model.states import ChunkState, TaskState
from qpu_executor.programs.program import Program
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.testing.sequences import line, small_sequence


@pytest.fixture(scope="module")
def slow() -> Program:
    """A program whose simulation takes seconds, so that there is time to kill."""
    atoms = line(14, 5.5)
    return to_program(small_sequence(pulser.AnalogDevice, atoms=atoms, duration_ns=3500))


@pytest.fixture(scope="module")
def quick() -> Program:
    return to_program(small_sequence())


def chunks_in(store: Any) -> list[tuple[int, int, str]]:
    """(task, n, state) of every chunk in a store that nobody has open."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as database, database:
        rows = database.execute("select task_id, n, state from chunks order by task_id, n")
        return [(task, n, state) for task, n, state in rows]


def journal_of_chunks(store: Any) -> list[str]:
    """What the journal tells of chunks, in order, in a store that nobody has open."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as database, database:
        rows = database.execute("select kind from journal where kind like 'Chunk%' order by n")
        return [kind for (kind,) in rows]


def wait_for_chunk(client: Client, task_id: int) -> None:
    """Return once the task's chunk was accepted by the QPU."""
    events = client.events(after=0)
    for event in events:
        if event.task == task_id and event.state is TaskState.RUNNING:
            break
    while client.task_detail(task_id).chunks[-1].state is ChunkState.SENT:
        next(iter(client.events(after=0)))


def test_killed_while_a_chunk_runs_restart_gives_the_same_counts_once(
    served: Any, make_manager: Any, slow: Program
) -> None:
    undisturbed = make_manager()
    undisturbed.start()
    with undisturbed.connect() as client:
        expected = client.submit(slow, 200, seed=11).result()
    with served.connect() as client:
        task = client.submit(slow, 200, seed=11)
        wait_for_chunk(client, task.id)
        served.kill()
        # The journal and the rows prove that the chunk was at the QPU when it happened.
        assert journal_of_chunks(served.store) == ["ChunkStarted"]
        assert chunks_in(served.store) == [(task.id, 0, "RUNNING")]
        served.start()
        result = task.result(timeout=120)
    told = journal_of_chunks(served.store)
    assert told == ["ChunkStarted", "ChunkLost", "ChunkStarted", "ChunkFinished"]
    assert result.counts == expected.counts
    assert result.shots == 200 == sum(result.counts.values())
    assert [(c.n, c.state, c.shots_counted) for c in result.chunks] == [
        (0, ChunkState.LOST, 0),
        (1, ChunkState.FINISHED, 200),
    ]


def test_killed_over_and_over_every_task_is_counted_exactly_once(
    served: Any, quick: Program
) -> None:
    with served.connect() as client:
        tasks = client.submit_many(
            [TaskOrder(program=quick, shots=50, seed=i, name=f"t{i}") for i in range(40)]
        )
        for done in (1, 10, 25):
            tasks[done].result(timeout=120)
            served.kill()
            served.start()
        results = [task.result(timeout=120) for task in tasks]
        again = client.submit(quick, 50, seed=7).result(timeout=120)
    assert [result.shots for result in results] == [50] * 40
    assert [sum(result.counts.values()) for result in results] == [50] * 40
    assert results[7].counts == again.counts
    with closing(sqlite3.connect(served.store)) as database, database:
        counted = database.execute(
            "select task_id, sum(shots_counted) from chunks group by task_id"
        ).fetchall()
    assert counted == [(task.id, 50) for task in tasks] + [(again.task_id, 50)]


def test_killed_right_after_the_answer_the_task_is_there(served: Any, quick: Program) -> None:
    with served.connect() as client:
        task = client.submit(quick, 10, key="mine", held=True)
        served.kill()
        served.start()
        assert client.task(task.id).state is TaskState.HELD
        assert client.submit(quick, 10, key="mine", held=True).id == task.id
        task.release()
        assert task.result(timeout=120).shots == 10


def test_cancel_asked_before_the_kill_is_not_forgotten(served: Any, slow: Program) -> None:
    with served.connect() as client:
        blocker = client.submit(slow, 10)
        waiting = client.submit(slow, 10)
        waiting.cancel()
        wait_for_chunk(client, blocker.id)
        served.kill()
        served.start()
        assert client.task(waiting.id).state is TaskState.CANCELLED
        assert blocker.result(timeout=120).shots == 10


def test_sigterm_ends_in_good_order_and_the_next_one_goes_on(served: Any, quick: Program) -> None:
    with served.connect() as client:
        task = client.submit(quick, 10, held=True)
    assert served.stop() == 0
    assert not (served.directory / "m.sock").exists()
    served.start()
    with served.connect() as client:
        client.task(task.id).release()
        assert client.task(task.id).result(timeout=120).shots == 10
