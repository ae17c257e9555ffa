"""Routes about what is kept no longer: how much, what, and dropping it. For operators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from qpu_executor.manager.api.context import Asked
from qpu_executor.manager.api.views import moment
from qpu_executor.manager.service.operations import Operations
from qpu_executor.manager.service.retention import Only
from qpu_executor.wire.retention import (
    MOST_AGE_S,
    PrunableOut,
    PrunedOut,
    PruneRequest,
    RecordsOut,
)
from qpu_executor.wire.tasks import Problem

router = APIRouter(
    prefix="/v1/retention",
    tags=["operators"],
    responses={400: {"model": Problem}, 403: {"model": Problem}},
)

Age = Annotated[float, Query(ge=0, le=MOST_AGE_S, allow_inf_nan=False, description="seconds")]


@router.get("")
async def prunable(asked: Asked, older_than_s: Age) -> PrunableOut:
    """How much is older than that and could be dropped."""
    tasks, journal = await Operations(asked.manager, asked.caller).prunable(older_than_s)
    before = asked.manager.retention.by_age(older_than_s).results
    return PrunableOut(tasks=tasks, journal=journal, before=moment(before or 0))


@router.get("/records")
async def records(asked: Asked, older_than_s: Age) -> RecordsOut:
    """What a prune would drop next, in full: to be kept somewhere else before."""
    found, batch = await Operations(asked.manager, asked.caller).records(older_than_s)
    return RecordsOut(
        records=found,
        tasks=[row.id for row in batch.tasks],
        sessions=list(batch.sessions),
        journal=list(batch.journal),
    )


@router.post("/prune")
async def prune(asked: Asked, body: PruneRequest) -> PrunedOut:
    """Drop a part of what is older than that, in one small transaction."""
    operations = Operations(asked.manager, asked.caller)
    named = (body.tasks, body.sessions, body.journal)
    only = None
    if named != (None, None, None):
        only = Only(set(body.tasks or ()), set(body.sessions or ()), set(body.journal or ()))
    dropped, more = await operations.prune(body.older_than_s, only)
    return PrunedOut(
        tasks=dropped.tasks, sessions=dropped.sessions, journal=dropped.journal, more=more
    )
