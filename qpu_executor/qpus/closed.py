"""Stands in for a QPU that couldn't be opened: it is DOWN with the reason, and takes nothing.

A package that isn't installed, or a service that is away, closes one QPU of a site; the
others go on, and it is tried again meanwhile. Chunks that it ran for an earlier manager stay
UNKNOWN until it is open: nobody can ask.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qpu_executor.errors import DeviceError, QpuExecutorError
from qpu_executor.model.clock import Clock
from qpu_executor.model.states import QpuState
from qpu_executor.model.values import ChunkId
from qpu_executor.programs.program import ProgramFacts
from qpu_executor.qpus.base import (
    Capabilities,
    ChunkOrder,
    ChunkOutcome,
    DeviceDescription,
    Health,
    OutcomeKind,
    QpuAdapter,
)


class ClosedQpu:
    """A `QpuAdapter` in place of `adapter`, whose `open` raised `error`."""

    def __init__(self, adapter: QpuAdapter, error: QpuExecutorError) -> None:
        self.adapter = adapter
        next_step = f"; next: {error.next_step}" if error.next_step else ""
        again = f"it is tried again from time to time, and at once by `qpu resume {adapter.name}`"
        self.reason = f"it couldn't be opened: {error.message}{next_step}; {again}"

    @property
    def name(self) -> str:
        """The QPU's name in the site file."""
        return self.adapter.name

    @property
    def capabilities(self) -> Capabilities:
        """The adapter's, as far as it knows them unopened; it runs no kind of program."""
        return replace(self.adapter.capabilities, kinds=frozenset(), can_calibrate=False)

    async def open(self, clock: Clock, directory: Path) -> None:
        """Nothing is opened."""

    async def close(self) -> None:
        """Nothing was opened."""

    async def describe(self) -> DeviceDescription:
        """Nobody knows."""
        return DeviceDescription("unknown")

    async def health(self) -> Health:
        """DOWN, and why."""
        return Health(QpuState.DOWN, self.reason)

    def refusal(self, facts: ProgramFacts, shots: int) -> None:
        """It has no limits of its own: no program comes as far as that."""

    async def start(self, order: ChunkOrder) -> None:
        """Takes nothing."""
        raise DeviceError(self.reason, where=f"QPU {self.name}")

    async def wait(self, chunk: ChunkId) -> ChunkOutcome:
        """Nobody can be asked."""
        return ChunkOutcome(OutcomeKind.UNANSWERED, message=self.reason)

    async def ask(self, chunk: ChunkId) -> ChunkOutcome | None:
        """Nobody can be asked."""
        return ChunkOutcome(OutcomeKind.UNANSWERED, message=self.reason)

    async def stop(self, chunk: ChunkId) -> None:
        """Nobody can be asked."""

    async def calibrate(self) -> None:
        """Can't be calibrated."""
        raise DeviceError(self.reason, where=f"QPU {self.name}")
