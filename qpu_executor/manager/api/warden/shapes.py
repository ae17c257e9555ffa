"""What Warden's clients send, and what they read: exactly these fields, in these types.

QRMI's client refuses an answer that lacks a field or has another type, and ignores fields
that it doesn't know. So do we with what it sends: its later versions say more.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, Field

from qpu_executor.model.states import TaskState
from qpu_executor.wire.tasks import MAX_SHOTS

MAX_UID = 2**32 - 2
"""The one above means "no user" (chown(2))."""

Uid = Annotated[str, Field(pattern=r"^[0-9]{1,10}$", description="as digits", examples=["1000"])]
SlurmJob = Annotated[str, Field(pattern=r"^[\w.+-]{1,64}$", examples=["77", "77_3", "77+1"])]


class JobStatus(enum.StrEnum):
    """Warden's states of a job."""

    PENDING = "PENDING"
    """It waits, or is held, or has given way."""
    RUNNING = "RUNNING"
    """A chunk of it is at the QPU."""
    DONE = "DONE"
    """It has all its shots."""
    CANCELED = "CANCELED"
    """It was cancelled; what was counted is in its results."""
    ERROR = "ERROR"
    """It failed; its logs say why."""


STATUS: Mapping[TaskState, JobStatus] = {
    TaskState.HELD: JobStatus.PENDING,
    TaskState.QUEUED: JobStatus.PENDING,
    TaskState.RUNNING: JobStatus.RUNNING,
    TaskState.COMPLETED: JobStatus.DONE,
    TaskState.CANCELLED: JobStatus.CANCELED,
    TaskState.FAILED: JobStatus.ERROR,
}
"""A task that gave way is QUEUED, and so PENDING again: Warden has no word for it."""


class Accessible(BaseModel):
    """Whether the QPU takes work now."""

    is_accessible: bool
    message: str = Field(examples=["emulator is online"])


class NewWardenSession(BaseModel):
    """A session for a job of Slurm's. `account`: whom it charges; QRMI's client doesn't say."""

    user_id: Uid
    slurm_job_id: SlurmJob
    account: str | None = Field(default=None, pattern=r"^[^\x00-\x1f\x7f]{1,64}$")


class WardenSession(BaseModel):
    """A session. `id` is what QRMI calls the acquisition token."""

    id: str
    user_id: str
    slurm_job_id: str | None = None


class Specs(BaseModel):
    """The QPU's Pulser device, as JSON in a string."""

    specs: str


class NewJob(BaseModel):
    """A Pulser sequence in its abstract representation (JSON text), and how often to run it."""

    sequence: str = Field(min_length=1)
    shots: int = Field(strict=True, ge=1, le=MAX_SHOTS)


class Job(BaseModel):
    """A task in Warden's words. `results`: JSON in a string, null while there are none."""

    id: int
    user_id: str
    status: JobStatus
    results: str | None = Field(examples=['{"counter": {"01": 7, "10": 13}}'])


class Logs(BaseModel):
    """What happened to a job so far, in lines."""

    logs: str


def results_text(counts: Mapping[str, int]) -> str | None:
    """Counts as Pulser's connection reads them; None if no shot was counted."""
    return json.dumps({"counter": dict(counts)}) if counts else None
