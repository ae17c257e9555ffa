"""Routes about sessions: what they say, ask and keep, and who renews them."""

from __future__ import annotations

from dataclasses import asdict, replace

from fastapi import APIRouter

from qpu_executor.errors import NotAllowed
from qpu_executor.manager.api.context import Asked, Context
from qpu_executor.manager.api.openapi import may_answer
from qpu_executor.manager.api.parameters import SessionId
from qpu_executor.manager.api.views import moment, optional_instant, optional_moment
from qpu_executor.manager.auth.caller import Caller, Role
from qpu_executor.manager.service.keeping_warm import KeepWarm
from qpu_executor.manager.service.new_session import NewSession
from qpu_executor.manager.service.operations import Operations
from qpu_executor.manager.store.records import SessionRow, SessionTotals
from qpu_executor.model.sessions import SessionHints, SlurmJob
from qpu_executor.scheduling.warm_hold import WarmHold
from qpu_executor.wire.sessions import (
    CloseRequest,
    HeartbeatOut,
    HoldOut,
    KeepWarmRequest,
    SessionList,
    SessionOut,
    SessionRequest,
    SessionState,
    SlurmJobOut,
)
from qpu_executor.wire.tasks import TaskList

router = APIRouter(prefix="/v1", tags=["sessions"])


@router.post("/sessions", responses=may_answer(403))
async def open_session(asked: Asked, body: SessionRequest) -> SessionOut:
    """Open a session; with a key, the open one of that key is found again, as it is."""
    if body.job_class is not None:
        asked.manager.admission.job_class(body.job_class)
    wanted = NewSession(
        name=body.name,
        kind=body.kind,
        account=body.account,
        key=body.key,
        ends_at=optional_instant(body.ends_at),
        ends_in_s=body.ends_in_s,
        hints=SessionHints(body.shape, body.expected_tasks, body.think_s),
        job_class=body.job_class,
        keep_warm=None if body.keep_warm is None else _wish(body.keep_warm),
        leased=body.leased,
        lease_s=body.lease_s,
        idle_s=body.idle_s,
        lifetime_s=body.lifetime_s,
        on_close=body.on_close,
        on_lost=body.on_lost,
        slurm=None if body.slurm is None else SlurmJob(**body.slurm.model_dump()),
        uid=body.uid if asked.caller.has(Role.SERVICE) else None,
    )
    caller = asked.caller if body.user is None else _for_user(asked.caller, body.user)
    found = await asked.manager.sessions.open(caller, wanted, by=asked.caller)
    return await session_out(asked, found)


@router.get("/sessions")
async def sessions(asked: Asked) -> SessionList:
    """The caller's sessions, newest first."""
    rows = await asked.manager.store.sessions(asked.caller.name)
    totals = await asked.manager.store.session_totals([row.id for row in rows])
    return SessionList(sessions=[_session_out(asked, row, totals[row.id]) for row in rows])


@router.get("/sessions/{session_id}")
async def session(asked: Asked, session_id: SessionId) -> SessionOut:
    """One session. Operators see anybody's."""
    found = asked.manager.sessions
    if asked.caller.has(Role.OPERATOR) and (row := await found.find(session_id)) is not None:
        return await session_out(asked, row)
    return await session_out(asked, await found.get(session_id, asked.caller))


@router.post("/sessions/{session_id}/heartbeat")
async def heartbeat(asked: Asked, session_id: SessionId) -> HeartbeatOut:
    """Renew a session's lease. One that was lost is found again: what that held goes on.

    Services may do that to anybody's. Every other use of a session renews it as well.
    """
    found = asked.manager.sessions
    renewal = await found.heartbeat(session_id, await _owner_of(asked, session_id))
    row = renewal.session
    return HeartbeatOut(
        id=row.id,
        state=_state(row),
        lease_s=_real_s(asked, row.lease_s),
        lease_left_s=found.watch.lease_left_s(row),
        was_lost=renewal.was_lost,
        released=list(renewal.released),
    )


@router.post("/sessions/{session_id}/close")
async def close_session(
    asked: Asked, session_id: SessionId, body: CloseRequest | None = None
) -> SessionOut:
    """Close a session and give back what it keeps; new tasks are refused.

    Its tasks go on, are held or are cancelled: as the request says, or else the session, or
    else the site. Services may do that to anybody's.
    """
    caller = await _owner_of(asked, session_id)
    fate = None if body is None else body.tasks
    row = await asked.manager.sessions.close(session_id, caller, by=asked.caller, fate=fate)
    return await session_out(asked, row)


@router.post("/sessions/{session_id}/cancel")
async def cancel_session(asked: Asked, session_id: SessionId) -> TaskList:
    """Cancel all tasks of a session that haven't ended."""
    manager = asked.manager
    await manager.sessions.get(session_id, asked.caller)
    ids = manager.sessions.live_tasks(session_id)
    rows = await manager.ask("cancel", ids, asked.caller) if ids else []
    return TaskList(tasks=[asked.task_out(row) for row in rows], cursor=manager.broadcast.newest)


@router.post("/sessions/{session_id}/hold")
async def keep_warm(asked: Asked, session_id: SessionId, body: KeepWarmRequest) -> SessionOut:
    """Keep a QPU for a session: between its tasks, or for a contiguous run."""
    found = asked.manager.sessions
    row = await found.usable(session_id, asked.caller)
    await found.holds.ask(row, _wish(body), found.enter)
    return await session_out(asked, row)


@router.delete("/sessions/{session_id}/hold")
async def give_back(asked: Asked, session_id: SessionId) -> SessionOut:
    """Keep nothing for a session any more; operators may do that to anybody's."""
    if asked.caller.has(Role.OPERATOR):
        row = await Operations(asked.manager, asked.caller).give_back(session_id)
        return await session_out(asked, row)
    row = await asked.manager.sessions.get(session_id, asked.caller)
    await asked.manager.sessions.holds.give_back(row)
    return await session_out(asked, row)


# -- below: no routes -----------------------------------------------------------


async def session_out(asked: Context, row: SessionRow) -> SessionOut:
    """A session, with its tasks so far and what it is granted now."""
    totals = await asked.manager.store.session_totals([row.id])
    return _session_out(asked, row, totals[row.id])


def _session_out(asked: Context, row: SessionRow, totals: SessionTotals) -> SessionOut:
    found = asked.manager.sessions
    return SessionOut(
        id=row.id,
        name=row.name,
        kind=row.kind,
        owner=row.owner,
        account=row.account,
        opened_at=moment(row.opened_at),
        closed_at=optional_moment(row.closed_at),
        live_tasks=len(found.live_tasks(row.id)),
        ends_at=optional_moment(row.ends_at),
        shape=row.hints.shape,
        expected_tasks=row.hints.expected_tasks,
        think_s=row.hints.think_s,
        job_class=row.job_class,
        holds=[_hold_out(qpu, hold) for qpu, hold in found.holds.of(row.id)],
        state=_state(row),
        uid=row.uid,
        slurm=None if row.slurm is None else SlurmJobOut(**asdict(row.slurm)),
        lease_s=_real_s(asked, row.lease_s),
        lease_left_s=found.watch.lease_left_s(row),
        idle_s=row.idle_s,
        expires_at=optional_moment(row.expires_at),
        on_close=row.on_close,
        on_lost=row.on_lost,
        lost_at=optional_moment(row.lost_at),
        closed_because=row.closed_because,
        tasks=totals.tasks,
        shots=totals.shots,
        qpu_s=totals.device_s,
        charged_s=totals.charged_s,
    )


def _state(row: SessionRow) -> SessionState:
    if row.closed_at is not None:
        return "closed"
    return "open" if row.lost_at is None else "lost"


def _real_s(asked: Context, clock_s: float | None) -> float | None:
    """Leases are real time, whatever the scale of the manager's clock."""
    return None if clock_s is None else clock_s / asked.manager.sessions.rules.time_scale


async def _owner_of(asked: Context, session_id: str) -> Caller:
    """Who is asking, or whose session it is where a service asks."""
    caller = asked.caller
    if caller.has(Role.SERVICE) and (found := await asked.manager.sessions.find(session_id)):
        return replace(caller, name=found.owner)
    return caller


def _for_user(service: Caller, user: str) -> Caller:
    """The user for whom a service acts. Raises NotAllowed for anybody who is no service."""
    if user != service.name and not service.has(Role.SERVICE):
        raise NotAllowed(
            f"{service.name} may not open sessions for {user}",
            where="user",
            expected="a caller with the role `service`",
            next_step="ask the site's operators",
        )
    return replace(service, name=user, uid=None, roles=frozenset())


def _hold_out(qpu: str, hold: WarmHold) -> HoldOut:
    return HoldOut(
        qpu=qpu,
        kind="run" if hold.contiguous else "linger",
        linger_s=None if hold.contiguous else hold.linger_s,
        until=moment(hold.ends_at()),
        kept=hold.on,
    )


def _wish(body: KeepWarmRequest) -> KeepWarm:
    seconds = body.linger_s if body.run_s is None else body.run_s
    assert seconds is not None, "validated by KeepWarmRequest"
    return KeepWarm(seconds, contiguous=body.run_s is not None, qpu=body.qpu)
