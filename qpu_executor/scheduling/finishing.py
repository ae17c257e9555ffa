"""When a task would be done on a QPU that has room, and on which of several it is best off. Pure.

The estimate is the task's remaining shots at the rate that is known best, the overhead of
its chunks and of a change of task or layout, and the next pause in the QPU's calendar
if the work reaches it. It looks at the free QPUs once each and plans nothing ahead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from qpu_executor.model.timing import Instant, after, seconds_between
from qpu_executor.scheduling.boundaries import next_boundary, overhead_s
from qpu_executor.scheduling.shot_times import ASSUMED_SHOT_S, expected_shot_s
from qpu_executor.scheduling.state import Qpu, Task


def expected_end(task: Task, qpu: Qpu, now: Instant) -> Instant:
    """When the task's remaining shots would be taken, if it started on the QPU now and kept it.

    A QPU of which no rate is known is taken to need `ASSUMED_SHOT_S` for a shot.
    """
    shot_s = expected_shot_s(task, qpu) or ASSUMED_SHOT_S
    chunks = 1
    if task.divisible:
        a_chunk = max(1, qpu.spec.min_chunk_shots, round(task.bucket.job_class.chunk_s / shot_s))
        chunks = math.ceil(task.remaining / min(a_chunk, qpu.spec.max_chunk_shots or a_chunk))
    work_s = overhead_s(task, qpu) + (chunks - 1) * qpu.spec.setup_s + task.remaining * shot_s
    end = after(now, work_s)
    edge = next_boundary(qpu, task.bucket, now)
    if edge is None or edge.at >= end:
        return end
    pause_s = 0.0 if qpu.spec.calibration is None else qpu.spec.calibration.length_s
    if edge.opens_at is not None:
        pause_s = max(0.0, seconds_between(max(edge.at, now), edge.opens_at))
    return after(end, pause_s)


def best_of(task: Task, free: Sequence[Qpu], now: Instant) -> Qpu:
    """The QPU, of those on which the task may start now, where it would be done first.

    Those that its class has as a fallback come after all others, and emulators after
    hardware, however fast they are; of equals, the one that the task names first.
    """
    names = task.bucket.needs.qpus
    fallback = task.bucket.job_class.fallback

    def rank(qpu: Qpu) -> tuple[bool, bool, Instant, int]:
        name = qpu.spec.name
        end = expected_end(task, qpu, now)
        return name in fallback, qpu.spec.emulated, end, names.index(name)

    return min(free, key=rank)
