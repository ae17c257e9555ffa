"""The shipped policies as the reference rehearsal knows them, with their default settings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from qpu_executor.scheduling.ordering import Ordering
from qpu_executor.scheduling.policies.banded import Banded
from qpu_executor.scheduling.policies.critical_path import CriticalPath
from qpu_executor.scheduling.policies.fairshare import FairShare
from qpu_executor.scheduling.policies.fifo import Fifo
from qpu_executor.scheduling.policies.priority import Priority
from qpu_executor.scheduling.policies.weighted import Weighted
from qpu_executor.scheduling.scheduler import Scheduler
from qpu_executor.simulation.policy import Policy

TITLES = {
    "fifo": "first come, first served, in chunks",
    "priority": "class, then age, preemption between chunks",
    "weighted": "least work for its weight first, preemption between chunks",
    "critical-path": "longest remaining job first: for batches only",
    "fairshare": "class, then whoever has had the least for its share",
    "banded": "class, fair-share band, least work first, preemption between chunks",
}
"""What the names of the shipped policies stand for."""


def _scheduler(ordering: Callable[[], Ordering]) -> Scheduler:
    return Scheduler(ordering=ordering())


def _preset(name: str, ordering: Callable[[], Ordering]) -> Policy:
    return Policy(name, TITLES[name], partial(_scheduler, ordering))


BANDED = _preset("banded", Banded)

PRESETS = {
    one.name: one
    for one in (
        _preset("fifo", Fifo),
        _preset("priority", Priority),
        _preset("weighted", Weighted),
        _preset("critical-path", CriticalPath),
        _preset("fairshare", FairShare),
        BANDED,
    )
}
"""By name."""
