"""What has expired, and dropping it, on the wire (API v1)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from qpu_executor.wire.tasks import Answer, Request

LEAST_AGE_S = 0.0
MOST_AGE_S = 1e9


class PrunableOut(Answer):
    """What could be dropped now. Tasks that live ones depend on are counted, and stay.

    `before`: what ended earlier; what shares and budgets remember is younger than that.
    """

    tasks: int
    journal: int
    before: datetime


class RecordsOut(Answer):
    """What would be dropped next, one record for each task, session or row of the journal.

    `tasks`, `sessions`, `journal`: what to hand to a prune, once the records are safe.
    """

    records: list[dict[str, Any]]
    tasks: list[int]
    sessions: list[str]
    journal: list[int]


class PruneRequest(Request):
    """Drop what is older than so many seconds, a part of it at a time.

    `tasks`, `sessions`, `journal`: only these, as an export named them.
    """

    older_than_s: float = Field(ge=LEAST_AGE_S, le=MOST_AGE_S, allow_inf_nan=False)
    tasks: list[int] | None = Field(default=None, max_length=1000)
    sessions: list[str] | None = Field(default=None, max_length=10_000)
    journal: list[int] | None = Field(default=None, max_length=10_000)


class PrunedOut(Answer):
    """What was dropped. `more`: there may be more; ask again."""

    tasks: int
    sessions: int
    journal: int
    more: bool
