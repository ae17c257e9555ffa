"""A whole simulated QPU behind a stand-in: calibrations, drift, noise, breakdowns, closings.

What the simulated QPU says of itself is the controller's operational status, and what
becomes of a job is what becomes of a chunk there; the API tells no more of it, as on the
real one. A job that arrives while the machine is DOWN is an ERROR at once.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from itertools import count
from pathlib import Path

from qpu_executor.errors import QpuExecutorError
from qpu_executor.model.clock import Clock
from qpu_executor.model.states import QpuState
from qpu_executor.model.values import MICROSECONDS, ChunkId
from qpu_executor.programs.program import PULSER, Program
from qpu_executor.qpus.base import ChunkOrder, ChunkOutcome, OutcomeKind
from qpu_executor.qpus.simulated import SimulatedQpu
from qpu_executor.testing.controller.jobs import JobBook, MachineJob, as_result
from qpu_executor.testing.controller.ledger import ExecutionLedger


class WholeMachine(JobBook):
    """`qpu`: not opened. `clock`: the machine's. `directory`: for the QPU's own files."""

    def __init__(
        self,
        qpu: SimulatedQpu,
        clock: Clock,
        directory: Path,
        ledger: ExecutionLedger,
        seed: int = 0,
    ) -> None:
        super().__init__(ledger)
        self._qpu = qpu
        self._clock = clock
        self._directory = directory
        self._seed = seed
        self._free = asyncio.Lock()
        self._numbers = count()
        self._shots_taken = 0

    async def open(self) -> None:
        """Switch it on, and know its device."""
        await self._qpu.open(self._clock, self._directory)
        self.specs = json.loads((await self._qpu.describe()).pulser_device or "{}")

    async def close(self) -> None:
        """End all jobs, and the QPU."""
        await super().close()
        await self._qpu.close()

    async def operational(self) -> str:
        """DOWN while it calibrates, is broken or closed, or is said to be."""
        state = (await self._qpu.health()).state
        return self.behaviour.operational if state is QpuState.UP else "DOWN"

    async def _run(self, job: MachineJob) -> None:
        async with self._free:  # until the job that this one has cancelled is over
            if job.cancelled.is_set():
                self._end(job, "CANCELED", 0)
                return
            chunk = ChunkId(1, next(self._numbers))
            program = Program(PULSER, job.sequence)
            first = self._shots_taken
            try:
                await self._qpu.start(ChunkOrder(chunk, program, first, job.shots, self._seed))
            except QpuExecutorError as error:
                job.result = str(error)
                self._end(job, "ERROR", 0)
                return
            self._shots_taken += job.shots
            self._begin(job)
            self._settle(job, await self._outcome(job, chunk))

    async def _outcome(self, job: MachineJob, chunk: ChunkId) -> ChunkOutcome:
        """How its chunk ends, by itself or since the job is cancelled."""
        waiting = asyncio.ensure_future(self._qpu.wait(chunk))
        cancelling = asyncio.ensure_future(job.cancelled.wait())
        try:
            await asyncio.wait((waiting, cancelling), return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                await self._qpu.stop(chunk)
            return await waiting
        finally:
            waiting.cancel()
            cancelling.cancel()

    def _settle(self, job: MachineJob, outcome: ChunkOutcome) -> None:
        counts = Counter(outcome.counts)
        if outcome.kind is OutcomeKind.FINISHED:
            job.result = as_result(counts, outcome.shots, self.behaviour.results)
            self._end(job, "DONE", outcome.shots, outcome.counts)
        elif outcome.kind is OutcomeKind.STOPPED:
            if self.behaviour.partial_results:
                job.result = json.dumps({"counter": dict(counts)})
            self._end(job, "CANCELED", outcome.shots)
        else:
            job.result = outcome.message
            self._end(job, "ERROR", outcome.shots)

    def _now(self) -> float:
        return self._clock.now() / MICROSECONDS + self.behaviour.clock_offset_s
