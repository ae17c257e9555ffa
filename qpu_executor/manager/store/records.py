"""Rows as frozen values, as manager and store hand them over (changes: `change_records.py`).

Instants are microseconds since the epoch (`*_at`), durations seconds (`*_s`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qpu_executor.manager.store.wishes import NO_WISHES, Wishes
from qpu_executor.model.sessions import NO_HINTS, SessionHints, SlurmJob, TaskFate
from qpu_executor.model.states import ChunkState, TaskState
from qpu_executor.model.values import ChunkId, Instant


@dataclass(frozen=True, slots=True)
class ProgramRow:
    """A program, stored once by its hash, and what the first check found out about it."""

    hash: str
    kind: str
    content: str = field(repr=False)
    atoms: int | None = None
    duration_ns: int | None = None
    layout: str | None = None
    qubit_ids: tuple[str, ...] = ()
    added_at: Instant = 0


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task. `qpus`: compatible QPUs; `qpu`: where its shots ran last.

    `key`, `generation`: an idempotency key names one task per generation;
    `body_hash`: of the request, to refuse another body under a user's key. `layout`: names
    its register layout, where changing that takes one of its QPUs time. `stopped_early`:
    why it is COMPLETED with fewer shots than `shots`. `expired_at`: since when its program,
    counts, name and journal are gone; what is left keeps its number and key from being taken
    again. `held_because`: what its session's loss or end has to do with its being held ("":
    nothing; then its owner or an operator holds it).
    """

    id: int
    owner: str
    account: str
    session_id: str | None
    name: str
    state: TaskState
    job_class: str
    priority: int
    shots: int
    shots_done: int
    seed: int
    program_hash: str
    qpu_asked: str | None
    qpus: tuple[str, ...]
    divisible: bool
    key: str | None
    key_origin: str
    generation: int
    body_hash: str
    submitted_at: Instant
    started_at: Instant | None = None
    ended_at: Instant | None = None
    qpu: str | None = None
    error: str | None = None
    error_code: str | None = None
    permanent: bool = False
    cancel_asked: bool = False
    hold_asked: bool = False
    layout: str | None = None
    wishes: Wishes = NO_WISHES
    stopped_early: str | None = None
    held_because: str = ""
    expired_at: Instant | None = None


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """A chunk. `shots`: asked; `shots_counted`: that count; `surplus`: delivered beyond.

    `counts` holds the counted shots only. `incarnation`: the manager that sent it.
    `discarded`: its shots counted once, and count no longer.
    `charged_s`: QPU-seconds that its account was charged.
    """

    task_id: int
    n: int
    state: ChunkState
    qpu: str
    device: str
    emulated: bool
    first_shot: int
    shots: int
    sent_at: Instant
    incarnation: int
    shots_counted: int = 0
    surplus: int = 0
    counts: Mapping[str, int] = field(default_factory=dict, repr=False)
    epoch: str | None = None
    started_at: Instant | None = None
    ended_at: Instant | None = None
    setup_s: float = 0.0
    device_s: float = 0.0
    reason: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    discarded: bool = False
    charged_s: float = 0.0

    @property
    def id(self) -> ChunkId:
        """(task, n)."""
        return ChunkId(self.task_id, self.n)


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session. `key`: opening one with the same key and owner again finds this one.

    `ends_at`: when its allocation ends (None: nobody said). `hints`: of its work.
    `job_class`: of its tasks that name none (None: the site's default).
    `uid`: of its user, `slurm`: the job that it belongs to, where they are known. `lease_s`:
    silence (seconds of the manager's clock) after which it is lost; `idle_s`: time without a
    task after which it ends; `expires_at`: when it ends in any case; None: it doesn't.
    `on_close`, `on_lost`: what its owner wants for its tasks; None: what the site says.
    `lost_at`: since when nobody renews it. `closed_because`: why it ended, where its owner
    didn't close it.
    """

    id: str
    owner: str
    account: str
    name: str
    kind: str
    key: str | None
    opened_at: Instant
    closed_at: Instant | None = None
    ends_at: Instant | None = None
    hints: SessionHints = NO_HINTS
    uid: int | None = None
    slurm: SlurmJob | None = None
    lease_s: float | None = None
    idle_s: float | None = None
    expires_at: Instant | None = None
    on_close: TaskFate | None = None
    on_lost: TaskFate | None = None
    lost_at: Instant | None = None
    closed_because: str = ""
    job_class: str | None = None

    @property
    def named(self) -> str:
        """What people call it."""
        return f"session {self.name or self.id}"


@dataclass(frozen=True, slots=True)
class SessionTotals:
    """What a session has had, counted from the rows of its tasks and chunks.

    `tasks`: all of them; `shots`: that count; `device_s`, `charged_s`: seconds of QPU time
    taken and charged. `latest_at`: when one of its tasks was last submitted or ended.
    """

    tasks: int = 0
    shots: int = 0
    device_s: float = 0.0
    charged_s: float = 0.0
    latest_at: Instant | None = None


@dataclass(frozen=True, slots=True)
class WindowRow:
    """A window that an operator announced. `rule`: in the words of the site file."""

    qpu: str
    name: str
    rule: Mapping[str, Any]
    announced_by: str
    announced_at: Instant


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A bearer token. `digest`: SHA-256 of it, hexadecimal; the token itself is nowhere."""

    id: str
    digest: str = field(repr=False)
    user: str
    uid: int | None
    roles: tuple[str, ...]
    note: str
    issued_by: str
    issued_at: Instant
    expires_at: Instant | None
    revoked_at: Instant | None = None


@dataclass(frozen=True, slots=True)
class JournalRow:
    """What happened, numbered by the single writer; `n` is the cursor of the event stream.

    `kind` names the event or command; `data` is JSON (versioned by `version`).
    `state`, `shots_done`: set on rows that tell a task's state change to its owner.
    `cause`: the number of the core's event behind it (0: none).
    """

    n: int
    at: Instant
    kind: str
    task_id: int | None = None
    owner: str | None = None
    session_id: str | None = None
    state: TaskState | None = None
    shots_done: int | None = None
    cause: int = 0
    data: Mapping[str, object] = field(default_factory=dict)
    version: int = 1


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a manager starts from. `live`: tasks that haven't ended, oldest first, with
    all of their chunks; `journal_n`: number of the newest journal row. `drained`: QPUs
    that an operator keeps from new chunks, and why. `windows`: announced by operators.
    `restored_below`: QPUs may know more of tasks with smaller ids than a restored backup does.
    """

    live: tuple[TaskRow, ...]
    chunks: Mapping[int, tuple[ChunkRow, ...]]
    next_task_id: int
    journal_n: int
    latest_at: Instant
    open_sessions: tuple[SessionRow, ...]
    drained: Mapping[str, str] = field(default_factory=dict)
    windows: tuple[WindowRow, ...] = ()
    restored_below: int = 0


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What a user was charged for chunks of a class in a minute, or for keeping a QPU.

    `discarded`: their shots count no longer. `at`: when the latest ended.
    """

    account: str
    owner: str
    job_class: str
    charged_s: float
    discarded: bool
    at: Instant


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks a listing shows, oldest first; None doesn't restrict. `expired`: also what is
    left of those that have expired.
    """

    ids: tuple[int, ...] | None = None
    owner: str | None = None
    session_id: str | None = None
    states: tuple[TaskState, ...] | None = None
    after_id: int = 0
    limit: int = 1000
    expired: bool = False
