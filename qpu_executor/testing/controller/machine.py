"""The plain machine behind a stand-in: one job at a time, shots that take time.

Shot i of the machine's life is drawn from (seed, i): jobs that run once, in the same
order, give the same counts however often somebody asks for them.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter

from qpu_executor.errors import ProgramError
from qpu_executor.programs.program import PULSER, Program
from qpu_executor.qpus.emulating import FinalState
from qpu_executor.qpus.shot_source import ShotSource
from qpu_executor.testing.controller.jobs import Behaviour, JobBook, MachineJob, as_result
from qpu_executor.testing.controller.kept_jobs import KeptJobs
from qpu_executor.testing.controller.ledger import ExecutionLedger


class ControllerMachine(JobBook):
    """`source`: where counts come from."""

    def __init__(
        self,
        source: ShotSource,
        ledger: ExecutionLedger,
        seed: int = 0,
        kept: KeptJobs | None = None,
    ) -> None:
        super().__init__(ledger, kept)
        self._source = source
        self._seed = seed
        self._shots_taken = 0

    async def open(self) -> None:
        """Start the source of counts, and know the device."""
        await self._source.open()
        self.specs = json.loads(self._source.device_json)
        self.recall()

    async def close(self) -> None:
        """End all jobs, and the source."""
        await super().close()
        await self._source.close()

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
        first, began_s = self._shots_taken, time.monotonic()
        self._shots_taken += job.shots
        self._begin(job)
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


async def _cut_short(job: MachineJob, seconds: float | None) -> bool:
    """Let time pass (None: for ever); True as soon as the job is cancelled."""
    try:
        await asyncio.wait_for(job.cancelled.wait(), seconds)
    except TimeoutError:
        return False
    return True
