"""The site file's policy: job classes, ordering, accounts, fair share, charging."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from qpu_executor.model.values import JobClass
from qpu_executor.scheduling.minimum_share import DEFAULT_HORIZON_S
from qpu_executor.settings.part import Name, Part
from qpu_executor.settings.security import MembersSettings


class JobClassSettings(Part):
    """A job class. Higher `priority` goes first; `chunk_s`: seconds between chances to give way.

    `members`: who may use it (None: everybody).
    """

    priority: int = Field(ge=-1_000_000, le=1_000_000)
    chunk_s: float = Field(default=10.0, gt=0, le=86_400)
    description: str = ""
    may_preempt: bool = True
    preemptible: bool = True
    min_share: float = Field(default=0.0, ge=0, le=1)
    wait_target_s: float | None = Field(default=None, gt=0)
    qpus: list[Name] | None = Field(default=None, min_length=1)
    fallback: list[Name] = []
    device_of: Name | None = None
    max_shots: int | None = Field(default=None, ge=1)
    max_queued: int | None = Field(default=None, ge=1)
    max_running: int | None = Field(default=None, ge=1)
    qpu_s_per_day: float | None = Field(default=None, gt=0)
    members: MembersSettings | None = None

    def job_class(self, name: str) -> JobClass:
        """The class as the scheduling core sees it."""
        values = self.model_dump(exclude={"members"})
        values["qpus"] = None if self.qpus is None else tuple(self.qpus)
        values["fallback"] = tuple(self.fallback)
        return JobClass(name=name, **values)


class PolicySettings(BaseModel):
    """The ordering policy: its name, and whatever that policy wants to know."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    kind: str = "banded"

    def policy_settings(self) -> dict[str, Any]:
        """The policy's own part."""
        return dict(self.model_extra or {})


class FairShareSettings(Part):
    """How usage is remembered, and when it is too much (`scheduling/fair_share.py`).

    `min_share_horizon_s`: how long, in open QPU time, a class lives on what it had before.
    """

    half_life_s: float = Field(default=86_400.0, gt=0)
    band_up: float = Field(default=4.0, gt=1)
    band_down: float = Field(default=3.0, gt=0)
    min_usage_s: float = Field(default=600.0, ge=0)
    min_share_horizon_s: float = Field(default=DEFAULT_HORIZON_S, gt=0)


class AccountSettings(Part):
    """An account: `shares` of its parent's time, and QPU-seconds it may use in a period.

    `members`: who may have it charged (None: those of the account above, and without one
    everybody).
    """

    shares: float = Field(default=1.0, gt=0)
    parent: Name | None = None
    qpu_s: float | None = Field(default=None, ge=0)
    period_s: float = Field(default=86_400.0, ge=60)
    members: MembersSettings | None = None


class ChargingSettings(Part):
    """Factors for a second of device time (`scheduling/charging.py`)."""

    shots: float = Field(default=1.0, ge=0)
    setup: float = Field(default=1.0, ge=0)
    preempted: float = Field(default=0.0, ge=0)
    stopped: float = Field(default=1.0, ge=0)
    lost: float = Field(default=0.0, ge=0)
    device_fault: float = Field(default=0.0, ge=0)
    restart: float = Field(default=0.0, ge=0)
    hold: float = Field(default=1.0, ge=0)
    emulator: float = Field(default=1.0, ge=0)
