"""Why a task waits, shares, estimates, and what operators ask, on the wire (API v1).

Null means that the manager doesn't know; it is never written as 0.
"""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

from pydantic import Field, field_validator, model_validator

from qpu_executor.model.states import WindowKind
from qpu_executor.wire.tasks import Answer, Problem, Request, TaskOut

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")]
"""Of a QPU, a job class, an account."""

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


class SettleRequest(Request):
    """What became of a task's chunk that is UNKNOWN: it is lost, or these are its counts.

    `device_s`: seconds that the QPU took for the counts; 0: nobody knows, none are charged.
    `chunk`: the request is refused where another one is out.
    """

    lost: bool = False
    counts: dict[str, int] | None = None
    device_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    chunk: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _one_of_both(self) -> SettleRequest:
        if self.lost == (self.counts is not None):
            raise ValueError("either `lost`: true or `counts`, and one of them")
        return self


class WindowRequest(Request):
    """A time in which a QPU is closed, or reserved.

    `at`: wall-clock time in `zone`. `on`: the day of a one-off window; else it is
    every day, or on these `weekdays`. A reservation names whom it is for.
    """

    name: str = Field(min_length=1, max_length=64)
    kind: WindowKind = WindowKind.MAINTENANCE
    at: time
    length_s: float = Field(ge=0.001, le=31 * 86_400)
    zone: str = "UTC"
    on: date | None = None
    weekdays: list[Weekday] = []
    account: Name | None = None
    session: str | None = None
    job_class: Name | None = None

    @field_validator("at", mode="before")
    @classmethod
    def _no_number(cls, at: Any) -> Any:
        if not isinstance(at, str | time):  # a number would pass as seconds after midnight
            raise ValueError('expected a wall-clock time, like "14:00"')
        return at

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        if zone not in available_timezones():
            raise ValueError(f"there is no time zone {zone!r} (like Europe/Paris, or UTC)")
        return zone

    @model_validator(mode="after")
    def _for_somebody(self) -> WindowRequest:
        for_whom = any((self.account, self.session, self.job_class))
        if self.kind is WindowKind.RESERVATION and not for_whom:
            raise ValueError("a reservation needs an account, a session or a job_class")
        if self.kind is WindowKind.MAINTENANCE and for_whom:
            raise ValueError("maintenance is for nobody; use kind: reservation")
        if self.on is not None and self.weekdays:
            raise ValueError("either `on` a day or on `weekdays`, not both")
        return self


class WindowOut(Answer):
    """A window: maintenance (for nobody) or a reservation.

    `announced_by`: the operator who announced it; null where the site file has it.
    """

    qpu: str
    name: str
    kind: str
    starts_at: datetime
    ends_at: datetime
    account: str | None = None
    session: str | None = None
    job_class: str | None = None
    announced_by: str | None = None


class WindowList(Answer):
    """The windows that are on or planned, the soonest first."""

    windows: list[WindowOut]


class PolicyOut(Answer):
    """The policy that applies. `changed`: what a reload changed, in words."""

    policy: str
    changed: list[str] = Field(default_factory=list)
