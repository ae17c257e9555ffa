"""What the scheduling core is told: tasks, classes and QPUs, without programs or counts.

Instants are integer microseconds since the epoch on the manager's clock
(`*_at`); durations are seconds (`*_s`). Priorities: higher is sooner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from qpu_executor.model.sessions import SessionHints
from qpu_executor.model.states import QpuState
from qpu_executor.model.timing import MICROSECONDS as MICROSECONDS
from qpu_executor.model.timing import CalibrationPlan, Timing
from qpu_executor.model.timing import Instant as Instant

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
    """A class of service, as the site defines it. `chunk_s`: wanted chunk length.

    `may_preempt`: its tasks may take the place of a running task of another class at
    the end of a chunk; `preemptible`: they give their place to such tasks. Limits (None:
    none): `max_shots` of one task, `max_queued` and `max_running` tasks of a user,
    `qpu_s_per_day` of QPU time charged to a user. `min_share`: fraction of the open QPU
    time that the class gets while it has work. `qpus`: those it may use (None: all);
    `fallback`: QPUs that it may use besides, after those (emulators, usually).
    `wait_target_s`: the wait that the site aims at. `device_of`: QPU whose device every
    program has to fit, wherever it runs (None: the device of where it runs is enough).
    """

    name: str
    priority: int
    chunk_s: float = 10.0
    max_shots: int | None = None
    description: str = ""
    may_preempt: bool = True
    preemptible: bool = True
    max_queued: int | None = None
    max_running: int | None = None
    qpu_s_per_day: float | None = None
    wait_target_s: float | None = None
    qpus: tuple[str, ...] | None = None
    fallback: tuple[str, ...] = ()
    min_share: float = 0.0
    device_of: str | None = None


@dataclass(frozen=True, slots=True)
class QpuSpec:
    """A QPU as the core sees it.

    `slots`: chunks that may run at once (hardware: 1). `shot_rate_hz`: expected
    before the first measurement, None when unknown. `min_chunk_shots` and
    `max_chunk_shots`: what the device takes in one go (None: no limit).
    `setup_s`: expected before the first shot of a chunk; `switch_s`: on top of it where
    the chunk before was another task's; `layout_s`: on top of those where its register
    layout was another one. `group_tasks`, `group_s`: chunks, and seconds, for which the
    next in line may be passed over by equals that have the loaded layout (0: never).
    `max_linger_s`, `max_run_s`: for how long a session may keep the QPU between two of
    its tasks, and for a contiguous run (0: not); `max_run_idle_s`: such a run ends when
    nothing of the session ran for so long (None: it goes on).
    `partial_results`: a stopped chunk gives the shots that it took. `emulated`: no real
    atoms (the charging table has a factor for it).
    """

    name: str
    slots: int = 1
    min_chunk_shots: int = 1
    max_chunk_shots: int | None = None
    shot_rate_hz: float | None = None
    state: QpuState = QpuState.UP
    reason: str = ""
    setup_s: float = 0.0
    switch_s: float = 0.0
    layout_s: float = 0.0
    group_tasks: int = 0
    group_s: float = 0.0
    max_linger_s: float = 0.0
    max_run_s: float = 0.0
    max_run_idle_s: float | None = None
    partial_results: bool = True
    calibration: CalibrationPlan | None = None
    emulated: bool = False


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A task as the core sees it.

    `qpus`: names of the QPUs that can run it, as admission found them (never
    empty). `divisible`: its shots may be split into chunks. `key_at`: when it
    was submitted; ties in age are broken by `task_id`. `shot_s`: seconds that a shot of
    this program is expected to take (from its duration, or as its user said); None:
    the QPU's own rate is all there is. `deadline_at`: when its user wants it done.
    `path_s`: seconds of work, classical and quantum, from this task to the end of its
    job, as its workflow said (None: unknown). `session_hints`: what its session said of its
    work, if it did. `timing`: wishes about time, where there
    are any. `layout`: names its register layout (None: none, or any will do).
    `min_shots`: with so many it may be complete, if its stopping rule is met (None: it
    has no such rule).
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
    shot_s: float | None = None
    timing: Timing | None = None
    layout: str | None = None
    deadline_at: Instant | None = None
    path_s: float | None = None
    min_shots: int | None = None
    session_hints: SessionHints | None = None
