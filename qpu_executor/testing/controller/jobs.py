"""The jobs of a stand-in, as a controller keeps them, whatever machine runs them.

A new job cancels the one before; numbers count up from 0; each job echoes its context.
"""

from __future__ import annotations

import asyncio
import json
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from qpu_executor.testing.controller.ledger import ExecutionLedger

if TYPE_CHECKING:
    from qpu_executor.testing.controller.kept_jobs import KeptJobs


class Behaviour(BaseModel):
    """How the machine is at the moment. All of it can be changed while it runs.

    `shot_s`, `setup_s`: seconds a shot, and before the first of a job. `stuck`: jobs don't
    end. `deaf`: cancelling does nothing. `clock_offset_s`: by how much its clock is wrong.
    `partial_results`: a cancelled job gives its shots. `results`: `right`, or how wrong.
    `echo`: jobs show the context that was sent with them.
    """

    model_config = ConfigDict(extra="forbid")

    operational: str = "UP"
    shot_s: float = 0.01
    setup_s: float = 0.0
    stuck: bool = False
    deaf: bool = False
    clock_offset_s: float = 0.0
    partial_results: bool = False
    results: str = "right"
    echo: bool = True
    max_jobs_kept: int = 1000


@dataclass(slots=True)
class MachineJob:
    """A job as the machine keeps it. Instants are seconds since the epoch, on its clock.

    `begun`: its shots are being taken, or it has ended.
    """

    uid: int
    shots: int
    sequence: str
    context: dict[str, Any]
    created: float
    received_ns: int
    status: str = "PENDING"
    result: str | None = None
    started: float | None = None
    ended: float | None = None
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def mark(self) -> str | None:
        """What its sender calls it."""
        found = self.context.get("pasqman_job_id")
        return found if isinstance(found, str) else None


class JobBook(ABC):
    """`specs`: the device, as it is published. A machine opens, closes and runs jobs.

    `kept`: where jobs outlive the process (None: they don't).
    """

    def __init__(self, ledger: ExecutionLedger, kept: KeptJobs | None = None) -> None:
        self.behaviour = Behaviour()
        self.specs: dict[str, Any] = {}
        self.ledger = ledger
        self.jobs: dict[int, MachineJob] = {}
        self._kept = kept
        self._next = 0
        self._work: set[asyncio.Task[None]] = set()

    @abstractmethod
    async def open(self) -> None:
        """Start the machine, and know its device."""

    async def close(self) -> None:
        """End all jobs; whatever else is there ends in the machine's own `close`."""
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)

    async def operational(self) -> str:
        """`UP` or `DOWN`, as it says of itself."""
        return self.behaviour.operational

    @abstractmethod
    async def _run(self, job: MachineJob) -> None:
        """Run a job until it has ended, or is cancelled."""

    def change(self, changes: Mapping[str, Any]) -> None:
        """Change its behaviour. Raises pydantic's ValidationError."""
        now = self.behaviour.model_dump()
        self.behaviour = Behaviour.model_validate({**now, **changes})

    def forget(self) -> None:
        """As if it was switched off and on: no jobs, and numbers from 0."""
        for job in self.jobs.values():
            job.cancelled.set()
        self.jobs.clear()
        self._next = 0
        if self._kept is not None:
            self._kept.forget()
        self.ledger.forgot()

    def recall(self) -> None:
        """Know the jobs of an earlier process that were kept; one that ran was interrupted."""
        for job in () if self._kept is None else self._kept.read():
            self.jobs[job.uid] = job
            self._next = job.uid + 1
            if job.ended is None:
                job.result = "the controller was started anew"
                self._end(job, "ERROR", 0)

    def create(self, shots: int, sequence: str, context: dict[str, Any]) -> MachineJob:
        """A new job, which cancels the one before it."""
        for other in self.jobs.values():
            other.cancelled.set()
        job = MachineJob(
            self._next, shots, sequence, context, self._now(), received_ns=time.monotonic_ns()
        )
        self._next += 1
        self.jobs[job.uid] = job
        self._keep(job)
        while len(self.jobs) > self.behaviour.max_jobs_kept:
            del self.jobs[next(iter(self.jobs))]
        task = asyncio.create_task(self._run(job), name=f"job {job.uid}")
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return job

    async def cancel(self, job: MachineJob) -> bool:
        """Cancel a job; False where it has ended already."""
        if job.ended is not None:
            return False
        if not self.behaviour.deaf:
            job.cancelled.set()
            await job.over.wait()
        return True

    def _begin(self, job: MachineJob) -> None:
        job.status, job.started = "RUNNING", self._now()
        self.ledger.began(job.uid, job.mark, job.shots, job.received_ns)
        job.begun.set()

    def _end(
        self, job: MachineJob, status: str, taken: int, counts: Mapping[str, int] | None = None
    ) -> None:
        self.ledger.ended(job.uid, job.mark, taken, status, counts)
        job.status, job.ended = status, self._now()
        job.begun.set()
        job.over.set()
        self._keep(job)

    def _keep(self, job: MachineJob) -> None:
        if self._kept is not None:
            self._kept.keep(job)

    def _now(self) -> float:
        return time.time() + self.behaviour.clock_offset_s


def as_result(counts: Counter[str], shots: int, how: str) -> str | None:
    """Counts as the controller writes them, right or wrong in the named way."""
    right = json.dumps({"counter": dict(counts)})
    most = max(counts, default="")
    wrong: dict[str, Any] = {
        "right": right,
        "fewer": json.dumps({"counter": {**counts, most: counts[most] - 1}}),
        "more": json.dumps({"counter": {**counts, most: counts[most] + 1}}),
        "longer": json.dumps({"counter": {f"{bits}0": n for bits, n in counts.items()}}),
        "negative": json.dumps({"counter": {most: -shots}}),
        "letters": json.dumps({"counter": {"x" * len(most): shots}}),
        "python": str({"counter": dict(counts)}),
        "list": json.dumps([dict(counts)]),
        "none": None,
    }
    found: str | None = wrong[how]
    return found


def moment(seconds: float | None) -> str | None:
    """An instant as the controller writes it: without a zone."""
    if seconds is None:
        return None
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return at.replace(tzinfo=None).isoformat()
