"""What a task may ask for besides a program and shots: the same names at every door.

Parsl, Dask, Pulser, pipelines and sessions of hybrid steps take these and hand them on to a
TaskOrder, which explains them and checks them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, TypedDict

from qpu_executor.errors import RequestRefused
from qpu_executor.model.states import OnRecalibration
from qpu_executor.model.stopping import StopRule
from qpu_executor.nearest import did_you_mean

PLACES = ("qpu", "device")
"""Each says where a task runs: who names one of them wants no default for the other."""


class TaskWishes(TypedDict, total=False):
    """Fields of a TaskOrder; None is as good as not given."""

    device: str | None
    require: Mapping[str, Any] | None
    begin_at: datetime | None
    deadline_at: datetime | None
    time_limit_s: float | None
    on_recalibration: OnRecalibration | Literal["continue", "restart", "fail"] | None
    max_calibration_age_s: float | None
    min_quality: float | None
    shot_s: float | None
    path_s: float | None
    stop_when: StopRule | Mapping[str, Any] | None


WISHES = tuple(TaskWishes.__annotations__)
"""Their names."""


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are said."""
    return {name: value for name, value in options.items() if value is not None}


def given_wishes(wishes: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Those that are said. Raises RequestRefused for a name that is none."""
    for name in wishes:
        if name not in WISHES:
            raise RequestRefused(
                f"there is no option {name!r}{did_you_mean(name, WISHES)}", where=where
            )
    return given(wishes)


def with_defaults(defaults: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, and of the defaults those about which they say nothing."""
    said = given(options)
    placed = any(name in said for name in PLACES)
    taken = {n: v for n, v in given(defaults).items() if not (placed and n in PLACES)}
    return {**taken, **said}
