"""Our states in Pulser's words."""

from __future__ import annotations

from collections.abc import Collection

from pulser.backend.remote import BatchStatus, JobStatus

from qpu_executor.model.states import TaskState, WaitReason
from qpu_executor.wire.tasks import TaskOut

JOB_STATUS = {
    TaskState.HELD: JobStatus.PAUSED,
    TaskState.QUEUED: JobStatus.PENDING,
    TaskState.RUNNING: JobStatus.RUNNING,
    TaskState.COMPLETED: JobStatus.DONE,
    TaskState.FAILED: JobStatus.ERROR,
    TaskState.CANCELLED: JobStatus.CANCELED,
}
"""Of a task that hasn't given way to another."""

_OVER = ("TimeLimit:", f"{WaitReason.SESSION_ENDING}:")
"""How the error of a task begins whose time was over (`scheduling/expiry.py`)."""


def job_status(task: TaskOut) -> JobStatus:
    """PAUSED is a task that is held, or that has begun, gave way and waits to go on."""
    if task.state is TaskState.QUEUED and task.started_at is not None:
        return JobStatus.PAUSED
    return JOB_STATUS[task.state]


def batch_status(tasks: Collection[TaskOut], *, closed: bool = False) -> BatchStatus:
    """The status of a batch of these tasks. `closed`: nothing can be added to it any more.

    While some haven't ended: PAUSED if all that are left are, RUNNING once one has begun,
    else PENDING. Then ERROR if one failed (TIMED_OUT if all that failed ran out of time),
    else CANCELED if one was cancelled, else DONE. Without tasks: PENDING, or CANCELED
    where it is closed, since nothing will ever run.
    """
    if not tasks:
        return BatchStatus.CANCELED if closed else BatchStatus.PENDING
    left = [job_status(task) for task in tasks if not task.state.final]
    if left:
        if all(status is JobStatus.PAUSED for status in left):
            return BatchStatus.PAUSED
        begun = len(left) < len(tasks) or any(task.started_at is not None for task in tasks)
        return BatchStatus.RUNNING if begun else BatchStatus.PENDING
    failed = [task for task in tasks if task.state is TaskState.FAILED]
    if failed:
        over = all((task.error or "").startswith(_OVER) for task in failed)
        return BatchStatus.TIMED_OUT if over else BatchStatus.ERROR
    cancelled = any(task.state is TaskState.CANCELLED for task in tasks)
    return BatchStatus.CANCELED if cancelled else BatchStatus.DONE
