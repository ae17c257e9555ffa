"""What a task measured, as a plain value: it pickles, and needs no connection."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from qpu_executor.errors import QpuExecutorError, TaskCancelled, TaskFailed
from qpu_executor.model.states import TaskState
from qpu_executor.programs.pulser_extra import import_pulser
from qpu_executor.wire.tasks import ChunkOut, ResultOut, StateTime, TaskOut

if TYPE_CHECKING:
    from pulser.backend.results import Results


@dataclass(frozen=True)
class Result:
    """The result of a COMPLETED task.

    `counts`: bitstring -> times seen; bit i belongs to `qubit_ids[i]`; they sum
    to `shots`. `epochs`: calibration epochs of the shots (None: the device
    doesn't say). `duration_ns`: of one shot's pulses, None where unknown.

    `stopped_early`: the task's stopping rule was met (`stop_reason`) before all of
    `shots_asked` were taken; `shots_saved` were not, and aren't charged. The number of shots
    depended on the shots then: intervals for a number fixed before don't hold.
    """

    task_id: int
    name: str
    counts: Counter[str]
    shots: int
    qpu: str | None
    device: str | None
    emulated: bool | None
    epochs: tuple[str | None, ...]
    seed: int
    program_hash: str
    qubit_ids: tuple[str, ...]
    duration_ns: int | None
    submitted_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    chunks: tuple[ChunkOut, ...] = field(repr=False)
    history: tuple[StateTime, ...] = field(repr=False)
    versions: dict[str, str] = field(repr=False)
    surplus_shots: int = 0
    stopped_early: bool = False
    stop_reason: str | None = None
    shots_asked: int | None = None
    shots_saved: int = 0

    @classmethod
    def from_wire(cls, out: ResultOut) -> Result:
        """The manager's answer as a result."""
        task = out.task
        return cls(
            task_id=task.id,
            name=task.name,
            counts=Counter(out.counts),
            shots=out.shots,
            qpu=out.qpu,
            device=out.device,
            emulated=out.emulated,
            epochs=tuple(out.epochs),
            seed=task.seed,
            program_hash=task.program_hash,
            qubit_ids=tuple(out.qubit_ids),
            duration_ns=out.duration_ns,
            submitted_at=task.submitted_at,
            started_at=task.started_at,
            ended_at=task.ended_at,
            chunks=tuple(out.chunks),
            history=tuple(out.history),
            versions=dict(out.versions),
            surplus_shots=out.surplus_shots,
            stopped_early=task.stopped_early,
            stop_reason=task.stop_reason,
            shots_asked=task.shots,
            shots_saved=task.shots_saved,
        )

    @property
    def wait_s(self) -> float | None:
        """Seconds from submission to the first chunk."""
        return None if self.started_at is None else _seconds(self.submitted_at, self.started_at)

    @property
    def run_s(self) -> float | None:
        """Seconds from the first chunk to the end."""
        if self.started_at is None or self.ended_at is None:
            return None
        return _seconds(self.started_at, self.ended_at)

    def to_pulser(self) -> Results:
        """As Pulser's own Results. Raises ConfigError if Pulser isn't installed."""
        import_pulser()
        from pulser.backend.results import Results

        return Results.from_final_bitstrings(
            atom_order=self.qubit_ids,
            total_duration=self.duration_ns or 0,
            final_bitstrings=Counter(self.counts),
        )

    def __repr__(self) -> str:
        top = ", ".join(f"{bits}: {times}" for bits, times in self.counts.most_common(3))
        more = ", ..." if len(self.counts) > 3 else ""
        name = f" {self.name!r}" if self.name else ""
        where = f" on {self.qpu}" + (" (emulated)" if self.emulated else "")
        asked = f" of {self.shots_asked} (stopped early)" if self.stopped_early else ""
        shots = f"{self.shots}{asked} shots"
        return f"<Result of task {self.task_id}{name}: {shots}{where}, {{{top}{more}}}>"


TaskEnd = ResultOut | TaskOut
"""How a task ended: with a result, or as FAILED or CANCELLED."""


def result_or_raise(end: TaskEnd) -> Result:
    """The result; raises TaskFailed or TaskCancelled where there is none."""
    if isinstance(end, ResultOut):
        return Result.from_wire(end)
    raise end_error(end)


def end_error(task: TaskOut) -> QpuExecutorError:
    """The error of a FAILED or CANCELLED task, as a new object for each who asks."""
    where = f"task {task.id}" + (f" {task.name!r}" if task.name else "")
    if task.qpu:
        where += f" on {task.qpu}"
    if task.state is TaskState.CANCELLED:
        reason = task.error or task.reason
        return TaskCancelled(
            "the task was cancelled" + (f": {reason}" if reason else ""), where=where
        )
    return TaskFailed(
        task.error or task.reason or "the task failed",
        where=where,
        permanent=task.permanent,
        next_step="change the program or the request" if task.permanent else "submit it again",
    )


def _seconds(start: datetime, end: datetime) -> float:
    return max(0.0, (end - start).total_seconds())
