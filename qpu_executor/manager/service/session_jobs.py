"""Sessions of Slurm jobs: which belong together, and which takes whose place. Pure rules.

An incarnation of a job has one session of its own, and that of a requeued job takes the
place of the one before; other sessions may belong to the job as well, and end with it.
"""

from __future__ import annotations

from collections.abc import Iterable

from qpu_executor.errors import RequestRefused
from qpu_executor.manager.auth.caller import Caller
from qpu_executor.manager.service.new_session import SLURM, NewSession
from qpu_executor.manager.store.records import SessionRow
from qpu_executor.model.sessions import SlurmJob
from qpu_executor.model.values import Instant


def outlived(found: SessionRow, wanted: NewSession, now: Instant) -> bool:
    """True if the session is of an allocation that is over, and this is another one."""
    job = wanted.slurm
    if found.ends_at is not None and found.ends_at <= now:
        return True
    if job is None or found.slurm is None or job.same_incarnation(found.slurm):
        return False
    return job.same_job(found.slurm) or found.lost_at is not None


def of_its_job(session: SessionRow, already_open: Iterable[SessionRow]) -> list[SessionRow]:
    """The open sessions of its user in the Slurm job whose own session it is."""
    if session.kind != SLURM or session.slurm is None:
        return []
    return [
        one
        for one in already_open
        if one.owner == session.owner and session.slurm.same_incarnation(one.slurm)
    ]


def job_taken(
    job: SlurmJob, other: SessionRow, caller: Caller, service: bool
) -> RequestRefused | None:
    """Why a job's own session can't take the place of the one that there is.

    Only services know whose a job is: what they say goes before what somebody claims.
    """
    assert other.slurm is not None, "it is of the same job"
    if other.owner != caller.name:
        if service:
            return None
        return RequestRefused(
            f"Slurm job {job.cluster}/{job.job_id} has a session of another user",
            where="slurm.job_id",
            next_step="open it within your own job",
        )
    if other.slurm.restart_count > job.restart_count:
        return RequestRefused(
            f"Slurm job {job} was requeued: {other.slurm} has a session",
            where="slurm.restart_count",
            next_step="use that one (`qpu session list`)",
        )
    return None
