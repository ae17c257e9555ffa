"""What is compared: an ordering, and how jobs and chunks are let onto the QPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qpu_executor.scheduling.scheduler import Scheduler


@dataclass(frozen=True, slots=True)
class Policy:
    """A way to run a site. `make_scheduler`: a fresh core for one rehearsal;
    it travels to other processes, so it is a module's function or a `partial` of one.

    `divisible`: false sends every task in one piece, whatever its class says.
    `jobs_at_once`: None lets all jobs onto the QPU; 1 gives it to one job for
    its whole life. `poll_s`: an end is noticed up to that much later, at random,
    and the QPU idles meanwhile. `site_rules`: false for what knows classes by their
    priority only: no limits, shares or chunk lengths of classes, and no calendar.
    """

    name: str
    title: str
    make_scheduler: Callable[[], Scheduler]
    divisible: bool = True
    jobs_at_once: int | None = None
    poll_s: float = 0.0
    site_rules: bool = True
