"""The site's rules for the queue, as one value that can be replaced while the manager runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qpu_executor.manager.auth.rights import OPEN, Rights
from qpu_executor.manager.service.privacy import Privacy
from qpu_executor.manager.service.retention_rules import RetentionRules
from qpu_executor.manager.service.session_rules import SessionRules
from qpu_executor.manager.service.site_rules import SiteRules
from qpu_executor.model.values import JobClass
from qpu_executor.scheduling.admission import DAY_S, Credit
from qpu_executor.scheduling.charging import ChargingTable
from qpu_executor.scheduling.fair_share import FairShareRules
from qpu_executor.scheduling.minimum_share import DEFAULT_HORIZON_S
from qpu_executor.scheduling.ordering import Ordering
from qpu_executor.scheduling.scheduler import Scheduler

RECALLED_HALF_LIVES = 10
"""What was used before that has less than a thousandth of its weight left."""


@dataclass(frozen=True, slots=True)
class SitePolicy:
    """`classes`: the most urgent first. `ordering`: None stands for the core's default.

    `kind`: the ordering's name in the site file. `qpus`: what it says of each QPU.
    `rights`: who may use which class and account.
    `privacy`: what users are shown of others' tasks. `retention`: how long things are kept.
    `sessions`: how long these live, and what their end means.
    """

    classes: tuple[JobClass, ...]
    default_class: str
    ordering: Ordering | None = None
    kind: str = ""
    fair_share: FairShareRules = field(default_factory=FairShareRules)
    charging: ChargingTable = field(default_factory=ChargingTable)
    share_horizon_s: float = DEFAULT_HORIZON_S
    credits: tuple[Credit, ...] = ()
    qpus: Mapping[str, SiteRules] = field(default_factory=dict)
    rights: Rights = OPEN
    privacy: Privacy = Privacy.ANONYMOUS
    retention: RetentionRules = field(default_factory=RetentionRules)
    sessions: SessionRules = field(default_factory=SessionRules)

    def scheduler(self) -> Scheduler:
        """A new core that goes by these rules."""
        return Scheduler(
            ordering=self.ordering,
            fair_share=self.fair_share,
            charging=self.charging,
            share_horizon_s=self.share_horizon_s,
            credits=self.credits,
        )

    @property
    def memory_s(self) -> float:
        """How far back, in seconds, what was used matters to shares and budgets."""
        periods = [credit.period_s for credit in self.credits]
        return max(RECALLED_HALF_LIVES * self.fair_share.half_life_s, DAY_S, *periods)
