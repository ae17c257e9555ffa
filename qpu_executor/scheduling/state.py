"""What the core remembers: slim, slotted, mutable records of what is alive.

Only the scheduler and its queue change them. A task that has ended is
forgotten, so memory and cost follow the live tasks, never their lifetime count.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from qpu_executor.model.states import ChunkState, QpuState, TaskState
from qpu_executor.model.values import ChunkId, Instant, JobClass, QpuSpec

Key = tuple[int | float, ...]
"""Sorts tasks or buckets; the smallest goes first. Equal lengths within one policy."""

Entry = tuple[int | float, ...]
"""A task in a heap: its frozen key, then its id."""


class Requirements(NamedTuple):
    """What a task needs of a QPU. Tasks with equal requirements share buckets."""

    qpus: tuple[str, ...]


@dataclass(slots=True, eq=False)
class Bucket:
    """Tasks that only their own keys tell apart: same class, account, owner, requirements.

    `heap`: entries of its queued tasks, and some stale ones. `queued`, `live`:
    tasks that wait; tasks that haven't ended. `head`: its current place in the
    QPUs' indexes, None where nothing waits.
    """

    job_class: JobClass
    account: str
    owner: str
    needs: Requirements
    heap: list[Entry] = field(default_factory=list)
    queued: int = 0
    live: int = 0
    head: Head | None = None


Head = tuple[Key, Entry, Bucket]
"""A bucket in an index: its live key, its first entry, itself. Valid while `bucket.head` is it."""


@dataclass(slots=True, eq=False)
class Chunk:
    """A chunk that is out. `shots`: asked of the QPU. `stop_asked`: StopChunk was sent."""

    id: ChunkId
    qpu: str
    first_shot: int
    shots: int
    state: ChunkState = ChunkState.SENT
    stop_asked: bool = False


@dataclass(slots=True, eq=False)
class Task:
    """A live task. `faults`: consecutive device faults. `next_n`: number of its next chunk.

    `entry`: its place in the order, frozen when it became ready (kept while it
    runs; None while it is held).
    """

    task_id: int
    bucket: Bucket
    shots: int
    priority: int
    submitted_at: Instant
    divisible: bool
    session_id: str | None
    state: TaskState | None = None
    shots_done: int = 0
    faults: int = 0
    next_n: int = 0
    chunk: Chunk | None = None
    entry: Entry | None = None
    cancel_asked: bool = False
    hold_asked: bool = False

    @property
    def remaining(self) -> int:
        """Shots that are still to be counted."""
        return self.shots - self.shots_done


@dataclass(slots=True, eq=False)
class Qpu:
    """A QPU. `shot_s`: measured seconds a shot (None: not yet). `running`: task id -> its chunk.

    `overhang`: chunks that were out when the slots were reduced below them.
    """

    spec: QpuSpec
    state: QpuState
    reason: str = ""
    shot_s: float | None = None
    running: dict[int, Chunk] = field(default_factory=dict)
    overhang: int = 0
    registered: bool = True

    @property
    def up(self) -> bool:
        """Takes new chunks, when it has a free slot."""
        return self.state is QpuState.UP

    @property
    def has_room(self) -> bool:
        """Takes a new chunk now."""
        return self.state is QpuState.UP and len(self.running) < self.spec.slots

    @property
    def rate_hz(self) -> float | None:
        """Shots a second: measured, else expected, else None."""
        return self.spec.shot_rate_hz if self.shot_s is None else 1.0 / self.shot_s


@dataclass(slots=True)
class CoreState:
    """All that is alive, by id or name."""

    tasks: dict[int, Task] = field(default_factory=dict)
    qpus: dict[str, Qpu] = field(default_factory=dict)
    classes: dict[str, JobClass] = field(default_factory=dict)

    def qpu(self, name: str) -> Qpu:
        """A QPU by name; one that nobody registered yet is DOWN."""
        found = self.qpus.get(name)
        if found is None:
            spec = QpuSpec(name, slots=0, state=QpuState.DOWN)
            found = Qpu(spec, QpuState.DOWN, "not registered", registered=False)
            self.qpus[name] = found
        return found

    def job_class(self, name: str) -> JobClass:
        """A class by name; one that the site doesn't have (any more) goes by default values."""
        return self.classes.get(name) or JobClass(name, priority=0)
