"""From a journal's rows to a recording: what was a cause, and how fast the QPUs were."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from qpu_executor.model.events import (
    CalibrationReported,
    QpuDrained,
    QpuResumed,
    TaskCancelAsked,
    TaskHoldAsked,
    TaskRebound,
    TaskReleaseAsked,
    TaskStopAsked,
    WarmHoldAsked,
    WindowsChanged,
)
from qpu_executor.model.states import FINAL_TASK_STATES, QpuState
from qpu_executor.model.values import MICROSECONDS, ChunkId, Instant, TaskSpec
from qpu_executor.simulation.closings import Closings
from qpu_executor.simulation.measuring import Measuring
from qpu_executor.simulation.recorded_spec import task_of, window_of
from qpu_executor.simulation.recording import (
    Asked,
    Effect,
    JournalEntry,
    RecordedTask,
    Recording,
    SiteAct,
    SiteEvent,
    TaskEvent,
)

_FINAL = {state.value for state in FINAL_TASK_STATES}

_OF_TASKS: dict[str, Callable[[int], TaskEvent]] = {
    "TaskCancelAsked": TaskCancelAsked,
    "TaskHoldAsked": TaskHoldAsked,
    "TaskReleaseAsked": TaskReleaseAsked,
    "TaskStopAsked": TaskStopAsked,
}

_OF_QPUS: dict[str, Callable[[Mapping[str, Any]], SiteEvent]] = {
    "QpuDrained": lambda data: QpuDrained(data["qpu"], data.get("reason", "")),
    "QpuResumed": lambda data: QpuResumed(data["qpu"]),
    "WindowsChanged": lambda data: WindowsChanged(
        data["qpu"], tuple(window_of(one) for one in data["windows"])
    ),
    "WarmHoldAsked": lambda data: WarmHoldAsked(**data),
    "CalibrationReported": lambda data: CalibrationReported(**data),
}

_ENDS_OF_CHUNKS = {
    "ChunkFinished": Effect.WAITS,
    "ChunkStopped": Effect.STOPS,
    "ChunkLost": Effect.LOSES,
}


@dataclass(slots=True)
class _Seen:
    """What became of a task in the recording."""

    spec: TaskSpec
    submitted_at: Instant
    ended_at: Instant | None = None
    asked: list[tuple[Instant, TaskEvent]] = field(default_factory=list)


class _Reader:
    """Takes a journal's entries in their order."""

    def __init__(self, chunk_qpus: Mapping[ChunkId, str]) -> None:
        self.tasks: dict[int, _Seen] = {}
        self.acts: list[tuple[Instant, SiteEvent]] = []
        self.closings = Closings()
        self.measuring = Measuring()
        self.first_at: Instant | None = None
        self.last_at: Instant = 0
        self._chunk_qpus = chunk_qpus

    def take(self, entry: JournalEntry) -> None:
        self.first_at = entry.at if self.first_at is None else self.first_at
        self.last_at = max(self.last_at, entry.at)
        kind, data = entry.kind, entry.data
        if kind == "TaskSubmitted":
            spec = task_of(data["task"])
            self.tasks[spec.task_id] = _Seen(spec, entry.at)
        elif kind in _OF_TASKS:
            self._asked(int(data["task_id"]), _OF_TASKS[kind], entry.at)
        elif kind == "TaskRebound":
            self._asked(int(data["task_id"]), lambda _: TaskRebound(**data), entry.at)
        elif kind == "StoppingRuleMet":
            self._enough(int(data["task_id"]), int(data["shots"]))
        elif kind in _OF_QPUS:
            self.acts.append((entry.at, _OF_QPUS[kind](data)))
        elif kind == "ChunkStarted":
            chunk = ChunkId(*data["chunk"])
            if chunk.task_id in self.tasks:
                self.closings.chunk_started(self._qpu_of(chunk), entry.at)
        elif kind in _ENDS_OF_CHUNKS:
            self._chunk(kind, data, entry.at)
        elif kind == "QpuReported":
            reason = str(data.get("reason", ""))
            is_open = data["state"] == QpuState.UP
            self.closings.reported(str(data["qpu"]), reason, entry.at, is_open=is_open)
        elif kind.startswith("Calibration"):
            self.closings.calibration(kind, data, entry.at)
        if entry.state is not None and entry.state.value in _FINAL:
            seen = self.tasks.get(entry.task_id or 0)
            if seen is not None:
                seen.ended_at = entry.at

    def still_drained(self) -> Iterable[tuple[Instant, SiteEvent]]:
        """A QPU that is drained when the recording ends is resumed then."""
        drained = dict.fromkeys(event.qpu for _, event in self.acts if type(event) is QpuDrained)
        for qpu in drained:
            last = [event for _, event in self.acts if event.qpu == qpu and _drains(event)][-1]
            if isinstance(last, QpuDrained):
                yield self.last_at, QpuResumed(qpu)

    def _asked(self, task_id: int, event: Callable[[int], TaskEvent], at: Instant) -> None:
        seen = self.tasks.get(task_id)
        if seen is not None:
            seen.asked.append((at, event(task_id)))

    def _enough(self, task_id: int, shots: int) -> None:
        """A rehearsal has no counts to judge: the task takes as many shots as were enough."""
        seen = self.tasks.get(task_id)
        if seen is not None:
            seen.spec = replace(seen.spec, shots=min(seen.spec.shots, shots))

    def _qpu_of(self, chunk: ChunkId) -> str:
        """The QPU that ran a chunk of a known task."""
        return self._chunk_qpus.get(chunk, self.tasks[chunk.task_id].spec.qpus[0])

    def _chunk(self, kind: str, data: Mapping[str, Any], at: Instant) -> None:
        chunk = ChunkId(*data["chunk"])
        seen = self.tasks.get(chunk.task_id)
        if seen is None:
            return
        qpu = self._qpu_of(chunk)
        self.closings.chunk_ended(qpu, _ENDS_OF_CHUNKS[kind], at)
        if kind != "ChunkLost":
            self.measuring.chunk(
                qpu,
                seen.spec,
                shots=int(data["shots"]),
                device_s=float(data["device_s"]),
                setup_s=float(data.get("setup_s", 0.0)),
            )


def read_recording(
    entries: Iterable[JournalEntry], chunk_qpus: Mapping[ChunkId, str] | None = None
) -> Recording:
    """The causes in a journal, in its order. Tasks submitted before it begins are left out.

    `chunk_qpus`: which QPU ran a chunk; where it isn't known, the first that its task names.
    """
    reader = _Reader(chunk_qpus or {})
    for entry in entries:
        reader.take(entry)
    start = reader.first_at or 0
    qpus = dict.fromkeys(qpu for one in reader.tasks.values() for qpu in one.spec.qpus)
    outages, calibrations = reader.closings.found(start, reader.last_at)
    return Recording(
        tasks=tuple(_causes(reader, start)),
        outages=tuple(one for one in outages if one.qpu in qpus),
        calibrations=tuple(one for one in calibrations if one.qpu in qpus),
        acts=tuple(
            SiteAct((at - start) / MICROSECONDS, event)
            for at, event in [*reader.acts, *reader.still_drained()]
            if event.qpu in qpus
        ),
        qpus={qpu: reader.measuring.of_qpu(qpu) for qpu in sorted(qpus)},
        shot_s=reader.measuring.mean_shot_s(),
        start_at=start,
        end_at=reader.last_at,
    )


def _drains(event: SiteEvent) -> bool:
    return isinstance(event, QpuDrained | QpuResumed)


def _causes(reader: _Reader, start: Instant) -> Iterable[RecordedTask]:
    """Every submission with what it followed. Sessions are short of tasks, so this looks at all."""
    ended: dict[tuple[str, str], list[tuple[Instant, int]]] = {}
    for task_id, one in reader.tasks.items():
        session = one.spec.session_id
        if session is not None and one.ended_at is not None:
            ended.setdefault((one.spec.owner, session), []).append((one.ended_at, task_id))
    for task_id, one in reader.tasks.items():
        before = ended.get((one.spec.owner, one.spec.session_id or ""), [])
        at, after = max(
            ((end, other) for end, other in before if end <= one.submitted_at and other != task_id),
            default=(start, None),
        )
        submitted_at = one.submitted_at
        yield RecordedTask(
            spec=one.spec,
            after=after,
            delay_s=(submitted_at - at) / MICROSECONDS,
            shot_s=reader.measuring.of_task(task_id),
            asked=tuple(
                Asked((asked_at - submitted_at) / MICROSECONDS, event)
                for asked_at, event in one.asked
            ),
        )
