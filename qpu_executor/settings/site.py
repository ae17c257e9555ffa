"""The site file: manager, policy, job classes, accounts and QPUs, read once at the edge.

One YAML file describes a site (`configs/site.yaml` is an example that runs).
Unknown keys, wrong types and impossible values are refused with file, line,
key path and the nearest known name, all of them in one message. The values
that come out are frozen; each layer is handed its own part only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from qpu_executor.documents.model import build
from qpu_executor.documents.problems import Problems, suggestion
from qpu_executor.documents.source import parse_mapping, read_text
from qpu_executor.errors import ConfigError
from qpu_executor.manager.auth.roles import Roles
from qpu_executor.model.values import JobClass
from qpu_executor.scheduling.admission import Credit
from qpu_executor.scheduling.charging import ChargingTable
from qpu_executor.scheduling.fair_share import AccountShare, FairShareRules
from qpu_executor.settings.part import Name, Part
from qpu_executor.settings.policy import (
    AccountSettings,
    ChargingSettings,
    FairShareSettings,
    JobClassSettings,
    PolicySettings,
)
from qpu_executor.settings.qpus import QpuSettings
from qpu_executor.settings.security import (
    AuthenticationSettings,
    MembersSettings,
    TlsSettings,
    named_or_settled,
)
from qpu_executor.settings.store import StoreSettings, check_store, path_or_settings


class ManagerSettings(Part):
    """`listen`: addresses (`unix:///path`, `http://127.0.0.1:8080`). `store`: SQLite file, or
    PostgreSQL database.

    `time_scale`: how much faster than real time the manager's clock runs
    (rehearsals). `health_every_s`: pause between looks at a QPU's health.
    `authentication`: proofs of who is asking that are taken. `operators`, `services`: who
    has these roles. `tls`: for `https://` addresses. `plain_tcp`: listen for other hosts
    without encryption.
    """

    listen: list[str] = Field(default=["http://127.0.0.1:8080"], min_length=1)
    store: Annotated[StoreSettings | None, BeforeValidator(path_or_settings)] = None
    time_scale: float = Field(default=1.0, ge=0.01, le=100.0)
    health_every_s: float = Field(default=5.0, gt=0, le=3600)
    authentication: Annotated[
        list[AuthenticationSettings], BeforeValidator(named_or_settled), Field(min_length=1)
    ] = [AuthenticationSettings(kind="peer")]
    operators: MembersSettings = MembersSettings()
    services: MembersSettings = MembersSettings()
    tls: TlsSettings | None = None
    plain_tcp: bool = False

    def roles(self) -> Roles:
        """Who is an operator, and who a service."""
        return Roles(self.operators.members(), self.services.members())


def _policy(value: Any) -> Any:
    """`policy: fifo` is short for `policy: {kind: fifo}`."""
    return {"kind": value} if isinstance(value, str) else value


class SiteSettings(Part):
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

    Relative paths in it (the store, TLS files) are relative to the file's directory.
    """
    site = parse_site(read_text(path, "site file"), str(path))
    manager = site.manager
    changes: dict[str, Any] = {}
    if manager.store is not None:
        changes["store"] = manager.store.relative_to(path.parent)
    if manager.tls is not None:
        files = {
            "certificate": (path.parent / manager.tls.certificate).resolve(),
            "key": (path.parent / manager.tls.key).resolve(),
        }
        changes["tls"] = manager.tls.model_copy(update=files)
    return site.model_copy(update={"manager": manager.model_copy(update=changes)})


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
        check_store(site.manager.store, problems)
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
        if one.device_of is not None:
            must_exist(one.device_of, site.qpus, "QPU", "job_classes", name, "device_of")
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
