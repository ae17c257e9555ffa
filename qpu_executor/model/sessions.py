"""What a session says of its work, which Slurm job it belongs to, and what its end means.

Hints: policies may use them, none needs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class WorkShape(StrEnum):
    """Where a hybrid workload spends its time, in the words of the field."""

    QPU_HEAVY = "qpu-heavy"
    """It thinks for seconds between quantum tasks that take minutes."""
    BALANCED = "balanced"
    """It thinks about as long as its quantum tasks take."""
    CLASSICAL_HEAVY = "classical-heavy"
    """It thinks for much longer than its quantum tasks take."""


@dataclass(frozen=True, slots=True)
class SessionHints:
    """What a session says of its tasks; None: it doesn't say.

    `expected_tasks`: how many it will submit in all. `think_s`: seconds of classical work
    between the end of a task and the submission of the next one. Nobody checks either.
    """

    shape: WorkShape | None = None
    expected_tasks: int | None = None
    think_s: float | None = None

    def __bool__(self) -> bool:
        """True if anything is said."""
        return (self.shape, self.expected_tasks, self.think_s) != (None, None, None)


NO_HINTS = SessionHints()


class TaskFate(StrEnum):
    """What becomes of a session's tasks when it is lost, closed, or ends by itself."""

    FINISH = "finish"
    """They go on as if nothing had happened."""
    HOLD = "hold"
    """They are kept back (a running chunk is finished first) and lose no shot."""
    CANCEL = "cancel"
    """They are cancelled."""


@dataclass(frozen=True, slots=True)
class SlurmJob:
    """A Slurm job in one incarnation. `restart_count`: how often it was requeued before.

    `job_id`: of a heterogeneous job, its first component's; `het_size`: its components.
    `array_job_id`, `array_task_id`: of the array that it is a task of, if it is one.
    """

    cluster: str
    job_id: int
    restart_count: int = 0
    array_job_id: int | None = None
    array_task_id: int | None = None
    het_size: int | None = None

    def __str__(self) -> str:
        """As people read it: `qtest/17`, `qtest/18 (17_3)`, `qtest/17 restart 2`."""
        in_array = self.array_job_id is not None and self.array_task_id is not None
        array = f" ({self.array_job_id}_{self.array_task_id})" if in_array else ""
        again = f" restart {self.restart_count}" if self.restart_count else ""
        return f"{self.cluster}/{self.job_id}{array}{again}"

    def same_job(self, other: SlurmJob | None) -> bool:
        """True for the same job, whatever its incarnation."""
        return other is not None and (self.cluster, self.job_id) == (other.cluster, other.job_id)

    def same_incarnation(self, other: SlurmJob | None) -> bool:
        """True for the same job between two requeues."""
        return self.same_job(other) and self.restart_count == getattr(other, "restart_count", None)
