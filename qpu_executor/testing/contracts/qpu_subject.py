"""What the suite for QPU adapters is given: an adapter, and what it can run."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from qpu_executor.model.values import ChunkId
from qpu_executor.programs.program import Program
from qpu_executor.qpus.base import ChunkOrder, ChunkOutcome, QpuAdapter

TASK_IDS = itertools.count(1)


@dataclass
class Subject:
    """An opened adapter with what it can run, what takes long there, and what it refuses.

    `programs`: two that run, each with at least two outcomes. `endless`: takes so long with
    `endless_shots` that a test can stop it. `invalid`: is refused. `survives`: its chunks go
    on when the adapter is closed, as on hardware. `too_many`: atoms that are beyond a limit
    of its own (None: it has none but its device's). `begun`: how many chunks its machine has
    begun so far, by its own word (None: it can't be asked).
    """

    qpu: QpuAdapter
    programs: tuple[Program, Program]
    endless: Program
    invalid: Program
    endless_shots: int = 20
    survives: bool = False
    too_many: int | None = 60
    begun: Callable[[], int] | None = None

    def long_order(self) -> ChunkOrder:
        """A chunk that still runs when a test looks."""
        return order(self.endless, shots=self.endless_shots)


def order(program: Program, *, first: int = 0, shots: int = 20, seed: int = 7) -> ChunkOrder:
    """A chunk of a new task."""
    return ChunkOrder(ChunkId(next(TASK_IDS), 0), program, first, shots, seed)


async def outcome_of(subject: Subject, one: ChunkOrder) -> ChunkOutcome:
    """The chunk's, run to its end."""
    await subject.qpu.start(one)
    return await subject.qpu.wait(one.chunk)
