"""How the controller fails while the manager is being killed; one kind for each history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

FOREIGN = "foreign"
"""The mark of somebody else's jobs."""


class Act(Enum):
    """What happens to the controller once, in the middle of things."""

    FORGET = "forget"
    """It is switched off and on: no jobs, numbers from 0."""
    KILL = "kill"
    """Its process is killed and started anew, and knows nothing of before."""
    KILL_REMEMBERING = "kill-remembering"
    """The same, but its jobs are on a disk: what ran is an error."""
    FOREIGN_JOB = "foreign-job"
    """Somebody else sends a job, which cancels whatever runs."""


@dataclass(frozen=True)
class Weather:
    """`faults`, `machine`: as the stand-in takes them. `act`: once for each kill.

    `one_job`: over as soon as a job has begun in it. `forgets`: the controller may have
    executed what it denies later, so that it is executed again, on record. `accepts_late`:
    a job may come about after everybody has given it up (the same, on record).
    `skewed`: its clock jumps, so that the times it gives mean nothing.
    """

    name: str
    faults: tuple[Mapping[str, Any], ...] = ()
    machine: Mapping[str, Any] = field(default_factory=dict)
    act: Act | None = None
    one_job: bool = False
    forgets: bool = False
    accepts_late: bool = False
    skewed: bool = False


def _status(**more: Any) -> Mapping[str, Any]:
    return {"do": "status", "status": 500, **more}


CALM = Weather("calm")

WEATHERS = (
    CALM,
    Weather("500-for-everything", (_status(),)),
    Weather(
        "500-for-30-percent",
        (_status(probability=0.15), _status(probability=0.15, handled=True)),
    ),
    Weather("hangs", ({"do": "hang"},)),
    Weather("looks-dropped", ({"do": "drop", "on": ["job"], "times": 8},)),
    Weather("posts-dropped", ({"do": "drop", "on": ["create"], "times": 1},)),
    Weather(
        "acknowledgements-lost", ({"do": "drop", "on": ["create"], "handled": True, "times": 2},)
    ),
    Weather("accepted-but-500", (_status(on=["create"], handled=True, times=2),)),
    Weather("posts-slow", ({"do": "slow", "on": ["create"], "delay_s": 0.5, "times": 1},)),
    Weather(
        "posts-later-than-believed",
        ({"do": "slow", "on": ["create"], "delay_s": 1.2, "times": 1},),
        accepts_late=True,
    ),
    Weather("html", ({"do": "html", "probability": 0.5},)),
    Weather(
        "garbage-and-cut-json",
        ({"do": "cut", "probability": 0.3}, {"do": "garbage", "probability": 0.2}),
    ),
    Weather("forgets", act=Act.FORGET, forgets=True),
    Weather("restarts", act=Act.KILL, forgets=True),
    Weather("restarts-remembering", act=Act.KILL_REMEMBERING),
    Weather("down", machine={"operational": "DOWN"}),
    Weather("stuck", machine={"stuck": True}, one_job=True),
    Weather("wrong-counts", machine={"results": "fewer"}, one_job=True),
    Weather("foreign-jobs", act=Act.FOREIGN_JOB),
    Weather("clock-jumps", machine={"clock_offset_s": -3600.0}, skewed=True),
)
