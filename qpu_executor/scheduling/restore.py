"""Rebuilding the core's memory from stored tasks, without commands.

What became of the chunks that were out arrives afterwards as ordinary events.
"""

from __future__ import annotations

from typing import NamedTuple

from qpu_executor.errors import InternalError
from qpu_executor.model.states import ChunkState, TaskState
from qpu_executor.model.values import ChunkId, Instant, TaskSpec
from qpu_executor.scheduling.queue import Queue
from qpu_executor.scheduling.state import Chunk, CoreState


class StoredChunk(NamedTuple):
    """A chunk that was out when the manager ended."""

    id: ChunkId
    qpu: str
    shots: int
    first_shot: int
    state: ChunkState


def rebuild(
    state: CoreState,
    queue: Queue,
    now: Instant,
    spec: TaskSpec,
    task_state: TaskState,
    *,
    shots_done: int,
    faults: int,
    stored: StoredChunk | None,
    next_chunk_n: int,
) -> None:
    """Put one stored task back. Raises InternalError for what can't have been stored."""
    _refuse_impossible(state, spec, task_state, shots_done, stored, next_chunk_n)
    task = queue.admit(spec, state.job_class(spec.job_class))
    task.state, task.shots_done, task.faults = task_state, shots_done, faults
    task.next_n = next_chunk_n
    if task_state is TaskState.QUEUED and task.clock is not None:
        task.clock.deferred = True  # until what it depends on is back as well
    elif task_state is not TaskState.HELD:
        task.work_s = state.expected_s(task)
        queue.rank(task, spec.submitted_at)
    if task_state is TaskState.QUEUED and task.entry is not None:
        queue.push(task, now)
    if stored is not None:
        chunk = Chunk(stored.id, stored.qpu, stored.first_shot, stored.shots, stored.state)
        task.chunk = chunk
        qpu = state.qpu(stored.qpu)
        qpu.running[task.task_id] = chunk
        qpu.overhang = max(qpu.overhang, len(qpu.running))
        qpu.last_task = task.task_id
        chunk.epoch_n = qpu.calibration.epoch_n


def _refuse_impossible(
    state: CoreState,
    spec: TaskSpec,
    task_state: TaskState,
    shots_done: int,
    stored: StoredChunk | None,
    next_chunk_n: int,
) -> None:
    wrong = None
    if spec.task_id in state.tasks:
        wrong = "it is alive already"
    elif task_state.final:
        wrong = f"it has ended ({task_state})"
    elif not 0 <= shots_done < spec.shots:
        wrong = f"{shots_done} of {spec.shots} shots done"
    elif (stored is not None) != (task_state is TaskState.RUNNING):
        wrong = f"{task_state} {'without' if stored is None else 'with'} a chunk"
    elif stored is not None and (
        stored.state.ended
        or stored.id.task_id != spec.task_id
        or stored.id.n >= next_chunk_n
        or stored.first_shot != shots_done
        or stored.qpu not in spec.qpus
    ):
        wrong = f"chunk {stored.id} ({stored.state}) can't be the one that is out"
    if wrong is not None:
        raise InternalError(
            f"a stored task can't be taken back: {wrong}",
            where=f"task {spec.task_id}",
            expected="a task that hasn't ended; RUNNING exactly if one of its chunks is out",
        )
