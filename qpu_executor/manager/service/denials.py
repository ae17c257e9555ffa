"""Who was turned away goes on record too, in bounded number: nobody fills the store with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from qpu_executor.manager.service.ledger import Ledger
from qpu_executor.model.clock import Clock
from qpu_executor.model.timing import after
from qpu_executor.model.values import Instant

MOST_A_MINUTE = 20
"""Denials that get a row; the next row says how many got none."""

_MINUTE_S = 60.0


class Denials:
    """`note`: does work in the manager's next turn; nobody waits for it."""

    def __init__(
        self, clock: Clock, note: Callable[[Callable[[Ledger, Instant], None]], None]
    ) -> None:
        self._clock = clock
        self._note = note
        self._minute_ends_at: Instant = 0
        self._recorded = 0
        self._left_out = 0

    def record(self, kind: str, data: Mapping[str, Any]) -> None:
        """Put one on record, unless there were too many in this minute."""
        now = self._clock.now()
        if now >= self._minute_ends_at:
            self._minute_ends_at, self._recorded = after(now, _MINUTE_S), 0
        if self._recorded >= MOST_A_MINUTE:
            self._left_out += 1
            return
        self._recorded += 1
        told = {**data, "not_recorded_before": self._left_out} if self._left_out else dict(data)
        self._left_out = 0
        self._note(lambda ledger, now: ledger.record(kind, told, now))
