"""Checks programs against devices in a worker process, once per program and device.

A program comes from outside and may be hostile: a check that takes too long,
too much memory, or kills its worker ends as a refusal, and the next one goes on.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
from contextlib import suppress
from types import TracebackType

from qpu_executor.errors import ManagerBusy, ProgramError, ProgramRefused
from qpu_executor.programs.device_rules import check
from qpu_executor.programs.program import Program, ProgramFacts
from qpu_executor.programs.pulser_extra import import_pulser_quietly
from qpu_executor.qpus.shared_runs import SharedRuns
from qpu_executor.qpus.workers import (
    WorkerDiedError,
    WorkerPool,
    WorkersClosedError,
    WorkerTimeoutError,
)

_KEPT = 4096
_MEMORY_BYTES = 4 << 30


class ProgramChecker:
    """`workers`: processes that check; `timeout_s`: what one check may take."""

    def __init__(self, *, workers: int = 1, timeout_s: float = 60.0) -> None:
        self._timeout_s = timeout_s
        self._pool = WorkerPool(workers, memory_bytes=_MEMORY_BYTES)
        self._verdicts: SharedRuns[ProgramFacts | ProgramError] = SharedRuns(
            max_weight=_KEPT, weigh=lambda _: 1
        )
        self._warming: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Make the worker pool; its first worker warms up meanwhile."""
        await self._pool.open()
        self._warming = asyncio.create_task(self._warm_up())

    async def close(self) -> None:
        """End the workers. May be called twice."""
        if self._warming is not None:
            self._warming.cancel()
        await self._pool.close()

    async def __aenter__(self) -> ProgramChecker:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def check(self, program: Program, device_json: str) -> ProgramFacts:
        """What is known of a program that the device allows.

        Raises ProgramRefused (`rule` says which) or ProgramError, and ManagerBusy where it is
        closed meanwhile.
        """
        device_hash = hashlib.sha256(device_json.encode()).hexdigest()
        verdict = await self._verdicts.get(
            f"{program.hash}:{device_hash}", lambda: self._judge(program, device_json)
        )
        if isinstance(verdict, ProgramError):
            raise copy.copy(verdict)
        return verdict

    async def _warm_up(self) -> None:
        # What can't be imported is told by the first check that needs it.
        with suppress(Exception):
            await self._pool.run(import_pulser_quietly, None)

    async def _judge(self, program: Program, device_json: str) -> ProgramFacts | ProgramError:
        """The verdict; refusals are kept like facts, but raised are those of the moment."""
        try:
            return await self._pool.run(check, self._timeout_s, program, device_json)
        except ProgramError as refusal:
            return refusal
        except WorkerTimeoutError:
            raise ProgramRefused(
                f"checking the program took longer than {self._timeout_s:g} s",
                rule="check_time",
                next_step="use a shorter or simpler sequence",
            ) from None
        except WorkersClosedError:
            raise ManagerBusy("the manager is stopping", next_step="try again") from None
        except (WorkerDiedError, MemoryError) as error:
            raise ProgramRefused(
                f"the program can't be checked: {str(error) or 'it takes too much memory'}",
                rule="check_died",
                next_step="use a shorter or simpler sequence, or try again",
            ) from None
