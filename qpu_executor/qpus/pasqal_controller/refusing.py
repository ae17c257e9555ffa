"""A controller that says that it is up, and takes no job. Pure: no clock, no I/O.

One job that isn't taken may be the fault of its program. Where the jobs of two tasks in a
row aren't taken, or one hasn't been tried for long, it is the controller's: the QPU is DOWN
then and is tried again after pauses that grow, and no task fails because of it. Otherwise a
controller in trouble would fail a whole queue, one task after the other.
"""

from __future__ import annotations

from qpu_executor.model.states import QpuState
from qpu_executor.model.values import MICROSECONDS, Instant
from qpu_executor.qpus.base import Health

_FIRST_S = 1.0
_LONGEST_S = 60.0
"""Pauses before it is tried again: doubled, from first to longest."""
_PATIENCE = 6
"""Refusals in a row (a minute or so) after which a lone task's program is to blame."""


class Refusing:
    """What the controller didn't take since it took one."""

    def __init__(self) -> None:
        self._tasks: set[int] = set()
        self._times = 0
        self._down: Health | None = None

    def took(self) -> None:
        """It has taken a job: all is forgiven."""
        self._tasks.clear()
        self._times = 0
        self._down = None

    def refused(self, task_id: int, why: str, now: Instant) -> None:
        """A job of this task wasn't taken."""
        self._tasks.add(task_id)
        self._times += 1
        if len(self._tasks) == 1 and self._times > _PATIENCE:
            self._down = None
            return
        pause_s = min(_LONGEST_S, _FIRST_S * 2.0 ** min(self._times - 1, 20))
        reason = f"the controller says that it is operational, and takes no job: {why}"
        self._down = Health(QpuState.DOWN, reason, now + int(pause_s * MICROSECONDS))

    def health(self, now: Instant) -> Health | None:
        """DOWN while it isn't tried again; None: nothing speaks against it."""
        down = self._down
        return None if down is None or down.until is None or down.until <= now else down
