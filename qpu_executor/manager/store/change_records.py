"""Changes as frozen values: applied together, in order, in one transaction (`changes.py`).

Instants are microseconds since the epoch (`at`, `*_at`), durations seconds (`*_s`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qpu_executor.manager.store.records import (
    ChunkRow,
    JournalRow,
    ProgramRow,
    SessionRow,
    TaskRow,
    TokenRow,
    WindowRow,
)
from qpu_executor.manager.store.wishes import Wishes
from qpu_executor.model.states import ChunkState, TaskState
from qpu_executor.model.values import ChunkId, Instant


@dataclass(frozen=True, slots=True)
class AddProgram:
    """Insert a program; one that is there already stays as it is."""

    program: ProgramRow


@dataclass(frozen=True, slots=True)
class AddTask:
    """Insert a task."""

    task: TaskRow


@dataclass(frozen=True, slots=True)
class UpdateTask:
    """A task's new state at an instant.

    RUNNING sets `started_at` the first time; a final state sets `ended_at`.
    None leaves `qpu`, `error` and the rest of the optional fields as they are.
    """

    task_id: int
    at: Instant
    state: TaskState
    shots_done: int
    qpu: str | None = None
    error: str | None = None
    error_code: str | None = None
    permanent: bool | None = None
    cancel_asked: bool | None = None
    hold_asked: bool | None = None
    stopped_early: str | None = None


@dataclass(frozen=True, slots=True)
class AskTask:
    """Remember what was asked of a task (so that a restart doesn't forget it).

    None leaves what is there; `session_id`: the session that it belongs to from now on.
    """

    task_id: int
    cancel_asked: bool | None = None
    hold_asked: bool | None = None
    held_because: str | None = None
    session_id: str | None = None
    wishes: Wishes | None = None


@dataclass(frozen=True, slots=True)
class AddChunk:
    """Insert a chunk, as SENT."""

    chunk: ChunkRow


@dataclass(frozen=True, slots=True)
class UpdateChunk:
    """A chunk's new state. RUNNING sets `started_at`, an ended state `ended_at` (to `at`,
    unless the device said otherwise); the outcome's fields are written with an ended state.
    """

    chunk: ChunkId
    at: Instant
    state: ChunkState
    shots_counted: int = 0
    surplus: int = 0
    counts: Mapping[str, int] | None = field(default=None, repr=False)
    epoch: str | None = None
    started_at: Instant | None = None
    ended_at: Instant | None = None
    setup_s: float = 0.0
    device_s: float = 0.0
    reason: str = ""
    versions: Mapping[str, str] | None = None
    charged_s: float = 0.0


@dataclass(frozen=True, slots=True)
class DiscardChunks:
    """The shots that a task's ended chunks counted so far count no longer."""

    task_id: int


@dataclass(frozen=True, slots=True)
class AddSession:
    """Insert a session; a closed one of the same owner and key gives up its key."""

    session: SessionRow


@dataclass(frozen=True, slots=True)
class CloseSession:
    """Set a session's `closed_at`, once, and why."""

    session_id: str
    at: Instant
    because: str = ""


@dataclass(frozen=True, slots=True)
class MarkSession:
    """Set since when a session is lost; None: it is not."""

    session_id: str
    lost_at: Instant | None


@dataclass(frozen=True, slots=True)
class MoveSession:
    """Set when a session's allocation ends."""

    session_id: str
    ends_at: Instant


@dataclass(frozen=True, slots=True)
class PutWindow:
    """Insert a window, or replace the one of this QPU and name."""

    window: WindowRow


@dataclass(frozen=True, slots=True)
class DropWindow:
    """Delete a window, if it is there."""

    qpu: str
    name: str


@dataclass(frozen=True, slots=True)
class AddToken:
    """Insert a token."""

    token: TokenRow


@dataclass(frozen=True, slots=True)
class RevokeToken:
    """Set a token's `revoked_at`, once."""

    token_id: str
    at: Instant


NO_PROGRAM = ""
"""The hash that tasks refer to whose program is gone."""


@dataclass(frozen=True, slots=True)
class ExpireTask:
    """Drop a task's chunks, its program where no other task has it, and all of its row but
    what its number, owner, key, usage and end are. Its journal stays.
    """

    task_id: int
    program_hash: str
    at: Instant


@dataclass(frozen=True, slots=True)
class DropSession:
    """Delete a closed session that no task belongs to any more; any other one stays."""

    session_id: str


@dataclass(frozen=True, slots=True)
class DropJournal:
    """Delete a journal row."""

    n: int


@dataclass(frozen=True, slots=True)
class AddJournal:
    """Append a journal row; its number is the writer's next one."""

    row: JournalRow


Change = (
    AddProgram
    | AddTask
    | UpdateTask
    | AskTask
    | AddChunk
    | UpdateChunk
    | DiscardChunks
    | AddSession
    | CloseSession
    | MarkSession
    | MoveSession
    | PutWindow
    | DropWindow
    | AddToken
    | RevokeToken
    | ExpireTask
    | DropSession
    | DropJournal
    | AddJournal
)
