"""What the parts of a rehearsal share: its clock, its future, and the way to the core."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from qpu_executor.model.events import Event
from qpu_executor.model.values import MICROSECONDS, Instant
from qpu_executor.simulation.heap import Action, EventHeap
from qpu_executor.simulation.policy import Policy
from qpu_executor.simulation.qpu_model import instant
from qpu_executor.simulation.record import RunRecord, Span

START_AT: Instant = 1_000_000_000 * MICROSECONDS
"""What the core is told when a rehearsal of made-up jobs starts: instants as it sees live."""


@dataclass(slots=True, eq=False)
class Stage:
    """`now`: since the start, which is `start_at` for the core. `post` hands an event to the
    core and carries out its commands.
    """

    policy: Policy
    record: RunRecord
    post: Callable[[Event], None]
    spans_until: Instant = 0
    start_at: Instant = START_AT
    now: Instant = 0
    heap: EventHeap = field(default_factory=EventHeap)

    def later(
        self, seconds: float, action: Action, argument: object, *, background: bool = False
    ) -> None:
        """Let `action(argument)` happen in so many seconds. `background`: see `EventHeap`."""
        self.heap.push(self.now + instant(seconds), action, argument, background=background)

    def note_span(
        self,
        qpu: str,
        begins_at: Instant,
        ends_at: Instant,
        what: str,
        *,
        task_id: int | None = None,
        job_id: int | None = None,
    ) -> None:
        """Record a stretch of QPU time, if it begins early enough. `what`: a class, or why
        the QPU is closed.
        """
        if begins_at < self.spans_until:
            begins_s, ends_s = begins_at / MICROSECONDS, ends_at / MICROSECONDS
            self.record.spans.append(Span(qpu, begins_s, ends_s, task_id, job_id, what))
