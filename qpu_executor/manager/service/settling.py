"""What an operator's word on a chunk means that nobody answers for. Pure.

The chunk is lost (its shots are taken again, perhaps for the second time: that is on
record), or its counts were read off the machine by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qpu_executor.errors import RequestRefused
from qpu_executor.model.events import ChunkFinished, ChunkLost
from qpu_executor.model.states import ChunkState
from qpu_executor.qpus.base import ChunkOutcome, OutcomeKind
from qpu_executor.scheduling.explain import ChunkView


@dataclass(frozen=True, slots=True)
class Verdict:
    """`counts`: as the machine shows them (None: the chunk is lost). `device_s`: seconds that
    the QPU took for them, 0 where nobody knows: they aren't charged then. `chunk`: which one
    it is about (None: whichever is out).
    """

    counts: Mapping[str, int] | None = field(repr=False)
    device_s: float = 0.0
    chunk: int | None = None

    def check(self, task_id: int, found: ChunkView | None, atoms: int | None) -> ChunkView:
        """The chunk that this settles. Raises RequestRefused.

        `found`: the task's chunk that is out. `atoms`: of its program, where known.
        """
        where = f"task {task_id}"
        if found is None:
            raise RequestRefused(
                f"task {task_id} has no chunk at a QPU",
                where=where,
                next_step=f"see `qpu show {task_id}`",
            )
        if self.chunk is not None and found.id.n != self.chunk:
            raise RequestRefused(
                f"chunk {self.chunk} isn't out any more; chunk {found.id.n} is {found.state}",
                where=where,
                next_step=f"see `qpu show {task_id}`",
            )
        if found.state is not ChunkState.UNKNOWN:
            raise RequestRefused(
                f"chunk {found.id} is {found.state}: its QPU answers for it",
                where=where,
                expected="a chunk in state UNKNOWN",
                next_step=f"wait for it, or stop it: `qpu requeue {task_id}`",
            )
        if self.counts is not None:
            _check_counts(self.counts, atoms)
        return found

    def fate(
        self, found: ChunkView, who: str
    ) -> tuple[ChunkFinished | ChunkLost, ChunkOutcome | None]:
        """What the core is told, and the chunk's outcome where there is one."""
        if self.counts is None:
            reason = f"declared lost by {who}: its shots may be taken a second time"
            return ChunkLost(found.id, reason, fault=False), None
        outcome = ChunkOutcome(
            OutcomeKind.FINISHED,
            counts=dict(self.counts),
            device_s=self.device_s,
            message=f"counts entered by {who}",
        )
        return ChunkFinished(found.id, outcome.shots, self.device_s), outcome


def _check_counts(counts: Mapping[str, int], atoms: int | None) -> None:
    """Raises RequestRefused for what can't be the counts of a program of so many atoms."""
    widths = {len(bits) for bits in counts}
    width = atoms if atoms is not None else next(iter(widths), 1)
    expected = f"bitstrings of {width} zeros and ones, each with how often it was seen"
    for bits, seen in counts.items():
        if len(bits) != width or not bits or set(bits) - {"0", "1"}:
            raise RequestRefused(
                f"{bits[:80]!r} can't be an outcome of this program",
                where="counts",
                expected=expected,
            )
        if seen < 0:
            raise RequestRefused(f"{bits} was seen {seen} times", where="counts", expected=expected)
    if sum(counts.values()) == 0:
        raise RequestRefused(
            "the counts hold no shot",
            where="counts",
            expected=expected,
            next_step="a chunk without shots is lost: `qpu settle TASK --lost`",
        )
