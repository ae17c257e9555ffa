"""What the controller and we say to each other, as values. Pure: no I/O, no clock.

The API is that of Pasqal's QPUs on-premises, as Warden 0.1.0 drives it: JSON objects
`{"code", "message", "data", "status"}`, jobs with numbers that count up, results as
JSON text `{"counter": {bitstring: count}}`. What isn't understood is an error here,
never a guess.
"""

from __future__ import annotations

import enum
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from qpu_executor.model.states import QpuState
from qpu_executor.model.values import ChunkId

MAX_JOB_NUMBER = 2**63 - 1


class NonsenseError(Exception):
    """An answer that isn't what the API says; the text says what was wrong with it."""


class JobStatus(enum.Enum):
    """The states of a job at the controller."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    DONE = "DONE"
    CANCELED = "CANCELED"
    ERROR = "ERROR"

    @property
    def final(self) -> bool:
        """It won't change any more."""
        return self in (JobStatus.DONE, JobStatus.CANCELED, JobStatus.ERROR)


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the controller describes it.

    `mark`: what we sent with it as `context.pasqman_job_id` (None: not echoed).
    `created_s`, `started_s`, `ended_s`: on the controller's clock, which may be wrong:
    only their differences mean anything.
    """

    number: int
    status: JobStatus
    mark: str | None = None
    shots: int | None = None
    result: str | None = None
    created_s: float | None = None
    started_s: float | None = None
    ended_s: float | None = None


def mark_of(instance: uuid.UUID, chunk: ChunkId) -> str:
    """The chunk's name at the controller: the same in every incarnation of the manager.

    A UUID, as other clients of the API send. `instance` tells apart managers whose
    tasks have the same numbers.
    """
    return str(uuid.uuid5(instance, str(chunk)))


def new_job(chunk: ChunkId, mark: str, sequence: str, shots: int) -> dict[str, Any]:
    """The body of `POST /jobs`."""
    batch = f"qpu-executor-task-{chunk.task_id}-chunk-{chunk.n}"
    return {
        "nb_run": shots,
        "pulser_sequence": sequence,
        "context": {"batch_id": batch, "pasqman_job_id": mark},
    }


def data_of(body: object) -> Mapping[str, Any]:
    """What stands in an answer's envelope. Raises NonsenseError."""
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, dict):
        raise NonsenseError("the answer has no `data` object")
    return data


def read_job(body: object) -> Job:
    """The job in an answer. Raises NonsenseError."""
    data = data_of(body)
    number, status = data.get("uid"), data.get("status")
    if type(number) is not int or not 0 <= number <= MAX_JOB_NUMBER:
        raise NonsenseError(f"{number!r} is no number of a job")
    try:
        state = JobStatus(status)
    except ValueError:
        raise NonsenseError(f"{status!r} is no state of a job") from None
    context, shots, result = data.get("context"), data.get("nb_run"), data.get("result")
    mark = context.get("pasqman_job_id") if isinstance(context, dict) else None
    if result is not None and not isinstance(result, str):
        result = json.dumps(result)
    return Job(
        number=number,
        status=state,
        mark=mark if isinstance(mark, str) else None,
        shots=shots if type(shots) is int else None,
        result=result,
        created_s=_seconds(data.get("created_datetime")),
        started_s=_seconds(data.get("start_datetime")),
        ended_s=_seconds(data.get("end_datetime")),
    )


def is_ours(job: Job, mark: str, shots: int) -> bool | None:
    """Whether a job is the one that was sent with this mark; None: it doesn't say."""
    if job.mark is not None:
        return job.mark == mark
    return False if job.shots is not None and job.shots != shots else None


def read_operational(body: object) -> QpuState:
    """`GET /system/operational`. Raises NonsenseError."""
    status = data_of(body).get("operational_status")
    if status not in ("UP", "DOWN"):
        raise NonsenseError(f"{status!r} is no operational status")
    return QpuState.UP if status == "UP" else QpuState.DOWN


def read_specs(body: object) -> str:
    """The device of `GET /system`, as JSON text. Raises NonsenseError."""
    specs = data_of(body).get("specs")
    if isinstance(specs, str):
        try:
            specs = json.loads(specs)
        except (ValueError, RecursionError):
            specs = None
    if not isinstance(specs, dict) or not isinstance(specs.get("name"), str):
        raise NonsenseError("the answer has no device with a name in `specs`")
    return json.dumps(specs)


def read_counts(result: str | None, atoms: int) -> dict[str, int]:
    """Bitstring -> times seen, in a job's result. Raises NonsenseError.

    `atoms`: bits that every bitstring has to have.
    """
    if result is None:
        raise NonsenseError("the job has no result")
    try:
        found = json.loads(result)
    except (ValueError, RecursionError):
        raise NonsenseError(f"the result is no JSON: {shortened(result)}") from None
    counter = found.get("counter") if isinstance(found, dict) else None
    if not isinstance(counter, dict):
        raise NonsenseError(f"the result has no `counter`: {shortened(result)}")
    for bits, times in counter.items():
        if len(bits) != atoms or not set(bits) <= {"0", "1"}:
            raise NonsenseError(f"{shortened(bits)} is no bitstring of {atoms} atoms")
        if type(times) is not int or times < 0:
            raise NonsenseError(f"{shortened(str(times))} can't be a number of shots")
    return {bits: times for bits, times in counter.items() if times}


def said(body: object) -> str:
    """What an answer says in words, as far as it does."""
    if isinstance(body, dict):
        for key in ("message", "detail", "error"):
            if isinstance(body.get(key), str) and body[key]:
                return shortened(body[key])
    return ""


def shortened(text: str, most: int = 160) -> str:
    """One line of a foreign text, fit for a message."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[:most]}…"


def _seconds(moment: object) -> float | None:
    if not isinstance(moment, str):
        return None
    try:
        # A moment without a zone is the controller's own: only differences are used.
        return datetime.fromisoformat(moment).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
