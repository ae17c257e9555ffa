"""Our states in Pulser's words."""

from __future__ import annotations

from collections.abc import Collection

from pulser.backend.remote import BatchStatus, JobStatus

from qpu_executor.model.states import TaskState

JOB_STATUS = {
    TaskState.HELD: JobStatus.PAUSED,
    TaskState.QUEUED: JobStatus.PENDING,
    TaskState.RUNNING: JobStatus.RUNNING,
    TaskState.COMPLETED: JobStatus.DONE,
    TaskState.FAILED: JobStatus.ERROR,
    TaskState.CANCELLED: JobStatus.CANCELED,
}


def batch_status(states: Collection[TaskState]) -> BatchStatus:
    """The status of a batch with tasks in these states.

    While some haven't ended: RUNNING once one has begun, PAUSED if all that are
    left are held, else PENDING. Then ERROR if one failed, else CANCELED if one
    was cancelled, else DONE. A batch without tasks is PENDING.
    """
    left = [state for state in states if not state.final]
    if left or not states:
        if left and all(state is TaskState.HELD for state in left):
            return BatchStatus.PAUSED
        begun = TaskState.RUNNING in left or len(left) < len(states)
        return BatchStatus.RUNNING if begun else BatchStatus.PENDING
    if TaskState.FAILED in states:
        return BatchStatus.ERROR
    if TaskState.CANCELLED in states:
        return BatchStatus.CANCELED
    return BatchStatus.DONE
