"""The site file: manager, policy, job classes, accounts and QPUs, read once at the edge.

One YAML file describes a site (`configs/site.yaml` is an example that runs).
Unknown keys, wrong types and impossible values are refused with file, line,
key path and the nearest known name, all of them in one message. The values
that come out are frozen; each layer is handed its own part only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import date, time
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from qpu_executor.documents.model import build
from qpu_executor.documents.problems import Problems, suggestion
from qpu_executor.documents.source import parse_mapping, read_text
from qpu_executor.errors import ConfigError
from qpu_executor.manager.service.site_rules import SiteRules
from qpu_executor.manager.service.window_calendar import WEEKDAYS, WindowRule
from qpu_executor.model.states import CalibrationStarter, WindowKind
from qpu_executor.model.timing import CalibrationPlan, DriftBound
from qpu_executor.model.values import JobClass
from qpu_executor.scheduling.admission import Credit
from qpu_executor.scheduling.charging import ChargingTable
from qpu_executor.scheduling.fair_share import AccountShare, FairShareRules
from qpu_executor.scheduling.minimum_share import DEFAULT_HORIZON_S

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")]

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ManagerSettings(_Part):
    """`listen`: addresses (`unix:///path`, `http://127.0.0.1:8080`). `store`: SQLite file.

    `time_scale`: how much faster than real time the manager's clock runs
    (rehearsals). `health_every_s`: pause between looks at a QPU's health.
    """

    listen: list[str] = Field(default=["http://127.0.0.1:8080"], min_length=1)
    store: Path | None = None
    time_scale: float = Field(default=1.0, ge=0.01, le=100.0)
    health_every_s: float = Field(default=5.0, gt=0, le=3600)


class JobClassSettings(_Part):
    """A job class. Higher `priority` goes first; `chunk_s`: seconds between chances to give way."""

    priority: int = Field(ge=-1_000_000, le=1_000_000)
    chunk_s: float = Field(default=10.0, gt=0, le=86_400)
    description: str = ""
    may_preempt: bool = True
    preemptible: bool = True
    min_share: float = Field(default=0.0, ge=0, le=1)
    wait_target_s: float | None = Field(default=None, gt=0)
    qpus: list[Name] | None = Field(default=None, min_length=1)
    fallback: list[Name] = []
    max_shots: int | None = Field(default=None, ge=1)
    max_queued: int | None = Field(default=None, ge=1)
    max_running: int | None = Field(default=None, ge=1)
    qpu_s_per_day: float | None = Field(default=None, gt=0)

    def job_class(self, name: str) -> JobClass:
        """The class as the scheduling core sees it."""
        values = self.model_dump()
        values["qpus"] = None if self.qpus is None else tuple(self.qpus)
        values["fallback"] = tuple(self.fallback)
        return JobClass(name=name, **values)


class PolicySettings(BaseModel):
    """The ordering policy: its name, and whatever that policy wants to know."""

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: str = "banded"

    def policy_settings(self) -> dict[str, Any]:
        """The policy's own part."""
        return dict(self.model_extra or {})


class FairShareSettings(_Part):
    """How usage is remembered, and when it is too much (`scheduling/fair_share.py`).

    `min_share_horizon_s`: how long, in open QPU time, a class lives on what it had before.
    """

    half_life_s: float = Field(default=86_400.0, gt=0)
    band_up: float = Field(default=4.0, gt=1)
    band_down: float = Field(default=3.0, gt=0)
    min_usage_s: float = Field(default=600.0, ge=0)
    min_share_horizon_s: float = Field(default=DEFAULT_HORIZON_S, gt=0)


class AccountSettings(_Part):
    """An account: `shares` of its parent's time, and QPU-seconds it may use in a period."""

    shares: float = Field(default=1.0, gt=0)
    parent: Name | None = None
    qpu_s: float | None = Field(default=None, ge=0)
    period_s: float = Field(default=86_400.0, ge=60)


class ChargingSettings(_Part):
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


class DriftSettings(_Part):
    """A metric that the QPU reports; out of this range, a calibration is due."""

    metric: str = Field(min_length=1)
    at_least: float | None = None
    at_most: float | None = None


class CalibrationPlanSettings(_Part):
    """When a QPU is calibrated and who starts it (`scheduling/calibration.py`)."""

    period_s: float | None = Field(default=None, gt=0)
    length_s: float = Field(default=600.0, gt=0)
    starter: CalibrationStarter = CalibrationStarter.MANAGER
    grace_s: float = Field(default=900.0, ge=0)
    drift: DriftSettings | None = None

    def plan(self) -> CalibrationPlan:
        """The plan as the scheduling core sees it."""
        drift = None if self.drift is None else DriftBound(**self.drift.model_dump())
        return CalibrationPlan(self.period_s, self.length_s, self.starter, drift, self.grace_s)


class WindowSettings(_Part):
    """A time in which a QPU is closed, or reserved (`manager/service/window_calendar.py`).

    `at`: wall-clock time in `zone`. `on`: the day of a one-off window; else it is
    every day, or on these `weekdays`. A reservation names whom it is for.
    """

    name: str = Field(min_length=1, max_length=64)
    kind: WindowKind = WindowKind.MAINTENANCE
    at: time
    length_s: float = Field(gt=0, le=31 * 86_400)
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
    def _for_somebody(self) -> WindowSettings:
        for_whom = any((self.account, self.session, self.job_class))
        if self.kind is WindowKind.RESERVATION and not for_whom:
            raise ValueError("a reservation needs an account, a session or a job_class")
        if self.kind is WindowKind.MAINTENANCE and for_whom:
            raise ValueError("maintenance is for nobody; use kind: reservation")
        if self.on is not None and self.weekdays:
            raise ValueError("either `on` a day or on `weekdays`, not both")
        return self

    def rule(self) -> WindowRule:
        """The window as the manager's calendar sees it."""
        return WindowRule(
            name=self.name,
            kind=self.kind,
            at=self.at,
            length_s=self.length_s,
            zone=self.zone,
            on=self.on,
            weekdays=tuple(WEEKDAYS.index(day) for day in self.weekdays),
            account=self.account,
            session_id=self.session,
            job_class=self.job_class,
        )


class LayoutGroupingSettings(_Part):
    """For how many chunks and seconds the next in line may be passed over by tasks that are
    its equals and have the register layout that is loaded.
    """

    chunks: int = Field(default=10, ge=0)
    seconds: float = Field(default=600.0, ge=0)


class KeepWarmSettings(_Part):
    """For how long a session may keep the QPU: between two tasks, and for a contiguous run."""

    max_linger_s: float = Field(default=0.0, ge=0)
    max_run_s: float = Field(default=0.0, ge=0)


class QpuSettings(BaseModel):
    """A QPU: its adapter's `kind`, and whatever that adapter wants to know.

    `calibration_plan`: what the manager plans with, instead of what the adapter says.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: str
    calibration_plan: CalibrationPlanSettings | None = None
    windows: list[WindowSettings] = []
    layout_grouping: LayoutGroupingSettings = LayoutGroupingSettings(chunks=0)
    keep_warm: KeepWarmSettings = KeepWarmSettings()

    def plan(self) -> CalibrationPlan | None:
        """The site's own calibration plan; None: the adapter's."""
        return None if self.calibration_plan is None else self.calibration_plan.plan()

    def site_rules(self) -> SiteRules:
        """What the site says of the QPU besides its adapter's settings."""
        return SiteRules(
            plan=self.plan(),
            windows=self.window_rules(),
            group_tasks=self.layout_grouping.chunks,
            group_s=self.layout_grouping.seconds,
            max_linger_s=self.keep_warm.max_linger_s,
            max_run_s=self.keep_warm.max_run_s,
        )

    def window_rules(self) -> tuple[WindowRule, ...]:
        """The QPU's windows, as the site writes them."""
        return tuple(window.rule() for window in self.windows)

    def adapter_settings(self) -> dict[str, Any]:
        """The adapter's own part."""
        return dict(self.model_extra or {})


def _policy(value: Any) -> Any:
    """`policy: fifo` is short for `policy: {kind: fifo}`."""
    return {"kind": value} if isinstance(value, str) else value


class SiteSettings(_Part):
    """A whole site file. `file`: where it was read from, for messages."""

    manager: ManagerSettings = ManagerSettings()
    policy: Annotated[PolicySettings, BeforeValidator(_policy)] = PolicySettings()
    fair_share: FairShareSettings = FairShareSettings()
    accounts: dict[Name, AccountSettings] = {}
    charging: ChargingSettings = ChargingSettings()
    default_class: str
    job_classes: dict[Name, JobClassSettings] = Field(min_length=1)
    qpus: dict[Name, QpuSettings] = Field(min_length=1)

    def classes(self) -> tuple[JobClass, ...]:
        """The job classes as the scheduling core sees them, the most urgent first."""
        found = [one.job_class(name) for name, one in self.job_classes.items()]
        return tuple(sorted(found, key=lambda one: -one.priority))

    def fair_share_rules(self) -> FairShareRules:
        """How the core remembers usage, and the tree of accounts."""
        return FairShareRules(
            half_life_s=self.fair_share.half_life_s,
            band_up=self.fair_share.band_up,
            band_down=self.fair_share.band_down,
            min_usage_s=self.fair_share.min_usage_s,
            accounts=tuple(
                AccountShare(name, one.shares, one.parent) for name, one in self.accounts.items()
            ),
        )

    def charging_table(self) -> ChargingTable:
        """What device time costs."""
        return ChargingTable(**self.charging.model_dump())

    def credits(self) -> tuple[Credit, ...]:
        """Accounts with a limit, and that limit."""
        return tuple(
            Credit(name, one.qpu_s, one.period_s)
            for name, one in self.accounts.items()
            if one.qpu_s is not None
        )


def read_site(path: Path) -> SiteSettings:
    """Read a site file. Raises ConfigError with every problem in it.

    Relative paths in it (the store) are relative to the file's directory.
    """
    site = parse_site(read_text(path, "site file"), str(path))
    store = site.manager.store
    if store is None or store.is_absolute():
        return site
    manager = site.manager.model_copy(update={"store": (path.parent / store).resolve()})
    return site.model_copy(update={"manager": manager})


def embedded_site() -> SiteSettings:
    """The site of an embedded manager that nobody configured."""
    text = resources.files("qpu_executor").joinpath("embedded_site.yaml").read_text("utf-8")
    return parse_site(text, "embedded_site.yaml")


def parse_site(text: str, file: str) -> SiteSettings:
    """Read a site file's text; `file` names it in messages. Raises ConfigError."""
    problems = Problems(file)
    raw = parse_mapping(text, problems, "a site file: manager, job_classes and qpus")
    site = build(SiteSettings, raw, problems)
    if site is not None:
        _check_names(site, problems)
        _check_shares(site, problems)
    problems.raise_if_any()
    if site is None:
        raise ConfigError(f"{file}: not a valid site file")
    return site


def _check_names(site: SiteSettings, problems: Problems) -> None:
    """Every class, QPU and account that is named must exist."""

    def must_exist(name: str, known: Iterable[str], what: str, *path: str | int) -> None:
        if name not in known:
            problems.add(path, f"there is no {what} '{name}'" + suggestion(name, known))

    must_exist(site.default_class, site.job_classes, "job class", "default_class")
    for name, one in site.job_classes.items():
        for key, qpus in (("qpus", one.qpus or []), ("fallback", one.fallback)):
            for i, qpu in enumerate(qpus):
                must_exist(qpu, site.qpus, "QPU", "job_classes", name, key, i)
    for name, account in site.accounts.items():
        if account.parent is not None:
            must_exist(account.parent, site.accounts, "account", "accounts", name, "parent")


def _check_shares(site: SiteSettings, problems: Problems) -> None:
    """Promises that can be kept, and a tree that is one."""
    promised = sum(one.min_share for one in site.job_classes.values())
    if promised > 1.0:
        problems.add(("job_classes",), f"minimum shares add up to {promised:g}; 1 is all there is")
    if site.fair_share.band_down > site.fair_share.band_up:
        problems.add(("fair_share", "band_down"), "must not be above band_up")
    for name in site.accounts:
        above, seen = site.accounts[name].parent, {name}
        while above in site.accounts and above not in seen:
            seen.add(above)
            above = site.accounts[above].parent
        if above == name:
            problems.add(("accounts", name, "parent"), f"'{name}' is above itself")


def state_directory() -> Path:
    """Where this user's state lives ($XDG_STATE_HOME, else ~/.local/state), for our product."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "qpu-executor"
