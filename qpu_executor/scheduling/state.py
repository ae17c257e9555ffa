"""What the core remembers: slim, slotted, mutable records of what is alive.

Only the scheduler and its queue change them. A task that has ended is
forgotten, so memory and cost follow the live tasks, never their lifetime count.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from qpu_executor.errors import InternalError
from qpu_executor.model.sessions import SessionHints
from qpu_executor.model.states import ChunkState, QpuState, TaskState
from qpu_executor.model.timing import Timing, Window
from qpu_executor.model.values import ChunkId, Instant, JobClass, QpuSpec
from qpu_executor.scheduling.calibration import Calibration
from qpu_executor.scheduling.fair_share import Standing
from qpu_executor.scheduling.warm_hold import WarmHold

Key = tuple[int | float, ...]
"""Sorts tasks or buckets; the smallest goes first. Equal lengths within one policy."""

Entry = tuple[int | float, ...]
"""A task in a heap: its frozen key, then its id."""


class Requirements(NamedTuple):
    """What a task needs of a QPU. Tasks with equal requirements share buckets.

    All that decides whether a chunk may start now is in here, so that a task that
    must wait never keeps back one of another kind that may go. `whole_shots`: shots of
    an indivisible task. The rest is as in `Timing`; `one_epoch`: its shots have to
    come from one epoch.
    """

    qpus: tuple[str, ...]
    session_id: str | None = None
    whole_shots: int | None = None
    session_ends_at: Instant | None = None
    max_calibration_age_s: float | None = None
    min_quality: float | None = None
    one_epoch: bool = False
    layout: str | None = None

    @property
    def timeless(self) -> bool:
        """True if nothing but the QPU's own boundaries bind these tasks."""
        return (
            self.session_ends_at is None
            and self.max_calibration_age_s is None
            and self.min_quality is None
        )


@dataclass(slots=True, eq=False)
class Bucket:
    """Tasks that only their own keys tell apart: same class, account, owner, requirements.

    `timeless`: nothing but the QPU's own boundaries binds its tasks. `user`: where its
    owner stands in the account's fair share (with `user.parent`, the account). `heap`:
    entries of its queued tasks, and some stale ones. `queued`, `live`: tasks that wait;
    tasks that haven't ended. `head`: its current place in the QPUs' indexes, None where
    nothing waits.
    """

    job_class: JobClass
    account: str
    owner: str
    needs: Requirements
    user: Standing
    heap: list[Entry] = field(default_factory=list)
    queued: int = 0
    live: int = 0
    head: Head | None = None
    timeless: bool = field(init=False)

    def __post_init__(self) -> None:
        """Remember what every decision asks."""
        self.timeless = self.needs.timeless


Head = tuple[Key, Entry, Bucket]
"""A bucket in an index: its live key, its first entry, itself. Valid while `bucket.head` is it."""


@dataclass(slots=True, eq=False)
class Chunk:
    """A chunk that is out. `shots`: asked of the QPU. `stop_asked`: StopChunk was sent.

    `resumed`: its task had given way before it. `note`: goes on record with its end (why
    it was stopped, that it overran). What its end means for the task: `fails` (FAILED
    with this reason), `requeues` (waits again). `epoch_n`: the QPU's when it was sent.
    """

    id: ChunkId
    qpu: str
    first_shot: int
    shots: int
    state: ChunkState = ChunkState.SENT
    stop_asked: bool = False
    resumed: bool = False
    note: str = ""
    fails: str | None = None
    requeues: bool = False
    epoch_n: int = 0


@dataclass(slots=True, eq=False)
class TaskClock:
    """What is kept of a task that has wishes about time. `timing`: those wishes.

    `deferred`: it is QUEUED, but has to wait for an instant or a task before it takes
    part in the order. `unmet`: what it depends on and that hasn't ended. `limit_at`:
    when its time limit is over (None: no limit, or it hasn't run yet). `epoch`: QPU and
    `epoch_n` of its counted shots, kept where they have to come from one epoch;
    `charged_s`: what was charged for those shots.
    """

    timing: Timing
    deferred: bool = False
    unmet: set[int] = field(default_factory=set)
    limit_at: Instant | None = None
    epoch: tuple[str, int] | None = None
    charged_s: float = 0.0


@dataclass(slots=True, eq=False)
class EarlyStop:
    """What is kept of a task that has a stopping rule. `min_shots`: as in its `TaskSpec`.

    `shots`: with so many it has enough, and `reason` says why (None: not that we know).
    """

    min_shots: int
    shots: int | None = None
    reason: str = ""


class Measured(NamedTuple):
    """Seconds a shot of a task took lately on a QPU, by name."""

    qpu: str
    shot_s: float


class Hints(NamedTuple):
    """What a policy may want to know of a task, as in its `TaskSpec`; few tasks have it.

    `session`: what its session said of its work. Users say it, and nobody checks it.
    """

    deadline_at: Instant | None
    path_s: float | None
    session: SessionHints | None = None


@dataclass(slots=True, eq=False)
class Task:
    """A live task. `faults`: consecutive device faults. `next_n`: number of its next chunk.

    `shot_s`: seconds a shot of its program is expected to take; None: as the QPU's rate says.
    `entry`: its place in the order, frozen when it became ready (kept while it
    runs; None while it is held or deferred). `ready_at`: when it last became ready (0: not
    yet). `work_s`: seconds of QPU time that it was expected to need still, then.
    `clock`: None for most tasks, which wish nothing about time; so is `early_stop`.
    `measured`: None until
    one of its chunks has ended.
    """

    task_id: int
    bucket: Bucket
    shots: int
    priority: int
    submitted_at: Instant
    state: TaskState | None = None
    shots_done: int = 0
    faults: int = 0
    next_n: int = 0
    chunk: Chunk | None = None
    entry: Entry | None = None
    cancel_asked: bool = False
    hold_asked: bool = False
    shot_s: float | None = None
    work_s: float = 0.0
    hints: Hints | None = None
    ready_at: Instant = 0
    clock: TaskClock | None = None
    early_stop: EarlyStop | None = None
    measured: Measured | None = None

    @property
    def enough(self) -> str | None:
        """Why the shots that it has are enough, though it asked for more; None: they aren't."""
        stop = self.early_stop
        if stop is None or stop.shots is None or not self.remaining:
            return None
        return stop.reason if self.shots_done >= stop.shots else None

    @property
    def layout(self) -> str | None:
        """Names its register layout; None: it has none, or any will do."""
        return self.bucket.needs.layout

    @property
    def remaining(self) -> int:
        """Shots that are still to be counted."""
        return self.shots - self.shots_done

    @property
    def divisible(self) -> bool:
        """Its shots may be split into chunks."""
        return self.bucket.needs.whole_shots is None

    @property
    def session_id(self) -> str | None:
        """The session that it belongs to, if any."""
        return self.bucket.needs.session_id


@dataclass(slots=True)
class Passed:
    """A task that is next in line and waits for others of the loaded layout.

    `chunks`: sent before it since `since_at`.
    """

    task_id: int
    since_at: Instant
    chunks: int = 0


@dataclass(slots=True, eq=False)
class Qpu:
    """A QPU. `shot_s`: measured seconds a shot (None: not yet). `running`: task id -> its chunk.

    `overhang`: chunks that were out when the slots were reduced below them. `drained`:
    an operator's reason for keeping it from new chunks. `windows`: those that aren't
    over, by their start. `last_task`, `layout`: of the newest chunk. `one_epoch`: ids of
    the tasks that have shots of its current epoch and may count no others with them.
    `parked_shot_s`: `shot_s` when all that waits was last looked at. `lingers`: of sessions
    that it may be kept for between their tasks; `hold`: for whom it is kept now. `passed`:
    the next in line that equals are let past.
    """

    spec: QpuSpec
    state: QpuState
    reason: str = ""
    shot_s: float | None = None
    running: dict[int, Chunk] = field(default_factory=dict)
    overhang: int = 0
    registered: bool = True
    drained: str | None = None
    calibration: Calibration = field(default_factory=Calibration)
    windows: tuple[Window, ...] = ()
    last_task: int | None = None
    layout: str | None = None
    one_epoch: dict[int, None] = field(default_factory=dict)
    parked_shot_s: float | None = None
    lingers: dict[str, WarmHold] = field(default_factory=dict)
    hold: WarmHold | None = None
    passed: Passed | None = None

    @property
    def up(self) -> bool:
        """Takes new chunks, when it has a free slot and isn't being calibrated."""
        return self.state is QpuState.UP and self.drained is None

    @property
    def has_room(self) -> bool:
        """Takes a new chunk, once its calibration and its windows allow one."""
        up = self.state is QpuState.UP and self.drained is None
        return up and len(self.running) < self.spec.slots

    @property
    def rate_hz(self) -> float | None:
        """Shots a second: measured, else expected, else None."""
        return self.spec.shot_rate_hz if self.shot_s is None else 1.0 / self.shot_s


@dataclass(slots=True)
class CoreState:
    """All that is alive, by id or name.

    `latest_expected_s`: the number that `expected_s` gave last; the tasks of a sweep
    share it, which saves memory.
    """

    tasks: dict[int, Task] = field(default_factory=dict)
    qpus: dict[str, Qpu] = field(default_factory=dict)
    classes: dict[str, JobClass] = field(default_factory=dict)
    latest_expected_s: float = 0.0

    def qpu(self, name: str) -> Qpu:
        """A QPU by name; one that nobody registered yet is DOWN."""
        found = self.qpus.get(name)
        if found is None:
            spec = QpuSpec(name, slots=0, state=QpuState.DOWN)
            found = Qpu(spec, QpuState.DOWN, "not registered", registered=False)
            self.qpus[name] = found
        return found

    def known(self, name: str) -> Qpu:
        """A QPU that has joined. Raises InternalError for any other."""
        found = self.qpus.get(name)
        if found is None or not found.registered:
            raise InternalError("an event about a QPU that never joined", where=name)
        return found

    def expected_s(self, task: Task) -> float:
        """Seconds of QPU time that a task's remaining shots are expected to take."""
        expected_s = task.remaining * self.shot_s(task.shot_s, task.bucket.needs.qpus)
        if expected_s != self.latest_expected_s:
            self.latest_expected_s = expected_s
        return self.latest_expected_s

    def shot_s(self, hint_s: float | None, names: tuple[str, ...]) -> float:
        """Seconds that a shot is expected to take on one of these QPUs.

        The task's own hint, else at the rate of the first of the QPUs that has one,
        else a second.
        """
        if hint_s is not None:
            return hint_s
        qpus = (self.qpus.get(name) for name in names)
        rates = (qpu.rate_hz for qpu in qpus if qpu is not None)
        return next((1.0 / rate for rate in rates if rate), 1.0)

    def job_class(self, name: str) -> JobClass:
        """A class by name; one that the site doesn't have (any more) goes by default values."""
        return self.classes.get(name) or JobClass(name, priority=0)
