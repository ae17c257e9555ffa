"""Tasks, programs and results on the wire (API v1).

Requests refuse unknown fields; answers may gain fields in later versions, so
readers ignore what they don't know. Instants are RFC 3339 in UTC.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator

from qpu_executor.model.states import ChunkState, DependencyKind, OnRecalibration, TaskState

MAX_SHOTS = 1_000_000
"""More shots than that in one task are a typing error (class limits are lower)."""

LONGEST_WISH_S = 1e9
"""So are more seconds than that of anything that a task wishes."""


USER_NAME = r"^[a-z_][a-z0-9_.-]{0,63}\$?$"
"""As a name of a user of a host is written (useradd(8))."""


class Request(BaseModel):
    """Base of what a client sends: unknown fields are errors, and so are NaN and infinity."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Answer(BaseModel):
    """Base of what the manager sends: unknown fields are ignored by older readers."""

    model_config = ConfigDict(extra="ignore")


class ProgramIn(Request):
    """A program: its kind and its content as text."""

    kind: str = Field(max_length=64, examples=["pulser-abstract"])
    content: str


class DependencyWish(BaseModel):
    """Another task of the caller that has to end first."""

    task: int
    kind: DependencyKind = DependencyKind.AFTER_OK


class DependencyIn(DependencyWish, Request):
    """The same in a request: unknown names are errors."""


class _StopFields(BaseModel):
    """A stopping rule: `stderr` of `observable`, or `distinct` bitstrings.

    The task is complete, with fewer shots, at the end of the first chunk that meets it.
    """

    min_shots: int = Field(ge=1, le=MAX_SHOTS, description="never before so many are counted")
    stderr: float | None = Field(
        default=None, gt=0, description="the observable's standard error is at most this"
    )
    observable: dict[str, float] | None = Field(
        default=None,
        description="label -> coefficient; a label has I, Z, 0 or 1 for each bit of a bitstring",
        examples=[{"ZZI": 0.5, "1II": -1.0}],
    )
    distinct: int | None = Field(
        default=None, ge=1, description="so many distinct bitstrings were seen"
    )
    seen: int | None = Field(default=None, ge=1, description="each of them so often; once if null")


class StopWhen(_StopFields, Request):
    """A stopping rule, as it is asked for."""


class StopWhenOut(_StopFields, Answer):
    """A task's stopping rule."""


class NeedsWish(BaseModel):
    """What a task's QPU has to have; null: anything will do."""

    min_qubits: int | None = Field(default=None, ge=1, description="atoms that the device holds")
    dimensions: Literal[2, 3] | None = Field(default=None, description="of its registers")
    channels: list[str] = Field(
        default_factory=list, max_length=50, description="ids of channels that it has"
    )
    min_sequence_s: float | None = Field(
        default=None, gt=0, description="it takes sequences of at least this length"
    )
    min_shot_rate_hz: float | None = Field(default=None, gt=0, description="shots a second")
    emulated: bool | None = Field(
        default=None, description="false: hardware only; true: emulators only"
    )


class NeedsIn(NeedsWish, Request):
    """The same in a request: unknown names are errors."""


class _WishFields(BaseModel):
    """What few tasks ask for: about time, calibration and the QPU."""

    begin_at: AwareDatetime | None = Field(default=None, description="not before")
    time_limit_s: float | None = Field(
        default=None, gt=0, description="from the first chunk; the task fails when it is over"
    )
    depends_on: list[DependencyWish] = Field(
        default_factory=list, max_length=1000, description="tasks of the caller that end first"
    )
    on_recalibration: OnRecalibration = Field(
        default=OnRecalibration.CONTINUE,
        description="what a calibration means for the shots before it",
    )
    max_calibration_age_s: float | None = Field(
        default=None, gt=0, description="its chunks end at most this long after a calibration"
    )
    min_quality: float | None = Field(
        default=None, description="least quality that the QPU has to have reported"
    )
    deadline_at: AwareDatetime | None = Field(
        default=None, description="when it is wanted; the site's policy may go by it"
    )
    shot_s: float | None = Field(
        default=None, gt=0, description="expected seconds a shot; the QPU's rate if null"
    )
    path_s: float | None = Field(
        default=None,
        ge=0,
        description="expected seconds of work, classical and quantum, from this task to the end "
        "of its workflow; the site's policy may go by it",
    )
    device: str | None = Field(
        default=None, max_length=200, description="a device by name: any QPU that is one"
    )
    require: NeedsWish | None = Field(default=None, description="what its QPU has to have")


class WishesOut(_WishFields, Answer):
    """A task's wishes, and what its session binds it by."""

    stop_when: StopWhenOut | None = Field(default=None, description="when fewer are enough")
    session_ends_at: datetime | None = Field(
        default=None, description="when its session's allocation ends, and it at the latest"
    )


class TaskRequest(_WishFields, Request):
    """One task. Exactly one of `program` (inline) and `program_hash` (sent before) is given."""

    program: ProgramIn | None = None
    program_hash: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    shots: int = Field(ge=1, le=MAX_SHOTS)
    stop_when: StopWhen | None = Field(
        default=None, description="when fewer shots are enough; all are taken if null"
    )
    job_class: str | None = Field(default=None, description="the site's default class if null")
    qpu: str | None = Field(default=None, description="a QPU by name; any compatible one if null")
    require: NeedsIn | None = Field(default=None, description="what its QPU has to have")
    depends_on: list[DependencyIn] = Field(  # type: ignore[assignment]  # unknown names are errors
        default_factory=list, max_length=1000, description="tasks of the caller that end first"
    )
    priority: int = Field(
        default=0, ge=-1000, le=1000, description="within the class; higher first"
    )
    seed: int | None = Field(
        default=None, ge=0, lt=2**63, description="drawn by the manager if null"
    )
    name: str = Field(default="", max_length=200)
    session: str | None = None
    account: str | None = None
    held: bool = False
    key: str | None = Field(
        default=None, max_length=200, description="idempotency key; overrides the header's"
    )
    key_origin: Literal["user", "engine"] = Field(
        default="user",
        description="an engine's key adopts the program stored first, a user's refuses another",
    )

    @field_validator("time_limit_s", "max_calibration_age_s", "shot_s", "path_s")
    @classmethod
    def _no_typing_error(cls, seconds: float | None) -> float | None:
        # Here and not in the fields: answers hold what older managers took.
        if seconds is not None and seconds > LONGEST_WISH_S:
            raise ValueError(f"expected at most {LONGEST_WISH_S:g} s")
        return seconds


class SubmitRequest(Request):
    """One or many tasks, accepted or refused one by one. `programs`: shared contents by hash."""

    tasks: list[TaskRequest] = Field(min_length=1, max_length=10_000)
    programs: dict[str, ProgramIn] = Field(default_factory=dict)


class TaskOut(Answer):
    """A task as its owner sees it."""

    id: int
    name: str
    state: TaskState
    reason: str | None = Field(default=None, description="why it waits, where it does")
    held_because: str | None = Field(
        default=None, description="what its session has to do with its being held"
    )
    error: str | None = None
    error_code: str | None = None
    permanent: bool = Field(default=False, description="the same request can't succeed")
    job_class: str
    priority: int
    shots: int
    shots_done: int
    qpu: str | None = Field(description="where its shots ran last; null before the first chunk")
    qpu_asked: str | None = None
    device: str | None = None
    emulated: bool | None = None
    owner: str
    account: str
    session: str | None
    key: str | None
    program_hash: str
    seed: int
    submitted_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    wishes: WishesOut | None = Field(default=None, description="null: it has none")
    stopped_early: bool = Field(
        default=False, description="its stopping rule was met; naive intervals don't hold"
    )
    stop_reason: str | None = Field(default=None, description="why it was stopped early")
    shots_saved: int = Field(
        default=0, description="asked for, not taken and not charged, as it was stopped early"
    )
    stop_standing: str | None = Field(
        default=None, description="how far its stopping rule is, while it lives"
    )
    expired_at: datetime | None = Field(
        default=None, description="since when its program, result and name are kept no longer"
    )


class SubmitItem(Answer):
    """The answer to one task of a request: the task, or the problem."""

    task: TaskOut | None = None
    created: bool = Field(default=True, description="false: the key named this task already")
    problem: Problem | None = None


class SubmitAnswer(Answer):
    """Answers in the order of the request's tasks. `cursor`: journal number to follow from."""

    items: list[SubmitItem]
    cursor: int


class TaskList(Answer):
    """A page of tasks. `cursor`: journal number that the page is at least as new as."""

    tasks: list[TaskOut]
    cursor: int
    more: bool = False


class TaskIds(Request):
    """Several tasks at once."""

    ids: list[int] = Field(min_length=1, max_length=10_000)


class ChunkOut(Answer):
    """One chunk of a task. `epoch` null: the device doesn't say."""

    n: int
    state: ChunkState
    qpu: str
    first_shot: int
    shots: int
    shots_counted: int
    epoch: str | None
    sent_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    setup_s: float
    device_s: float
    reason: str
    discarded: bool = Field(default=False, description="its shots count no longer")


class TaskDetail(TaskOut):
    """A task with its chunks and the times of every state."""

    chunks: list[ChunkOut]
    history: list[StateTime]


class StateTime(Answer):
    """The task entered `state` at `at`."""

    state: TaskState
    at: datetime


class ResultOut(Answer):
    """The result of a COMPLETED task (or, while it runs, of the shots so far).

    `counts`: bitstring -> times seen; bit i belongs to `qubit_ids[i]`.
    """

    task: TaskOut
    counts: dict[str, int]
    shots: int
    surplus_shots: int = Field(
        default=0, description="delivered beyond the number asked; not in counts"
    )
    qubit_ids: list[str]
    duration_ns: int | None
    qpu: str | None
    device: str | None
    emulated: bool | None
    epochs: list[str | None]
    chunks: list[ChunkOut]
    history: list[StateTime]
    versions: dict[str, str]


class ResultList(Answer):
    """Results of several tasks; those that aren't final, or aren't the caller's, are left out."""

    results: list[ResultOut]


class Problem(Answer):
    """RFC 9457 problem document. `code` is the error class; `next_step` says what to do."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    where: str | None = None
    expected: str | None = None
    next_step: str | None = None
    rule: str | None = None
    permanent: bool = False
    key: str | None = None


SubmitItem.model_rebuild()
TaskDetail.model_rebuild()
