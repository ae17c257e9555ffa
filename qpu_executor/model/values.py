"""What the scheduling core is told: tasks, classes and QPUs, without programs or counts.

Instants are integer microseconds since the epoch on the manager's clock
(`*_at`); durations are seconds (`*_s`). Priorities: higher is sooner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from qpu_executor.model.states import QpuState

Instant = int
"""Microseconds since the epoch, on the manager's clock, which never goes back."""

MICROSECONDS = 1_000_000

MAX_TASK_ID = 2**31 - 1
"""Task ids are dense and fit a signed 32-bit integer, as Slurm's do."""


class ChunkId(NamedTuple):
    """Names a chunk: the task, and which of its chunks (from 0)."""

    task_id: int
    n: int

    def __str__(self) -> str:
        return f"{self.task_id}.{self.n}"

    @classmethod
    def parse(cls, text: str) -> ChunkId:
        """Read `"17.3"` back. Raises ValueError for anything else."""
        task_id, _, n = text.partition(".")
        return cls(int(task_id), int(n))


@dataclass(frozen=True, slots=True)
class JobClass:
    """A class of service, as the site defines it. `chunk_s`: wanted chunk length."""

    name: str
    priority: int
    chunk_s: float = 10.0
    max_shots: int | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class QpuSpec:
    """A QPU as the core sees it.

    `slots`: chunks that may run at once (hardware: 1). `shot_rate_hz`: expected
    before the first measurement, None when unknown. `min_chunk_shots` and
    `max_chunk_shots`: what the device takes in one go (None: no limit).
    """

    name: str
    slots: int = 1
    min_chunk_shots: int = 1
    max_chunk_shots: int | None = None
    shot_rate_hz: float | None = None
    state: QpuState = QpuState.UP
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A task as the core sees it.

    `qpus`: names of the QPUs that can run it, as admission found them (never
    empty). `divisible`: its shots may be split into chunks. `key_at`: when it
    was submitted; ties in age are broken by `task_id`.
    """

    task_id: int
    owner: str
    account: str
    job_class: str
    shots: int
    qpus: tuple[str, ...]
    submitted_at: Instant
    session_id: str | None = None
    priority: int = 0
    divisible: bool = True
    held: bool = False
