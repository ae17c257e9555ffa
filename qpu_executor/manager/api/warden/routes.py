"""The routes that QRMI's client calls for a resource of type `pasqal-local`.

Who is asking is proven as everywhere else (`x-munge-cred` is a proof that the site's
authenticator `munge` reads). Sessions are opened by services, for others; a job needs one of
its own user, and is its user's alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path

from qpu_executor.errors import NotAllowed, QpuExecutorError, RequestRefused, UnknownTask
from qpu_executor.manager.api import policy, tasks
from qpu_executor.manager.api.context import Asked, Context
from qpu_executor.manager.api.qpu_views import STATUS as QPU_STATUS
from qpu_executor.manager.api.warden.resource import Resource, resource_of
from qpu_executor.manager.api.warden.shapes import (
    MAX_UID,
    STATUS,
    Accessible,
    Job,
    Logs,
    NewJob,
    NewWardenSession,
    Specs,
    WardenSession,
    results_text,
)
from qpu_executor.manager.api.warden.story import story
from qpu_executor.manager.auth.caller import Role, caller_of_uid, uid_of_name
from qpu_executor.manager.service.new_session import NewSession
from qpu_executor.manager.service.orders import NewTask
from qpu_executor.manager.store.records import SessionRow, TaskRow
from qpu_executor.model.states import QpuState
from qpu_executor.model.values import MAX_TASK_ID
from qpu_executor.programs.program import PULSER, Program
from qpu_executor.wire.tasks import Problem

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "the request, or its resource, isn't right"},
    401: {"model": Problem, "description": "the credential is missing, wrong, or used before"},
    403: {"model": Problem, "description": "no service, or no session of the caller"},
    404: {"model": Problem, "description": "no such job, or it isn't the caller's"},
    422: {"model": Problem, "description": "the device doesn't allow the sequence"},
    503: {"model": Problem, "description": "come back later"},
}

router = APIRouter(prefix="/warden/{resource}", tags=["Warden's protocol"], responses=_PROBLEMS)

Named = Annotated[Resource, Depends(resource_of)]
SessionId = Annotated[
    str, Path(pattern=r"^[0-9A-Za-z-]{1,64}$", description="the token that acquire() returned")
]
JobId = Annotated[int, Path(ge=0, le=MAX_TASK_ID, description="a job's `id`")]


@router.get("/accessible")
async def accessible(resource: Named) -> Accessible:
    """Whether the QPU takes work now. Anybody may ask.

    A QPU that is down, or that operators drain, doesn't; what was submitted waits.
    """
    qpu = resource.qpu
    view = resource.manager.scheduler.qpu(qpu.name)
    drained = None if view is None else view.drained
    state = qpu.health.state
    if drained is not None and state is not QpuState.DOWN:
        state = QpuState.DRAINING
    # Why it is down may name what only the site's own people should read.
    reason = f": {drained}" if state is QpuState.DRAINING and drained else ""
    message = f"{qpu.name} is {QPU_STATUS[state]}{reason}"
    return Accessible(is_accessible=state is QpuState.UP, message=message)


@router.post("/sessions")
async def acquire(asked: Asked, resource: Named, body: NewWardenSession) -> WardenSession:
    """Open a session for a user's Slurm job. For services and operators (a Slurm prolog)."""
    if not (asked.caller.has(Role.SERVICE) or asked.caller.has(Role.OPERATOR)):
        raise NotAllowed(
            f"{asked.caller.name} may not acquire QPUs",
            where="sessions",
            expected="root, or a caller with the role `service` or `operator`",
            next_step="leave that to the batch scheduler; for a session of your own: "
            "`qpu session open`, whose id is an acquisition token",
        )
    uid = int(body.user_id)
    if uid > MAX_UID:
        raise RequestRefused(f"{uid} is no uid", where="user_id", expected=f"at most {MAX_UID}")
    wanted = NewSession(
        name=f"Slurm job {body.slurm_job_id}",
        kind="slurm",
        account=body.account,
        job_class=resource.job_class,
    )
    user = caller_of_uid(uid, "Warden session")
    opened = await asked.manager.sessions.open(user, wanted, by=asked.caller)
    return WardenSession(id=opened.id, user_id=body.user_id, slurm_job_id=body.slurm_job_id)


@router.delete("/sessions/{session_id}")
async def release(asked: Asked, resource: Named, session_id: SessionId) -> WardenSession:
    """Close a session: services anybody's, users their own. Its jobs go on; twice is once."""
    found = await asked.manager.sessions.find(session_id)
    services = asked.caller.has(Role.SERVICE) or asked.caller.has(Role.OPERATOR)
    if found is None or not (services or found.owner == asked.caller.name):
        raise UnknownTask(
            f"there is no session {session_id!r} of {asked.caller.name}", where="session"
        )
    owner = replace(asked.caller, name=found.owner)
    closed = await asked.manager.sessions.close(session_id, owner, by=asked.caller)
    return WardenSession(id=closed.id, user_id=_user_id(closed.owner))


@router.get("/qpu/specs")
async def specs(asked: Asked, resource: Named) -> Specs:
    """The QPU's Pulser device: sequences are built for it, and checked against it."""
    return Specs(specs=resource.specs())


@router.post("/jobs")
async def start(
    asked: Asked,
    resource: Named,
    body: NewJob,
    x_warden_session: Annotated[
        str | None, Header(max_length=200, description="the token that acquire() returned")
    ] = None,
) -> Job:
    """Submit a task in a session of the caller. It is checked now, and durable once answered."""
    session = await _session(asked, x_warden_session)
    program = Program(PULSER, body.sequence)
    order = NewTask(
        program=program,
        program_hash=program.hash,
        shots=body.shots,
        job_class=resource.job_class,
        qpu=resource.pinned_to(session),
        name=session.name,
        session_id=session.id,
    )
    (answer,) = await asked.manager.submit([order], asked.caller)
    if isinstance(answer, QpuExecutorError):
        raise answer
    return await _job(asked, answer.task)


@router.get("/jobs/{job_id}")
async def job(asked: Asked, resource: Named, job_id: JobId) -> Job:
    """A job of the caller. Once it has ended, however, the counts that it got are its results."""
    return await _job(asked, await asked.manager.task(job_id, asked.caller))


@router.post("/jobs/{job_id}/cancel")
async def cancel(asked: Asked, resource: Named, job_id: JobId) -> Job:
    """Ask for a job's end: what was counted stays. One that has ended stays as it is."""
    (row,) = await asked.manager.ask("cancel", [job_id], asked.caller)
    return await _job(asked, row)


@router.get("/jobs/{job_id}/logs")
async def logs(asked: Asked, resource: Named, job_id: JobId) -> Logs:
    """What happened to a job so far; while it waits why, its place, and when it may start."""
    detail = await tasks.task(asked, job_id)
    return Logs(logs=story(detail, await policy.why(asked, job_id)))


# -- below: no routes -----------------------------------------------------------


async def _session(asked: Context, session_id: str | None) -> SessionRow:
    """The session that a submission names. Raises NotAllowed for any that isn't the caller's."""
    if not session_id:
        raise NotAllowed(
            "the request names no session",
            where="x-warden-session",
            expected="the token that QRMI's acquire() returned",
            next_step="set NAME_QRMI_JOB_ACQUISITION_TOKEN, NAME being the resource's",
        )
    try:
        return await asked.manager.sessions.usable(session_id, asked.caller)
    except RequestRefused as refusal:
        raise NotAllowed(
            refusal.message, where="x-warden-session", next_step=refusal.next_step
        ) from None


async def _job(asked: Context, row: TaskRow) -> Job:
    """A task of the caller in Warden's words. Partial counts are no result while it goes on."""
    results = None
    row = asked.manager.live.get(row.id, row)
    if row.state.final:
        results = results_text((await tasks.result(asked, row.id, partial=True)).counts)
    uid = asked.caller.uid
    user_id = _user_id(row.owner) if uid is None else str(uid)
    return Job(id=row.id, user_id=user_id, status=STATUS[row.state], results=results)


def _user_id(name: str) -> str:
    """A user's uid on this host as digits; the name of one who has none here."""
    uid = uid_of_name(name)
    return name if uid is None else str(uid)
