"""When sessions run out: leases, grace, idle and life time, on the manager's clock.

Who was heard when is in memory alone, so that a heartbeat costs no write; a manager that is
started again gives everybody a whole lease, and a whole grace. Idle and life time are those of
the rows. Time in which no manager was there, or this process did not get to run (a stopped
process, a host that slept, a clock that jumped), is added to everybody's leases and idle times.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from qpu_executor.errors import QpuExecutorError
from qpu_executor.manager.service.session_rules import SessionRules
from qpu_executor.manager.service.vital import Died, vital
from qpu_executor.manager.store.records import SessionRow
from qpu_executor.model.clock import Clock
from qpu_executor.model.timing import after
from qpu_executor.model.values import MICROSECONDS, Instant

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
"""Real seconds between two looks at the clock while there are leases."""

ABSENT_S = 2.0
"""A look that comes so many real seconds late says that the manager wasn't there."""

AGAIN_S = 5.0
"""Real seconds until what couldn't be done (a store in trouble) is tried again."""

MOST_ABSENCES = 100
"""So many of them are remembered, the latest."""


class RunsOut(StrEnum):
    """What of a session runs out first."""

    LEASE = "lease"
    GRACE = "grace"
    IDLE = "idle time"
    LIFETIME = "lifetime"
    ALLOCATION = "allocation"


@dataclass(frozen=True, slots=True)
class Deadline:
    """The next thing of a session that runs out, unless something happens before."""

    at: Instant
    what: RunsOut


class SessionWatch:
    """`sessions`: the open ones. `run_out`: called for each whose deadline has come."""

    def __init__(
        self,
        clock: Clock,
        rules: Callable[[], SessionRules],
        sessions: Mapping[str, SessionRow],
        run_out: Callable[[SessionRow, RunsOut], Coroutine[None, None, None]],
    ) -> None:
        self._clock = clock
        self._rules = rules
        self._sessions = sessions
        self._run_out = run_out
        self._since = clock.now()
        self._away_us = 0
        self._absences: list[tuple[Instant, int]] = []
        self._heard: dict[str, Instant] = {}
        self._active: dict[str, Instant] = {}
        self._changed = asyncio.Event()
        self._until: Instant | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, latest_at: Instant, died: Died) -> None:
        """Begin to watch; from here on leases run.

        `latest_at`: the newest instant in the store, after which nobody may have been there.
        `died`: see `vital`.
        """
        self._since = self._clock.now()
        self._away_us = max(0, self._since - latest_at) if latest_at else 0
        self._task = vital(self._watch(), "sessions", died)

    async def close(self) -> None:
        """Watch no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def heard(self, session_id: str) -> None:
        """Somebody who may has used the session: its lease begins anew."""
        self._heard[session_id] = self._clock.now()

    def active(self, session_id: str, at: Instant) -> None:
        """The session had a task at an instant: its idle time begins there, or later."""
        self._active[session_id] = max(at, self._active.get(session_id, 0))

    def forget(self, session_id: str) -> None:
        """The session has ended."""
        self._heard.pop(session_id, None)
        self._active.pop(session_id, None)

    def look_again(self, session: SessionRow) -> None:
        """A session was opened or found again: its deadline may be the next one."""
        deadline = self.next_of(session)
        if deadline is not None and (self._until is None or deadline.at < self._until):
            self._changed.set()

    def rules_changed(self) -> None:
        """The site's rules are others now: the next deadline may be another one."""
        self._changed.set()

    def heard_at(self, session: SessionRow) -> Instant:
        """When it was last heard of, as far as its lease is concerned."""
        heard_at = max(self._heard.get(session.id, 0), self._since, session.opened_at)
        return heard_at + self._absent_us(heard_at)

    def lease_left_s(self, session: SessionRow) -> float | None:
        """Real seconds until it is lost unless it is renewed; 0: it is lost; None: no lease."""
        if session.lease_s is None or session.closed_at is not None:
            return None
        if session.lost_at is not None:
            return 0.0
        left_us = after(self.heard_at(session), session.lease_s) - self._clock.now()
        return max(0.0, left_us / MICROSECONDS / self._rules().time_scale)

    def next_of(self, session: SessionRow) -> Deadline | None:
        """What of a session runs out first; None: nothing ever does."""
        found: list[Deadline] = []
        if session.lost_at is not None:
            lost_at = max(session.lost_at, self._since)
            lost_at += self._absent_us(lost_at)
            found.append(Deadline(after(lost_at, self._rules().grace_s), RunsOut.GRACE))
        elif session.lease_s is not None:
            lease = after(self.heard_at(session), session.lease_s)
            found.append(Deadline(lease, RunsOut.LEASE))
        if session.idle_s is not None:
            active = max(self._active.get(session.id, 0), session.opened_at)
            away_us = self._away_us if active < self._since else 0
            idle_from = active + away_us + self._absent_us(active)
            found.append(Deadline(after(idle_from, session.idle_s), RunsOut.IDLE))
        if session.expires_at is not None:
            found.append(Deadline(session.expires_at, RunsOut.LIFETIME))
        if session.ends_at is not None:
            found.append(Deadline(session.ends_at, RunsOut.ALLOCATION))
        return min(found, key=lambda one: one.at, default=None)

    # -- the watch --------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            self._changed.clear()
            await self._sleep()
            now, failed = self._clock.now(), False
            for session in list(self._sessions.values()):
                deadline = self.next_of(session)
                if deadline is None or deadline.at > now or session.id not in self._sessions:
                    continue
                try:
                    await self._run_out(session, deadline.what)
                except QpuExecutorError as error:
                    failed = True
                    log.warning("%s: its %s is over, but %s", session.named, deadline.what, error)
                except Exception:
                    failed = True
                    log.exception("%s: its %s is over", session.named, deadline.what)
            if failed:  # whoever watches no more lets every lease and allocation go on for ever
                again_at = after(self._clock.now(), AGAIN_S * self._rules().time_scale)
                await self._clock.sleep_until(again_at)

    async def _sleep(self) -> None:
        """Until the next deadline or a change; with leases about, never long at a time."""
        found = [one for each in self._sessions.values() if (one := self.next_of(each))]
        scale, began_at = self._rules().time_scale, self._clock.now()
        instants = [one.at for one in found]
        if any(one.what is RunsOut.LEASE for one in found):
            instants.append(after(began_at, LOOK_EVERY_S * scale))
        until = self._until = min(instants, default=None)
        changed = asyncio.ensure_future(self._changed.wait())
        waits: list[asyncio.Future[Any]] = [changed]
        if until is not None:
            waits.append(asyncio.ensure_future(self._clock.sleep_until(until)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        now = self._clock.now()
        late_us = 0 if until is None else now - max(until, began_at)
        if late_us > ABSENT_S * scale * MICROSECONDS:
            log.warning(
                "the manager wasn't there for %.0f s: leases are longer by as much",
                late_us / MICROSECONDS,
            )
            self._absences = [*self._absences[-MOST_ABSENCES:], (now, late_us)]

    def _absent_us(self, since: Instant) -> int:
        """Microseconds since an instant in which the manager wasn't there."""
        return sum(late_us for at, late_us in self._absences if at >= since)
