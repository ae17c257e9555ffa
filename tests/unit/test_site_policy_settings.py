"""The site file's lines about policy, classes, accounts and charging."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpu_executor.cli.server_parts import build_scheduler
from qpu_executor.errors import ConfigError
from qpu_executor.scheduling.admission import Credit
from qpu_executor.scheduling.fair_share import AccountShare
from qpu_executor.settings import PolicySettings, SiteSettings, embedded_site, parse_site, read_site

EXAMPLE = Path(__file__).parents[2] / "configs" / "site.yaml"
SITE = """
default_class: development
job_classes:
  production: {priority: 2, preemptible: false, min_share: 0.5}
  development:
    priority: 1
    may_preempt: false
    max_running: 2
    max_queued: 10
    qpu_s_per_day: 100
    qpus: [alpha]
    fallback: [beta]
    min_share: 0.4
accounts:
  science: {shares: 3}
  physics: {parent: science, qpu_s: 50, period_s: 3600}
charging: {setup: 0.5}
fair_share: {half_life_s: 3600, band_up: 5}
qpus:
  alpha: {kind: simulated-qpu}
  beta: {kind: simulated-qpu}
"""


def site(*changes: tuple[str, str], more: str = "") -> SiteSettings:
    text = SITE + more
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parse_site(text, "site.yaml")


def test_everything_reaches_the_core_as_its_own_values() -> None:
    found = site()
    production, development = found.classes()
    assert (production.preemptible, production.min_share) == (False, 0.5)
    assert (development.may_preempt, development.max_running, development.max_queued) == (
        False,
        2,
        10,
    )
    assert (development.qpus, development.fallback) == (("alpha",), ("beta",))
    rules = found.fair_share_rules()
    assert (rules.half_life_s, rules.band_up, rules.band_down) == (3600.0, 5.0, 3.0)
    assert rules.accounts == (AccountShare("science", 3.0), AccountShare("physics", 1.0, "science"))
    assert found.charging_table().setup == 0.5
    assert found.credits() == (Credit("physics", 50.0, 3600.0),)


def test_policy_is_banded_unless_said_otherwise() -> None:
    assert site().policy.kind == "banded"
    assert site(more="policy: fifo\n").policy == PolicySettings(kind="fifo")
    tuned = site(more="policy: {kind: banded, age_cap_s: 60}\n").policy
    assert tuned.policy_settings() == {"age_cap_s": 60}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("min_share: 0.4", "min_share: 0.6", "minimum shares add up to 1.1"),
        ("min_share: 0.4", "min_shar: 0.4", "unknown key; did you mean 'min_share'"),
        ("qpus: [alpha]", "qpus: [alfa]", "there is no QPU 'alfa'; did you mean 'alpha'"),
        ("fallback: [beta]", "fallback: [bta]", r"fallback\[0\]: there is no QPU 'bta'"),
        ("parent: science", "parent: scienc", "there is no account 'scienc'"),
        ("shares: 3", "shares: 3, parent: physics", "'science' is above itself"),
        ("band_up: 5", "band_up: 2", "must not be above band_up"),
        ("setup: 0.5", "set_up: 0.5", "unknown key; did you mean 'setup'"),
        ("default_class: dev", "default_class: deev", "there is no job class 'deevelopment'"),
    ],
)
def test_what_cant_be_is_refused_with_its_place(old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        site((old, new))


@pytest.mark.parametrize("settings", [embedded_site(), read_site(EXAMPLE)])
def test_our_site_files_make_a_core(settings: SiteSettings) -> None:
    scheduler = build_scheduler(settings)
    assert scheduler.next_wakeup() is None
    assert {line.account for line in scheduler.shares()} == set(settings.accounts)


def test_rehearsal_may_name_another_policy() -> None:
    with pytest.raises(ConfigError, match="it has no setting 'age_cap_s'"):
        build_scheduler(embedded_site(), PolicySettings(kind="fifo", age_cap_s=1))
