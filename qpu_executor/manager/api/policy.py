"""Routes about the queue's rules: why, shares, estimates; and what operators ask."""

from __future__ import annotations

from fastapi import APIRouter

from qpu_executor.manager.api.context import Asked, Context
from qpu_executor.manager.api.openapi import may_answer
from qpu_executor.manager.api.parameters import QpuName, TaskNumber, WindowName
from qpu_executor.manager.api.policy_views import range_s, shares_out, why_out, windows_out
from qpu_executor.manager.api.problems import problem_of
from qpu_executor.manager.api.qpu_views import qpu_out
from qpu_executor.manager.api.site import surroundings
from qpu_executor.manager.api.tasks import order_of
from qpu_executor.manager.service.estimating import Estimate, usable
from qpu_executor.manager.service.estimating import estimate as estimate_of
from qpu_executor.manager.service.forecast import Span, expected_end, expected_start
from qpu_executor.manager.service.operations import Operations
from qpu_executor.manager.service.settling import Verdict
from qpu_executor.manager.store.records import TaskRow
from qpu_executor.model.states import TaskState
from qpu_executor.model.timing import after
from qpu_executor.model.values import Instant
from qpu_executor.scheduling.lineup import Lineup
from qpu_executor.wire.policy import (
    MAX_AHEAD,
    DrainRequest,
    EstimateOut,
    PolicyOut,
    SettleRequest,
    SharesOut,
    WhyOut,
    WindowList,
    WindowRequest,
)
from qpu_executor.wire.site import QpuOut
from qpu_executor.wire.tasks import TaskIds, TaskList, TaskOut, TaskRequest

router = APIRouter(prefix="/v1")


@router.get("/tasks/{task_id}/why", tags=["tasks"], responses=may_answer(404))
async def why(asked: Asked, task_id: TaskNumber) -> WhyOut:
    """Why a task isn't running now, who goes before it, and when it may be expected to start."""
    manager = asked.manager
    row = await manager.shown(task_id, asked.caller)
    # From here on nothing waits: all of the answer is from one look at the queue.
    row = manager.live.get(task_id, row)
    now = manager.clock.now()
    found = manager.scheduler.why(task_id)
    line = manager.scheduler.lineup(task_id, MAX_AHEAD)
    spans = _spans(asked, row, line, now)
    return why_out(asked.task_out(row), found, line, spans, asked.sight, now)


@router.get("/shares", tags=["policy"])
async def shares(asked: Asked) -> SharesOut:
    """Accounts and classes against their shares. Other users are named to operators only,
    others' accounts where the site's `privacy` is open.
    """
    manager = asked.manager
    half_life_s = manager.policy.fair_share.half_life_s
    usage = await manager.store.usage(after(manager.clock.now(), -half_life_s))
    return shares_out(manager.scheduler.shares(), usage, manager.policy, asked.sight)


@router.post("/estimate", tags=["policy"])
async def estimate(asked: Asked, body: TaskRequest) -> EstimateOut:
    """What a task would need and how long it would wait; nothing is submitted."""
    order = order_of(body, None, {})
    if isinstance(order, Exception):
        found = Estimate((), None, None, order, ())
    else:
        found = await estimate_of(asked.manager, order, asked.caller)
    return EstimateOut(
        qpus=list(found.qpus),
        qpu_s=found.qpu_s,
        expected_wait_s=range_s(found.wait),
        refusal=None if found.refusal is None else problem_of(found.refusal),
        explanation=list(found.explanation),
    )


@router.get("/windows", tags=["policy"])
async def windows(asked: Asked) -> WindowList:
    """Maintenance and reservations that are on or planned, the soonest first."""
    return windows_out(asked.manager.windows.listed(), asked.sight)


# -- operators ------------------------------------------------------------------


@router.post("/qpus/{name}/drain", tags=["operators"], responses=may_answer(403))
async def drain(asked: Asked, name: QpuName, body: DrainRequest) -> QpuOut:
    """Let a QPU finish what it has and take nothing new."""
    await Operations(asked.manager, asked.caller).drain(name, body.reason)
    return _qpu(asked, name)


@router.post("/qpus/{name}/resume", tags=["operators"], responses=may_answer(403))
async def resume(asked: Asked, name: QpuName) -> QpuOut:
    """Let a drained QPU take tasks again."""
    await Operations(asked.manager, asked.caller).resume(name)
    return _qpu(asked, name)


@router.post("/qpus/{name}/calibrate", tags=["operators"], responses=may_answer(403))
async def calibrate(asked: Asked, name: QpuName) -> QpuOut:
    """Calibrate a QPU before it takes another chunk."""
    await Operations(asked.manager, asked.caller).calibrate(name)
    return _qpu(asked, name)


@router.post("/qpus/{name}/windows", tags=["operators"], responses=may_answer(403))
async def announce_window(asked: Asked, name: QpuName, body: WindowRequest) -> WindowList:
    """Close a QPU, or keep it for some, at a time. One of the same name is replaced."""
    words = body.model_dump(mode="json")
    await Operations(asked.manager, asked.caller).announce_window(name, words)
    return windows_out(asked.manager.windows.listed(), asked.sight)


@router.delete("/qpus/{name}/windows/{window}", tags=["operators"], responses=may_answer(403))
async def withdraw_window(asked: Asked, name: QpuName, window: WindowName) -> WindowList:
    """Take an announced window back."""
    await Operations(asked.manager, asked.caller).withdraw_window(name, window)
    return windows_out(asked.manager.windows.listed(), asked.sight)


@router.post("/tasks/requeue", tags=["operators"], responses=may_answer(403, 404))
async def requeue(asked: Asked, body: TaskIds) -> TaskList:
    """Stop the chunks of running tasks; these wait again with the shots they have."""
    rows = await Operations(asked.manager, asked.caller).requeue(body.ids)
    return TaskList(
        tasks=[asked.task_out(row) for row in rows], cursor=asked.manager.broadcast.newest
    )


@router.post("/tasks/{task_id}/settle", tags=["operators"], responses=may_answer(403, 404))
async def settle(asked: Asked, task_id: TaskNumber, body: SettleRequest) -> TaskOut:
    """Say what became of a task's chunk that is UNKNOWN. Its QPU is asked no more."""
    verdict = Verdict(body.counts, body.device_s, body.chunk)
    return asked.task_out(await Operations(asked.manager, asked.caller).settle(task_id, verdict))


@router.post("/policy/reload", tags=["operators"], responses=may_answer(403))
async def reload_policy(asked: Asked) -> PolicyOut:
    """Read the site file's rules for the queue again. A bad file changes nothing."""
    changed = await Operations(asked.manager, asked.caller).reload_policy()
    return PolicyOut(policy=asked.manager.policy.kind, changed=changed)


# -- below: no routes -----------------------------------------------------------


def _spans(
    asked: Context, row: TaskRow, line: Lineup | None, now: Instant
) -> tuple[Span | None, Span | None]:
    """To the expected start of a task that waits, and to its end."""
    manager = asked.manager
    qpus = usable(manager, row.qpus)
    if row.state is TaskState.RUNNING:
        here = [(view, plan) for view, plan in qpus if view.name == row.qpu]
        shots = row.shots - row.shots_done
        rate = next((view.rate_hz for view, _ in here), None)
        shot_s = row.wishes.shot_s or (1.0 / rate if rate else None)
        own_s = None if shot_s is None else shots * shot_s
        return None, expected_end(Span(0.0, 0.0, 0.0), own_s, here, now)
    start = expected_start(line, manager.scheduler.waiting(row.id), qpus, now)
    return start, expected_end(start, None if line is None else line.own_s, qpus, now)


def _qpu(asked: Context, name: str) -> QpuOut:
    manager = asked.manager
    return qpu_out(manager.fleet.get(name), manager.scheduler.qpu(name), surroundings(asked))
