"""How long sessions live and what their end means: the site's rules, and what one may ask."""

from __future__ import annotations

from dataclasses import dataclass

from qpu_executor.errors import RequestRefused
from qpu_executor.model.sessions import TaskFate

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class SessionRules:
    """A site's rules. Seconds of the manager's clock, but for `lease_s`, which is real time.

    `lease_s`: a session that has a lease is lost after so much silence. `grace_s`: what is
    lost for so long ends. `idle_s`: what has had no task for so long ends. `lifetime_s`:
    nothing lives longer. What becomes of the tasks: `on_lost`, `on_close` (its owner closed
    it; both are the session's to say as well) and `on_end` (it ended by itself: grace, idle
    or life over, or a requeued job has taken its place). `time_scale`: of the manager's clock.
    """

    lease_s: float = 120.0
    grace_s: float = 3600.0
    idle_s: float = 7 * DAY_S
    lifetime_s: float = 30 * DAY_S
    on_lost: TaskFate = TaskFate.HOLD
    on_close: TaskFate = TaskFate.FINISH
    on_end: TaskFate = TaskFate.HOLD
    time_scale: float = 1.0

    def granted_lease_s(self, leased: bool, asked_s: float | None) -> float | None:
        """A session's lease on the manager's clock; None: it wants none.

        Raises RequestRefused for more than the site grants.
        """
        if not leased and asked_s is None:
            return None
        return _less(asked_s, self.lease_s, "lease_s") * self.time_scale

    def granted_idle_s(self, asked_s: float | None) -> float:
        """How long it may be without a task. Raises RequestRefused for more than the site's."""
        return _less(asked_s, self.idle_s, "idle_s")

    def granted_lifetime_s(self, asked_s: float | None) -> float:
        """How long it may live. Raises RequestRefused for more than the site's."""
        return _less(asked_s, self.lifetime_s, "lifetime_s")


def _less(asked_s: float | None, most_s: float, where: str) -> float:
    if asked_s is None:
        return most_s
    if asked_s > most_s:
        raise RequestRefused(
            f"sessions of this site have {most_s:g} s, not {asked_s:g} s",
            where=where,
            expected=f"at most {most_s:g}",
            next_step="ask for less, or leave it out",
        )
    return asked_s
