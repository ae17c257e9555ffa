"""What a quantum or hybrid step may ask for its tasks, by the names that every door has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qpu_executor.client.order import TaskOrder, to_request
from qpu_executor.client.wishes import WISHES
from qpu_executor.programs.program import Program

BY_THE_RUN = ("begin_at", "deadline_at", "path_s", "stop_when")
"""No wishes of that kind: a file is run on many days, the run knows its own graph, and a
stopping rule belongs to quantum steps alone."""

STEP_WISHES = tuple(name for name in WISHES if name not in BY_THE_RUN)
"""Their names."""

NOT_DECIDING = frozenset({"time_limit_s", "shot_s"})
"""Those that change nothing about a result that is there."""


def read_wish(name: str, value: object) -> Any:
    """A wish as plain data; None for one that says what holds anyhow.

    Raises RequestRefused for what no manager takes.
    """
    order = TaskOrder(Program("", ""), 1, **{name: value})  # type: ignore[arg-type]
    request = to_request(order, None)
    told = request.model_dump(mode="json", include={name}, exclude_defaults=True).get(name)
    return None if told == {} else told


def deciding(wishes: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the wishes that a step's result depends on."""
    return {name: value for name, value in wishes.items() if name not in NOT_DECIDING}
