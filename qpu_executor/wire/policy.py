"""Why a task waits, shares, estimates, and what operators ask, on the wire (API v1).

Null means that the manager doesn't know; it is never written as 0.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from qpu_executor.wire.tasks import Answer, Problem, Request, TaskOut

MAX_AHEAD = 20
"""Tasks ahead that an answer names; `ahead_total` counts them all."""


class AheadOut(Answer):
    """A task that goes before. `task`, `owner` null: another caller's."""

    task: int | None
    owner: str | None
    job_class: str
    remaining_shots: int
    remaining_s: float | None
    why_first: str


class PartOut(Answer):
    """One part of a task's priority."""

    name: str
    value: float | str | None
    meaning: str


class RangeOut(Answer):
    """When something is expected."""

    earliest: datetime
    likely: datetime
    latest: datetime


class RangeS(Answer):
    """How long something is expected to take, seconds."""

    earliest: float
    likely: float
    latest: float


class WhyOut(Answer):
    """Why a task isn't running now. Everything is from one look at the queue, at `as_of`."""

    task: TaskOut
    reason: str | None = Field(description="the reason code; null where it doesn't wait")
    detail: str
    until: datetime | None = Field(
        default=None, description="when what holds it is over at the latest, if that is known"
    )
    rank: int | None = Field(description="1 is next; null where it has no place in line")
    ahead: list[AheadOut] = Field(max_length=MAX_AHEAD)
    ahead_total: int
    priority: list[PartOut]
    expected_start: RangeOut | None
    expected_end: RangeOut | None
    as_of: datetime


class AccountShareOut(Answer):
    """An account (`user` null) or a user of it, against its share.

    `ratio`: usage over share; `band`: 0 within the share, else how many are raised.
    """

    account: str
    user: str | None
    share: float
    usage_qpu_s: float
    ratio: float | None
    band: int


class ClassShareOut(Answer):
    """A job class against its minimum share of open QPU time."""

    name: str
    min_share: float
    used_share: float | None


class SharesOut(Answer):
    """Shares, usage, and what is charged. `charging`: factor by kind of device time."""

    accounts: list[AccountShareOut]
    classes: list[ClassShareOut]
    charging: dict[str, float]
    half_life_s: float | None


class EstimateOut(Answer):
    """What a task would need. `refusal`: why it would be refused now."""

    qpus: list[str]
    qpu_s: float | None
    expected_wait_s: RangeS | None
    refusal: Problem | None
    explanation: list[str]


class DrainRequest(Request):
    """Drain a QPU. `reason`: shown to whom it makes wait."""

    reason: str = Field(default="", max_length=200)


class WindowOut(Answer):
    """A window: maintenance (for nobody) or a reservation."""

    qpu: str
    name: str
    kind: str
    starts_at: datetime
    ends_at: datetime
    account: str | None = None
    session: str | None = None
    job_class: str | None = None


class WindowList(Answer):
    """The windows that are on or planned, the soonest first."""

    windows: list[WindowOut]


class PolicyOut(Answer):
    """The policy that applies. `changed`: what a reload changed, in words."""

    policy: str
    changed: list[str] = Field(default_factory=list)
