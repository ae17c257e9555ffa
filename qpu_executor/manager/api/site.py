"""Routes about the site: the manager, QPUs, job classes, sessions."""

from __future__ import annotations

import socket

from fastapi import APIRouter

from qpu_executor import __version__
from qpu_executor.manager.api.context import Asked, Context
from qpu_executor.manager.api.views import moment, qpu_fields, qpu_out, session_out
from qpu_executor.manager.store.records import SessionRow
from qpu_executor.wire.site import (
    API_VERSION,
    HealthOut,
    JobClassList,
    JobClassOut,
    QpuDetail,
    QpuList,
    SessionList,
    SessionOut,
    SessionRequest,
)
from qpu_executor.wire.tasks import Problem, TaskList

router = APIRouter(
    prefix="/v1",
    responses={400: {"model": Problem}, 403: {"model": Problem}, 404: {"model": Problem}},
)


@router.get("/health", tags=["manager"])
async def health(asked: Asked) -> HealthOut:
    """Who answers, and whom it takes the caller for."""
    manager = asked.manager
    return HealthOut(
        version=__version__,
        api_versions=[API_VERSION],
        instance=manager.instance,
        embedded=asked.embedded,
        host=socket.gethostname(),
        caller=asked.caller.name,
        cursor=manager.broadcast.newest,
        now=moment(manager.clock.now()),
    )


@router.get("/qpus", tags=["qpus"])
async def qpus(asked: Asked) -> QpuList:
    """All QPUs of the site."""
    manager = asked.manager
    own = own_tasks(asked)
    return QpuList(
        qpus=[qpu_out(qpu, manager.scheduler.qpu(qpu.name), own) for qpu in manager.fleet]
    )


@router.get("/qpus/{name}", tags=["qpus"])
async def qpu(asked: Asked, name: str) -> QpuDetail:
    """One QPU with its device, as programs have to be built for it."""
    found = asked.manager.fleet.get(name)
    fields = qpu_fields(found, asked.manager.scheduler.qpu(name), own_tasks(asked))
    return QpuDetail.model_validate(fields | {"pulser_device": found.description.pulser_device})


@router.get("/classes", tags=["qpus"])
async def classes(asked: Asked) -> JobClassList:
    """All job classes, the most urgent first."""
    admission = asked.manager.admission
    return JobClassList(
        classes=[
            JobClassOut(
                name=one.name,
                priority=one.priority,
                chunk_s=one.chunk_s,
                max_shots=one.max_shots,
                description=one.description,
                default=one.name == admission.default_class,
            )
            for one in admission.classes.values()
        ]
    )


@router.post("/sessions", tags=["sessions"])
async def open_session(asked: Asked, body: SessionRequest) -> SessionOut:
    """Open a session; with a key, the open one of that key is found again."""
    row = await asked.manager.open_session(
        asked.caller, name=body.name, kind=body.kind, account=body.account, key=body.key
    )
    return _session(asked, row)


@router.get("/sessions", tags=["sessions"])
async def sessions(asked: Asked) -> SessionList:
    """The caller's sessions, newest first."""
    rows = await asked.manager.store.sessions(asked.caller.name)
    return SessionList(sessions=[_session(asked, row) for row in rows])


@router.get("/sessions/{session_id}", tags=["sessions"])
async def session(asked: Asked, session_id: str) -> SessionOut:
    """One session."""
    return _session(asked, await asked.manager.session(session_id, asked.caller))


@router.post("/sessions/{session_id}/close", tags=["sessions"])
async def close_session(asked: Asked, session_id: str) -> SessionOut:
    """Close a session. Its tasks go on; new ones are refused."""
    return _session(asked, await asked.manager.close_session(session_id, asked.caller))


@router.post("/sessions/{session_id}/cancel", tags=["sessions"])
async def cancel_session(asked: Asked, session_id: str) -> TaskList:
    """Cancel all tasks of a session that haven't ended."""
    await asked.manager.session(session_id, asked.caller)
    ids = asked.manager.live_tasks(session_id)
    rows = await asked.manager.ask("cancel", ids, asked.caller) if ids else []
    return TaskList(
        tasks=[asked.task_out(row) for row in rows], cursor=asked.manager.broadcast.newest
    )


def _session(asked: Context, row: SessionRow) -> SessionOut:
    return session_out(row, len(asked.manager.live_tasks(row.id)))


def own_tasks(asked: Context) -> set[int]:
    """Ids of the caller's live tasks."""
    manager = asked.manager
    return {row.id for row in manager.live.values() if row.owner == asked.caller.name}
