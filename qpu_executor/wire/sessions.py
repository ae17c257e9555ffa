"""Sessions on the wire (API v1): what one says and asks, and what it is granted."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from qpu_executor.model.sessions import TaskFate, WorkShape
from qpu_executor.wire.tasks import USER_NAME, Answer, Request

LONGEST_S = 366 * 86_400.0
"""More seconds than that of anything here are a typing error."""

Seconds = Annotated[float, Field(le=LONGEST_S, allow_inf_nan=False)]


class KeepWarmRequest(Request):
    """Keep a QPU for a session, within the site's bounds: a linger or a contiguous run."""

    linger_s: Seconds | None = Field(
        default=None,
        gt=0,
        description="after each of its tasks, at most so long",
    )
    run_s: Seconds | None = Field(
        default=None,
        gt=0,
        description="from now on, nobody else's tasks run there",
    )
    qpu: str | None = Field(default=None, description="null: the only one that may be kept")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.linger_s is None) == (self.run_s is None):
            raise ValueError("either linger_s or run_s has to be given, and not both")
        return self


class SessionHintsFields(Request):
    """What a session says of its work: policies may use it, none needs it, nobody checks it."""

    shape: WorkShape | None = Field(default=None, description="where it spends its time")
    expected_tasks: int | None = Field(
        default=None, ge=1, le=100_000_000, description="tasks that it will submit in all"
    )
    think_s: Seconds | None = Field(
        default=None,
        ge=0,
        description="classical seconds between two tasks",
    )


class SlurmJobIn(Request):
    """A Slurm job in one incarnation: of each there is one session of kind `slurm`."""

    cluster: str = Field(min_length=1, max_length=200, description="SLURM_CLUSTER_NAME")
    job_id: int = Field(
        ge=1,
        le=2**32,
        description="SLURM_JOB_ID; of a heterogeneous job, that of its first component",
    )
    restart_count: int = Field(
        default=0, ge=0, le=2**31, description="SLURM_RESTART_COUNT: a requeued job's is higher"
    )
    array_job_id: int | None = Field(default=None, ge=1, le=2**32)
    array_task_id: int | None = Field(default=None, ge=0, le=2**32)
    het_size: int | None = Field(default=None, ge=1, le=10_000, description="its components")


class SessionRequest(SessionHintsFields):
    """Open a session: the tie between tasks and one workflow run (or Slurm job)."""

    name: str = Field(default="", max_length=200)
    kind: Literal["run", "slurm", "interactive"] = "run"
    account: str | None = None
    job_class: str | None = Field(
        default=None, description="of its tasks that name none; the site's default if null"
    )
    key: str | None = Field(
        default=None, max_length=200, description="the same key: the same session, as it is"
    )
    ends_at: AwareDatetime | None = Field(
        default=None, description="when its allocation ends: no task of it outlives that"
    )
    ends_in_s: Seconds | None = Field(
        default=None,
        ge=-LONGEST_S,
        description="the same in seconds from now",
    )
    keep_warm: KeepWarmRequest | None = None
    user: str | None = Field(
        default=None,
        pattern=USER_NAME,
        description="whose it is, where a service (a Slurm prolog, say) opens it for them",
    )
    uid: int | None = Field(
        default=None, ge=0, le=2**32, description="the user's, where a service says so"
    )
    slurm: SlurmJobIn | None = Field(default=None, description="the job that it belongs to")
    leased: bool = Field(
        default=False,
        description="somebody renews it (`heartbeat`); it is lost, and its tasks pause, when "
        "nobody does for as long as the site says",
    )
    lease_s: Seconds | None = Field(
        default=None, ge=1, description="the same after fewer real seconds than the site says"
    )
    idle_s: Seconds | None = Field(
        default=None,
        ge=10,
        description="it ends after so long without a task, less than the site says",
    )
    lifetime_s: Seconds | None = Field(
        default=None, ge=10, description="it ends after so long; less than the site's"
    )
    on_close: TaskFate | None = Field(
        default=None, description="its tasks when it is closed; null: as the site says"
    )
    on_lost: TaskFate | None = Field(
        default=None, description="its tasks when it is lost; null: as the site says"
    )


class CloseRequest(Request):
    """Close a session."""

    tasks: TaskFate | None = Field(
        default=None, description="what becomes of its tasks; null: as the session or the site says"
    )


class SlurmJobOut(Answer):
    """The Slurm job, in one incarnation, that a session belongs to."""

    cluster: str
    job_id: int
    restart_count: int = 0
    array_job_id: int | None = None
    array_task_id: int | None = None
    het_size: int | None = None


class HoldOut(Answer):
    """What a session is granted on a QPU. `kept`: others' tasks are kept out now."""

    qpu: str
    kind: Literal["linger", "run"]
    linger_s: Seconds | None = Field(description="after each task; null for a run")
    until: datetime = Field(description="the end of it all, or of the wait that is on")
    kept: bool


SessionState = Literal["open", "lost", "closed"]


class HeartbeatOut(Answer):
    """A session that was renewed. `released`: its tasks that go on, where it had been lost."""

    id: str
    state: SessionState
    lease_s: float | None = Field(description="real seconds; null: it needs no renewing")
    lease_left_s: float | None = None
    was_lost: bool = False
    released: list[int] = Field(default_factory=list)


class SessionOut(Answer):
    """A session. `live_tasks`: those that haven't ended.

    `tasks`, `shots` (those that count), `qpu_s` and `charged_s` are counted from its tasks
    and their chunks whenever somebody asks.
    """

    id: str
    name: str
    kind: str
    owner: str
    account: str
    opened_at: datetime
    closed_at: datetime | None
    live_tasks: int
    ends_at: datetime | None = None
    shape: WorkShape | None = None
    expected_tasks: int | None = None
    think_s: float | None = None
    job_class: str | None = None
    holds: list[HoldOut] = Field(default_factory=list)
    state: SessionState | None = None
    uid: int | None = None
    slurm: SlurmJobOut | None = None
    lease_s: float | None = Field(default=None, description="real seconds; null: it has no lease")
    lease_left_s: float | None = None
    idle_s: float | None = None
    expires_at: datetime | None = Field(default=None, description="when it ends in any case")
    on_close: TaskFate | None = Field(default=None, description="null: as the site says")
    on_lost: TaskFate | None = Field(default=None, description="null: as the site says")
    lost_at: datetime | None = None
    closed_because: str = Field(default="", description="why it ended by itself, if it did")
    tasks: int | None = None
    shots: int | None = None
    qpu_s: float | None = Field(default=None, description="device-seconds, set-up included")
    charged_s: float | None = None


class SessionList(Answer):
    """The caller's sessions, newest first."""

    sessions: list[SessionOut]
