"""What happened to a task so far, why it waits, and when it may start: the text of its log.

Pure. No program and no counts go into it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from qpu_executor.model.states import ChunkState, TaskState
from qpu_executor.wire.policy import RangeOut, WhyOut
from qpu_executor.wire.tasks import ChunkOut, TaskDetail


def story(task: TaskDetail, why: WhyOut) -> str:
    """A task's log, the oldest line first; times are UTC."""
    return "\n".join([*_so_far(task), *_now(task, why)]) + "\n"


def _so_far(task: TaskDetail) -> Iterator[str]:
    events = [(one.at, f"{one.state}") for one in task.history]
    events += [(chunk.sent_at, _sent(chunk)) for chunk in task.chunks]
    events += [
        (chunk.ended_at, _ended(chunk)) for chunk in task.chunks if chunk.ended_at is not None
    ]
    yield f"task {task.id}: {task.shots} shots, class {task.job_class}, account {task.account}"
    for at, what in sorted(events, key=lambda event: event[0]):
        yield f"{_clock(at)} {what}"


def _sent(chunk: ChunkOut) -> str:
    return f"chunk {chunk.n} sent to {chunk.qpu}: {chunk.shots} shots"


def _ended(chunk: ChunkOut) -> str:
    said = f"chunk {chunk.n} {chunk.state}: {chunk.shots_counted} of {chunk.shots} shots counted"
    if chunk.discarded:
        said += ", discarded after a calibration"
    return f"{said} ({chunk.reason})" if chunk.reason else said


def _now(task: TaskDetail, why: WhyOut) -> Iterator[str]:
    yield f"{_clock(why.as_of)} it is {task.state}: {task.shots_done} of {task.shots} shots counted"
    if task.state is TaskState.FAILED:
        yield f"error: {task.error or 'no reason is known'}"
    if task.stopped_early:
        yield f"ended early: {task.stop_reason}"
    for chunk in task.chunks:
        if chunk.state is ChunkState.UNKNOWN:
            yield f"nobody knows what became of chunk {chunk.n}: {chunk.reason or chunk.qpu}"
    if why.reason is not None:
        yield f"it waits: {why.reason}" + (f": {why.detail}" if why.detail else "")
    if why.until is not None:
        yield f"until {_clock(why.until)} at the latest"
    if why.rank is not None:
        yield f"place in line: {why.rank}"
    yield from _expected("start", why.expected_start)
    yield from _expected("end", why.expected_end)


def _expected(what: str, span: RangeOut | None) -> Iterator[str]:
    if span is not None:
        yield (
            f"expected {what}: {_clock(span.likely)}"
            f" (between {_clock(span.earliest)} and {_clock(span.latest)})"
        )


def _clock(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
