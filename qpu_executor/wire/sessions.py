"""Sessions on the wire (API v1): what one says and asks, and what it is granted."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from qpu_executor.model.sessions import WorkShape
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


class HoldOut(Answer):
    """What a session is granted on a QPU. `kept`: others' tasks are kept out now."""

    qpu: str
    kind: Literal["linger", "run"]
    linger_s: Seconds | None = Field(description="after each task; null for a run")
    until: datetime = Field(description="the end of it all, or of the wait that is on")
    kept: bool


class SessionOut(Answer):
    """A session. `live_tasks`: those that haven't ended."""

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


class SessionList(Answer):
    """The caller's sessions, newest first."""

    sessions: list[SessionOut]
