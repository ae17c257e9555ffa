"""Everybody's tasks that wait or run, on the wire (API v1)."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from qpu_executor.model.states import TaskState
from qpu_executor.wire.tasks import Answer


class QueueRowOut(Answer):
    """A task that waits or runs. `task`, `owner` null: another user's, whom the site doesn't
    name. `rank`: 1 is next; null where it runs, or has no place in line.
    """

    task: int | None
    owner: str | None
    yours: bool
    rank: int | None
    job_class: str
    state: TaskState
    shots: int
    shots_done: int
    qpu: str | None


class QueueOut(Answer):
    """The queue: what runs, then what waits in its order, then what has no place in line.

    The numbers count everybody's tasks, whichever of them have a row.
    """

    rows: list[QueueRowOut]
    running: int
    waiting: int
    held: int
    more: bool = Field(description="there are more rows than the limit")
    shown: Literal["all", "open", "anonymous", "own"] = Field(
        description="what the caller is shown of others' tasks; all: to operators"
    )
    as_of: datetime
