"""Routes about sessions: what they say, what they ask, and what they keep."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter

from qpu_executor.errors import NotAllowed
from qpu_executor.manager.api.context import Asked, Context
from qpu_executor.manager.api.openapi import may_answer
from qpu_executor.manager.api.parameters import SessionId
from qpu_executor.manager.api.views import moment, optional_instant, optional_moment
from qpu_executor.manager.auth.caller import Caller, Role
from qpu_executor.manager.service.keeping_warm import KeepWarm
from qpu_executor.manager.service.operations import Operations
from qpu_executor.manager.service.sessions import NewSession
from qpu_executor.manager.store.records import SessionRow
from qpu_executor.model.sessions import SessionHints
from qpu_executor.scheduling.warm_hold import WarmHold
from qpu_executor.wire.sessions import (
    HoldOut,
    KeepWarmRequest,
    SessionList,
    SessionOut,
    SessionRequest,
)
from qpu_executor.wire.tasks import TaskList

router = APIRouter(prefix="/v1", tags=["sessions"])


@router.post("/sessions", responses=may_answer(403))
async def open_session(asked: Asked, body: SessionRequest) -> SessionOut:
    """Open a session; with a key, the open one of that key is found again, as it is."""
    wanted = NewSession(
        name=body.name,
        kind=body.kind,
        account=body.account,
        key=body.key,
        ends_at=optional_instant(body.ends_at),
        ends_in_s=body.ends_in_s,
        hints=SessionHints(body.shape, body.expected_tasks, body.think_s),
        keep_warm=None if body.keep_warm is None else _wish(body.keep_warm),
    )
    caller = asked.caller if body.user is None else _for_user(asked.caller, body.user)
    return session_out(asked, await asked.manager.sessions.open(caller, wanted, by=asked.caller))


@router.get("/sessions")
async def sessions(asked: Asked) -> SessionList:
    """The caller's sessions, newest first."""
    rows = await asked.manager.store.sessions(asked.caller.name)
    return SessionList(sessions=[session_out(asked, row) for row in rows])


@router.get("/sessions/{session_id}")
async def session(asked: Asked, session_id: SessionId) -> SessionOut:
    """One session."""
    return session_out(asked, await asked.manager.sessions.get(session_id, asked.caller))


@router.post("/sessions/{session_id}/close")
async def close_session(asked: Asked, session_id: SessionId) -> SessionOut:
    """Close a session and give back what it keeps. Its tasks go on; new ones are refused.

    Services may do that to anybody's.
    """
    caller = asked.caller
    if caller.has(Role.SERVICE) and (found := await asked.manager.sessions.find(session_id)):
        caller = replace(caller, name=found.owner)
    row = await asked.manager.sessions.close(session_id, caller, by=asked.caller)
    return session_out(asked, row)


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
    await found.holds.ask(row, _wish(body))
    return session_out(asked, row)


@router.delete("/sessions/{session_id}/hold")
async def give_back(asked: Asked, session_id: SessionId) -> SessionOut:
    """Keep nothing for a session any more; operators may do that to anybody's."""
    if asked.caller.has(Role.OPERATOR):
        row = await Operations(asked.manager, asked.caller).give_back(session_id)
        return session_out(asked, row)
    row = await asked.manager.sessions.get(session_id, asked.caller)
    await asked.manager.sessions.holds.give_back(row)
    return session_out(asked, row)


# -- below: no routes -----------------------------------------------------------


def session_out(asked: Context, row: SessionRow) -> SessionOut:
    """A session, with its live tasks and what it is granted now."""
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
        holds=[_hold_out(qpu, hold) for qpu, hold in found.holds.of(row.id)],
    )


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
