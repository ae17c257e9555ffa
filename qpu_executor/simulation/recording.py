"""The causes in a manager's journal: who submitted what, after what, and when QPUs were closed.

Outcomes are left out: what a task waited, and when its chunks ran, is for the
rehearsal to find out. What follows from an outcome is kept as such: a task of a
session that was submitted after another one had ended is submitted in the
rehearsal as long after that other one's end as it was then (its think time). So
a policy that is quicker is asked for more, as it would have been.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from qpu_executor.model.states import FINAL_TASK_STATES, QpuState, TaskState
from qpu_executor.model.values import MICROSECONDS, Instant

_FINAL = {state.value for state in FINAL_TASK_STATES}


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One row of a journal. `state`: of rows that tell a task's new state."""

    at: Instant
    kind: str
    task_id: int | None
    state: TaskState | None
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RecordedTask:
    """A submission. `after`: the task whose end it followed, None where it came by itself.

    `delay_s`: after that end, or after the start of the recording. `shot_s`: seconds a
    shot took (None: it took none). `cancel_after_s`: after its submission, if somebody
    cancelled it. `shots`: as many as were enough, where its stopping rule was met (the
    rehearsal has no counts to judge).
    """

    task_id: int
    owner: str
    account: str
    job_class: str
    shots: int
    qpus: tuple[str, ...]
    priority: int
    divisible: bool
    after: int | None
    delay_s: float
    shot_s: float | None
    cancel_after_s: float | None


@dataclass(frozen=True, slots=True)
class Closing:
    """A QPU took nothing for a while. Seconds from the start of the recording."""

    qpu: str
    begins_s: float
    lasts_s: float


@dataclass(frozen=True, slots=True)
class Recording:
    """What is played again. `shot_s`, `setup_s`: means over all that was recorded."""

    tasks: tuple[RecordedTask, ...]
    closings: tuple[Closing, ...]
    qpus: tuple[str, ...]
    shot_s: float
    setup_s: float


@dataclass(slots=True)
class _Seen:
    """What became of a task in the recording."""

    spec: Mapping[str, Any]
    submitted_at: Instant
    ended_at: Instant | None = None
    cancel_at: Instant | None = None
    shots: int = 0
    device_s: float = 0.0
    enough: int | None = None


@dataclass(slots=True)
class _Reader:
    tasks: dict[int, _Seen] = field(default_factory=dict)
    setups: list[float] = field(default_factory=list)
    closed_since: dict[str, Instant] = field(default_factory=dict)
    closed: list[tuple[str, Instant, Instant]] = field(default_factory=list)
    first_at: Instant | None = None
    last_at: Instant = 0

    def take(self, entry: JournalEntry) -> None:
        self.first_at = entry.at if self.first_at is None else self.first_at
        self.last_at = max(self.last_at, entry.at)
        data = entry.data
        seen = None if entry.task_id is None else self.tasks.get(entry.task_id)
        if entry.kind == "TaskSubmitted":
            self.tasks[int(data["task"]["task_id"])] = _Seen(data["task"], entry.at)
        elif entry.kind in ("ChunkFinished", "ChunkStopped"):
            self._chunk(data)
        elif entry.kind == "TaskCancelAsked":
            asked = self.tasks.get(int(data["task_id"]))
            if asked is not None and asked.cancel_at is None:
                asked.cancel_at = entry.at
        elif entry.kind == "StoppingRuleMet" and seen is not None:
            seen.enough = int(data["shots"])
        elif entry.kind == "QpuReported":
            self._open_or_close(str(data["qpu"]), data["state"] == QpuState.UP, entry.at)
        elif entry.kind in ("CalibrationStarted", "CalibrationEnded"):
            self._open_or_close(str(data["qpu"]), entry.kind.endswith("Ended"), entry.at)
        if seen is not None and entry.state is not None and entry.state.value in _FINAL:
            seen.ended_at = entry.at

    def _chunk(self, data: Mapping[str, Any]) -> None:
        task_id, n = data["chunk"]
        seen = self.tasks.get(int(task_id))
        if seen is not None:
            seen.shots += int(data["shots"])
            seen.device_s += float(data["device_s"])
        if n == 0:
            self.setups.append(float(data.get("setup_s", 0.0)))

    def _open_or_close(self, qpu: str, is_open: bool, at: Instant) -> None:
        if not is_open:
            self.closed_since.setdefault(qpu, at)
        elif qpu in self.closed_since:
            self.closed.append((qpu, self.closed_since.pop(qpu), at))


def read_recording(entries: Iterable[JournalEntry]) -> Recording:
    """The causes in a journal, in its order. Tasks submitted before it begins are left out."""
    reader = _Reader()
    for entry in entries:
        reader.take(entry)
    start = reader.first_at or 0
    shots = sum(one.shots for one in reader.tasks.values())
    device_s = sum(one.device_s for one in reader.tasks.values())
    still_closed = [(qpu, at, reader.last_at) for qpu, at in reader.closed_since.items()]
    qpus = dict.fromkeys(qpu for one in reader.tasks.values() for qpu in one.spec["qpus"])
    closings = (
        Closing(qpu, (begin - start) / MICROSECONDS, (end - begin) / MICROSECONDS)
        for qpu, begin, end in sorted([*reader.closed, *still_closed], key=lambda one: one[1])
        if qpu in qpus and end > begin
    )
    return Recording(
        tasks=tuple(_causes(reader.tasks, start)),
        closings=tuple(closings),
        qpus=tuple(sorted(qpus)),
        shot_s=device_s / shots if shots and device_s > 0 else 1.0,
        setup_s=sum(reader.setups) / len(reader.setups) if reader.setups else 0.0,
    )


def _causes(seen: Mapping[int, _Seen], start: Instant) -> Iterable[RecordedTask]:
    """Every submission with what it followed. Sessions are short of tasks, so this looks at all."""
    ended: dict[tuple[str, str], list[tuple[Instant, int]]] = {}
    for task_id, one in seen.items():
        session = one.spec.get("session_id")
        if session is not None and one.ended_at is not None:
            ended.setdefault((one.spec["owner"], session), []).append((one.ended_at, task_id))
    for task_id, one in seen.items():
        before = ended.get((one.spec["owner"], one.spec.get("session_id") or ""), [])
        at, after = max(
            ((end, other) for end, other in before if end <= one.submitted_at and other != task_id),
            default=(start, None),
        )
        yield _recorded(task_id, one, after, (one.submitted_at - at) / MICROSECONDS)


def _recorded(task_id: int, one: _Seen, after: int | None, delay_s: float) -> RecordedTask:
    spec, cancel_s = one.spec, None
    if one.cancel_at is not None:
        cancel_s = (one.cancel_at - one.submitted_at) / MICROSECONDS
    asked = int(spec["shots"])
    return RecordedTask(
        task_id=task_id,
        owner=spec["owner"],
        account=spec["account"],
        job_class=spec["job_class"],
        shots=asked if one.enough is None else min(asked, one.enough),
        qpus=tuple(spec["qpus"]),
        priority=int(spec.get("priority", 0)),
        divisible=bool(spec.get("divisible", True)),
        after=after,
        delay_s=delay_s,
        shot_s=one.device_s / one.shots if one.shots and one.device_s > 0 else None,
        cancel_after_s=cancel_s,
    )
