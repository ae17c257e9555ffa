"""The machine behind a stand-in: one job at a time, shots that take time, a ledger.

A new job cancels the one before; numbers count up from 0; each job echoes its context.
Shot i of the machine's life is drawn from (seed, i): jobs that run once, in the same
order, give the same counts however often somebody asks for them.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict

from qpu_executor.errors import ProgramError
from qpu_executor.programs.program import PULSER, Program
from qpu_executor.qpus.emulating import FinalState
from qpu_executor.qpus.shot_source import ShotSource
from qpu_executor.testing.controller.jobs import KeptJobs, MachineJob
from qpu_executor.testing.controller.ledger import ExecutionLedger


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


class ControllerMachine:
    """`source`: where counts come from. `specs`: its device, as it is published."""

    def __init__(
        self,
        source: ShotSource,
        ledger: ExecutionLedger,
        seed: int = 0,
        kept: KeptJobs | None = None,
    ) -> None:
        """`kept`: where jobs outlive the process (None: they don't)."""
        self.behaviour = Behaviour()
        self.specs: dict[str, Any] = {}
        self.ledger = ledger
        self.jobs: dict[int, MachineJob] = {}
        self._source = source
        self._seed = seed
        self._kept = kept
        self._next = 0
        self._shots_taken = 0
        self._work: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Start the source of counts, and know the device."""
        await self._source.open()
        self.specs = json.loads(self._source.device_json)
        if self._kept is not None:
            self._recall(self._kept)

    async def close(self) -> None:
        """End all jobs, and the source."""
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        await self._source.close()

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

    async def _run(self, job: MachineJob) -> None:
        how = self.behaviour
        program = Program(PULSER, job.sequence)
        preparing = asyncio.ensure_future(self._source.prepare(program))
        try:
            if await _cut_short(job, how.setup_s):
                self._end(job, "CANCELED", 0)
            else:
                await self._take_shots(job, how, preparing)
        finally:
            preparing.cancel()
            await asyncio.gather(preparing, return_exceptions=True)

    async def _take_shots(
        self, job: MachineJob, how: Behaviour, preparing: asyncio.Future[FinalState]
    ) -> None:
        job.status, job.started = "RUNNING", self._now()
        first, began_s = self._shots_taken, time.monotonic()
        self._shots_taken += job.shots
        self.ledger.began(job.uid, job.mark, job.shots, job.received_ns)
        # Drawn while they are being taken, so that the job ends on time.
        drawing = asyncio.ensure_future(self._draw(preparing, first, job.shots))
        cut = await _cut_short(job, None if how.stuck else how.shot_s * job.shots)
        try:
            if not cut:
                counts, taken = await drawing, job.shots
                job.result = as_result(counts, taken, self.behaviour.results)
                self._end(job, "DONE", taken, counts)
                return
            drawing.cancel()
            taken = min(job.shots, int((time.monotonic() - began_s) / max(how.shot_s, 1e-9)))
            if self.behaviour.partial_results:
                counts = await self._draw(preparing, first, taken)
                job.result = json.dumps({"counter": dict(counts)})
            self._end(job, "CANCELED", taken)
        except ProgramError as error:
            job.result = str(error)
            self._end(job, "ERROR", 0)
        finally:
            await asyncio.gather(drawing, return_exceptions=True)

    async def _draw(
        self, preparing: asyncio.Future[FinalState], first: int, shots: int
    ) -> Counter[str]:
        return await self._source.draw(
            await asyncio.shield(preparing), seed=self._seed, first_shot=first, shots=shots
        )

    def _end(
        self, job: MachineJob, status: str, taken: int, counts: Mapping[str, int] | None = None
    ) -> None:
        ended = self._now()
        self.ledger.ended(job.uid, job.mark, taken, status, counts)
        job.status, job.ended = status, ended
        job.over.set()
        self._keep(job)

    def _keep(self, job: MachineJob) -> None:
        if self._kept is not None:
            self._kept.keep(job)

    def _recall(self, kept: KeptJobs) -> None:
        """Know the jobs of an earlier process; one that ran was interrupted."""
        for job in kept.read():
            self.jobs[job.uid] = job
            self._next = job.uid + 1
            if job.ended is None:
                job.result = "the controller was started anew"
                self._end(job, "ERROR", 0)

    def _now(self) -> float:
        return time.time() + self.behaviour.clock_offset_s


async def _cut_short(job: MachineJob, seconds: float | None) -> bool:
    """Let time pass (None: for ever); True as soon as the job is cancelled."""
    try:
        await asyncio.wait_for(job.cancelled.wait(), seconds)
    except TimeoutError:
        return False
    return True


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
