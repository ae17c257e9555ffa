"""The route of the whole queue, and what of it a caller is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Query

from qpu_executor.manager.api.context import Asked
from qpu_executor.manager.api.views import moment
from qpu_executor.manager.service.manager import Manager
from qpu_executor.manager.service.privacy import Sight
from qpu_executor.manager.store.records import TaskRow
from qpu_executor.model.states import TaskState
from qpu_executor.wire.queue import QueueOut, QueueRowOut

router = APIRouter(prefix="/v1", tags=["tasks"])


@router.get("/queue")
async def queue(
    asked: Asked, limit: Annotated[int, Query(ge=1, le=10_000, description="rows")] = 1000
) -> QueueOut:
    """Everybody's tasks that wait or run, as far as the site's `privacy` shows them.

    What is shown comes from one look at the queue. Operators are shown all of it.
    """
    manager, sight = asked.manager, asked.sight
    rows = []
    for row, rank in _in_order(manager):
        if sight.lists(row.owner):
            rows.append(_row_out(row, rank, sight))
        if len(rows) > limit:
            break
    states = Counter(row.state for row in manager.live.values())
    return QueueOut(
        rows=rows[:limit],
        running=states[TaskState.RUNNING],
        waiting=states[TaskState.QUEUED],
        held=states[TaskState.HELD],
        more=len(rows) > limit,
        shown="all" if sight.operator else sight.privacy.value,
        as_of=moment(manager.clock.now()),
    )


# -- below: no routes -----------------------------------------------------------


def _in_order(manager: Manager) -> Iterator[tuple[TaskRow, int | None]]:
    """Every live task with its rank."""
    live, seen = manager.live, set[int]()
    for task_id in manager.scheduler.running():
        seen.add(task_id)
        if task_id in live:
            yield live[task_id], None
    for rank, task_id in enumerate(manager.scheduler.in_line(), 1):
        seen.add(task_id)
        if task_id in live:
            yield live[task_id], rank
    yield from ((row, None) for task_id, row in sorted(live.items()) if task_id not in seen)


def _row_out(row: TaskRow, rank: int | None, sight: Sight) -> QueueRowOut:
    named = sight.names(row.owner)
    return QueueRowOut(
        task=row.id if named else None,
        owner=row.owner if named else None,
        yours=row.owner == sight.name,
        rank=rank,
        job_class=row.job_class,
        state=row.state,
        shots=row.shots,
        shots_done=row.shots_done,
        qpu=row.qpu,
    )
