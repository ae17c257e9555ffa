"""When a job will be done, from how long the ones before took. Pure: no clock, no I/O.

A job is looked at when it should be done, then again after short pauses that grow: so
the QPU waits for milliseconds, and the controller is asked a few times a job, whatever
a job takes. A fixed interval gives one of the two at best.

A look that comes early costs a request, one that comes late costs QPU time: so the first
look comes when the faster ones of the last jobs would be done, and earlier still while
first looks keep finding jobs that are done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

_REMEMBERED = 15
"""Jobs that are looked back on: enough for a quartile, few enough to forget an old rate."""

_GROWTH = 1.3
_SHORTEST_S = 0.0005
_LONGEST_S = 5.0
_UNKNOWN_FIRST_S = 0.01
_WANTED_LOOKS = 4
"""Looks at a job: with fewer, the job may have been done for a while; with more, we ask
more often than it is worth."""
_STEP_S = 0.0005
_SLOWEST_SHOT_S = 10.0
"""Seconds that a shot may take while nothing is known (neutral atoms: 0.1 to 4)."""


class Pace:
    """`shot_s`: expected seconds a shot, None if nobody knows; `setup_s`: before the first."""

    def __init__(self, shot_s: float | None = None, setup_s: float = 0.0) -> None:
        self._given_shot_s = shot_s
        self._given_setup_s = setup_s
        self._shots_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._setups_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._earlier_s = 0.0

    def expected_s(self, shots: int, part: float = 0.5) -> float | None:
        """Seconds from the acceptance of a job to its end; None if that is unknown.

        `part`: of the last jobs that were as fast as that, or faster.
        """
        if self._shots_s:
            return _quantile(self._setups_s, part) + shots * _quantile(self._shots_s, part)
        if self._given_shot_s is None:
            return None
        return self._given_setup_s + shots * self._given_shot_s

    def at_most_s(self, shots: int) -> float:
        """What a job takes at most, as far as is known."""
        expected_s = self.expected_s(shots, 1.0)
        return self._given_setup_s + _SLOWEST_SHOT_S * shots if expected_s is None else expected_s

    def took(self, shots: int, device_s: float, setup_s: float) -> None:
        """A job of so many shots ended: seconds of shots, and before the first one."""
        if shots > 0:
            self._shots_s.append(device_s / shots)
            self._setups_s.append(setup_s)

    def looked(self, shots: int, looks: int) -> None:
        """A job of so many shots was seen done at its n-th look."""
        early_s, usual_s = self.expected_s(shots, 0.25), self.expected_s(shots)
        if early_s is None or usual_s is None:
            return
        step_s = max(_STEP_S, 0.1 * (usual_s - early_s))
        change_s = step_s if looks < _WANTED_LOOKS else -step_s if looks > _WANTED_LOOKS else 0.0
        self._earlier_s = min(max(0.0, self._earlier_s + change_s), 0.1 * usual_s)

    def pauses(
        self, shots: int, elapsed_s: float = 0.0, round_trip_s: float = 0.0
    ) -> Iterator[float]:
        """Seconds to wait before each look at a job accepted `elapsed_s` ago. Endless.

        `round_trip_s`: a question and its answer take this long, so that the job is older
        than its acceptance, and the first look can leave before it is done.
        """
        early_s, usual_s = self.expected_s(shots, 0.25), self.expected_s(shots)
        if early_s is None or usual_s is None:
            pause_s, longest_s = _UNKNOWN_FIRST_S, _LONGEST_S
        else:
            # What was only told, and not measured, is believed to a tenth.
            spread_s = usual_s - early_s if self._shots_s else 0.1 * usual_s
            longest_s = min(_LONGEST_S, max(0.25 * usual_s, 0.05))
            pause_s = min(max(_SHORTEST_S, 0.5 * spread_s), longest_s)
            yield max(0.0, early_s - elapsed_s - round_trip_s - self._earlier_s)
        while True:
            yield pause_s
            pause_s = min(pause_s * _GROWTH, longest_s)


def _quantile(values: Sequence[float], part: float) -> float:
    """The smallest value that is at least as large as this part of them. Not for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
