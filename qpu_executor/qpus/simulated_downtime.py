"""When a simulated QPU is closed: planned and repeated, or broken down by chance.

Pure: the same settings and seed give the same closings, however often and in
whatever order they are asked for. Seconds count from when the QPU was first opened.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

_REASON = "a breakdown"


@dataclass(frozen=True, slots=True)
class Closing:
    """A time in which no chunk is taken; `planned` or not, and why."""

    starts_s: float
    ends_s: float
    planned: bool
    reason: str


@dataclass(frozen=True, slots=True)
class PlannedClosing:
    """Closed from `after_s` for `length_s`, and again every `every_s` (None: once)."""

    after_s: float
    length_s: float
    every_s: float | None = None
    reason: str = "maintenance"

    def next_at(self, at_s: float) -> Closing | None:
        """The closing that covers `at_s`, else the next one; None if there is none."""
        turns = 0
        if self.every_s is not None:
            turns = max(0, floor((at_s - self.after_s) / self.every_s))
        for turn in (turns, turns + 1):
            starts_s = self.after_s + turn * (self.every_s or 0.0)
            if at_s < starts_s + self.length_s:
                return Closing(starts_s, starts_s + self.length_s, True, self.reason)
        return None


class Breakdowns:
    """Seeded breakdowns: `mean_between_s` of work on average, then `repair_s` of repair.

    `repair_s`: always that, or evenly spread between two. `reason`: in words; breakdowns for
    different reasons are drawn independently.
    """

    def __init__(
        self,
        mean_between_s: float,
        repair_s: float | tuple[float, float],
        seed: int = 0,
        reason: str = _REASON,
    ) -> None:
        self._mean_between_s = mean_between_s
        self._repair_s = repair_s if isinstance(repair_s, tuple) else (repair_s, repair_s)
        self._reason = reason
        stream = "breakdowns" if reason == _REASON else reason
        self._random = random.Random(f"{seed}/{stream}")  # noqa: S311  (no secret)
        self._repairs = random.Random(f"{seed}/{stream}/repairs")  # noqa: S311
        self._starts_s: list[float] = []
        self._ends_s: list[float] = []

    def next_at(self, at_s: float) -> Closing:
        """The breakdown that covers `at_s`, else the next one."""
        while not self._ends_s or self._ends_s[-1] <= at_s:
            begin_s = self._ends_s[-1] if self._ends_s else 0.0
            worked_s = self._random.expovariate(1.0 / self._mean_between_s)
            self._starts_s.append(begin_s + worked_s)
            self._ends_s.append(begin_s + worked_s + self._repairs.uniform(*self._repair_s))
        n = bisect_right(self._ends_s, at_s)
        return Closing(self._starts_s[n], self._ends_s[n], False, self._reason)


class Downtime:
    """All closings of a QPU."""

    def __init__(
        self,
        planned: Sequence[PlannedClosing],
        breakdowns: Breakdowns | None,
        outages: Sequence[Breakdowns] = (),
    ) -> None:
        self._sources: list[PlannedClosing | Breakdowns] = [*planned, *outages]
        if breakdowns is not None:
            self._sources.append(breakdowns)

    def next_at(self, at_s: float) -> Closing | None:
        """The closing that covers `at_s` and ends last, else the next one to start."""
        found = [one for source in self._sources if (one := source.next_at(at_s)) is not None]
        if covering := [one for one in found if one.starts_s <= at_s]:
            return max(covering, key=lambda one: one.ends_s)
        return min(found, key=lambda one: one.starts_s, default=None)

    def open_from(self, at_s: float) -> float:
        """The first moment from `at_s` on at which the QPU isn't closed."""
        while (closing := self.next_at(at_s)) is not None and closing.starts_s <= at_s:
            at_s = closing.ends_s
        return at_s
