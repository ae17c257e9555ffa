"""When a simulated QPU is due for calibration, for how long, and how good it is then.

Pure: the draws of epoch n follow from the seed and n alone.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

Span = tuple[float, float]
"""Smallest and largest value of an evenly spread draw (equal: always that one)."""


@dataclass(frozen=True, slots=True)
class SimulatedCalibration:
    """`every_s`: from the end of one to when the next is due; `length_s`: how long one takes.

    `by`: "device" starts by itself, at the end of the chunk that runs when it is due;
    "manager" waits until it is asked, however long ago it was due. `quality`: the
    figure of merit that is reported for an epoch, 0 to 1.
    """

    by: Literal["device", "manager"]
    every_s: Span
    length_s: Span
    quality: Span = (1.0, 1.0)
    seed: int = 0

    def due_after_s(self, epoch: int) -> float:
        """Seconds from the start of epoch number `epoch` to when it should end."""
        return self._draw("due", epoch, self.every_s)

    def takes_s(self, epoch: int) -> float:
        """Seconds that the calibration takes which ends epoch number `epoch`."""
        return self._draw("length", epoch, self.length_s)

    def quality_of(self, epoch: int) -> float:
        """The figure of merit that epoch number `epoch` starts with."""
        return round(self._draw("quality", epoch, self.quality), 4)

    def _draw(self, what: str, epoch: int, span: Span) -> float:
        return random.Random(f"{self.seed}/{what}/{epoch}").uniform(*span)  # noqa: S311
