"""Keeping a QPU warm for a session: what is asked, within the bounds that the site sets.

The core decides when a QPU is kept (`scheduling/holding.py`); here a wish beyond the site's
bounds is refused with the bound, before it gets there. What was granted is in the core
alone: a manager that is started again has forgotten it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from qpu_executor.errors import RequestRefused
from qpu_executor.manager.service.fleet import Fleet
from qpu_executor.manager.service.ledger import Ledger
from qpu_executor.manager.service.loop import DecisionLoop
from qpu_executor.manager.service.site_rules import SiteRules
from qpu_executor.manager.service.turn_checks import refused
from qpu_executor.manager.store.records import SessionRow
from qpu_executor.model.clock import Clock
from qpu_executor.model.events import WarmHoldAsked
from qpu_executor.model.timing import after
from qpu_executor.model.values import MICROSECONDS, Instant
from qpu_executor.scheduling.scheduler import Scheduler
from qpu_executor.scheduling.warm_hold import WarmHold

LONGEST_WISH_S = 30 * 86_400.0
"""A linger without an end of its session is granted for so long."""

Enter = Callable[[str, Ledger, Instant], SessionRow | RequestRefused]
"""Within a turn of the loop: a session by its id as it is now, or why it takes nothing more."""


@dataclass(frozen=True, slots=True)
class KeepWarm:
    """Keep a QPU for `seconds` after each task (a linger), or for a run of others' absence.

    `qpu`: by name; None: the only one of the site that grants such a thing.
    """

    seconds: float
    contiguous: bool = False
    qpu: str | None = None

    @property
    def key(self) -> str:
        """Where it stands in a request."""
        return "keep_warm.run_s" if self.contiguous else "keep_warm.linger_s"

    @property
    def what(self) -> str:
        """It, in words."""
        return "for a contiguous run" if self.contiguous else "between a session's tasks"


class WarmHolds:
    """Asks the core for holds, and gives them back. `core`: the one that decides now."""

    def __init__(
        self, loop: DecisionLoop, fleet: Fleet, clock: Clock, core: Callable[[], Scheduler]
    ) -> None:
        self._loop = loop
        self._fleet = fleet
        self._clock = clock
        self._core = core

    async def ask(self, session: SessionRow, wish: KeepWarm, enter: Enter) -> None:
        """Keep a QPU for a session, instead of what it was granted there before.

        `enter`: asked whether it is still open. Raises RequestRefused, with the bound that is
        exceeded if one is.
        """
        qpu = self.checked(wish, session.account, session.id)

        def keep(ledger: Ledger, now: Instant) -> RequestRefused | None:
            entered = enter(session.id, ledger, now)
            if isinstance(entered, RequestRefused):
                return entered
            self.decide(entered, wish, qpu, ledger, now)
            return None

        refusal = await self._loop.run(keep)
        if refusal is not None:
            raise refusal

    async def give_back(
        self, session: SessionRow, note: Callable[[Ledger, Instant], None] | None = None
    ) -> None:
        """Keep nothing for a session any more. `note`: puts on record who asked."""

        def drop(ledger: Ledger, now: Instant) -> None:
            if note is not None:
                note(ledger, now)
            self.drop(session, ledger, now)

        await self._loop.run(drop)

    def checked(self, wish: KeepWarm, account: str, session_id: str | None) -> str:
        """The QPU that the wish is about. Raises RequestRefused for one that isn't granted."""
        name = self._qpu_of(wish)
        most_s = _bound_s(self._fleet.get(name).rules, wish)
        if wish.seconds > most_s:
            never = f"QPU {name} isn't kept {wish.what}"
            beyond = f"QPU {name} is kept {wish.what} for {most_s:g} s, not for {wish.seconds:g} s"
            raise RequestRefused(
                never if most_s <= 0.0 else beyond,
                where=wish.key,
                expected=f"at most {most_s:g}",
                next_step="ask for less" if most_s > 0.0 else "let the gaps be filled",
            )
        now = self._clock.now()
        view = self._core().qpu(name)
        hold = None if view is None else view.hold
        taken = hold is not None and hold.contiguous and hold.session_id != session_id
        if wish.contiguous and taken and hold is not None:
            until = datetime.fromtimestamp(hold.until_at / MICROSECONDS, tz=UTC)
            raise RequestRefused(
                f"QPU {name} is kept for another session's run until {until:%H:%M:%S} UTC",
                where=wish.key,
                next_step="ask again then",
            )
        limit = self._core().hold_refusal(name, account, wish.seconds, now)
        if limit is not None:
            raise refused(limit)
        return name

    def decide(
        self, session: SessionRow, wish: KeepWarm, qpu: str, ledger: Ledger, now: Instant
    ) -> None:
        """Let the core grant it, within a turn of the loop."""
        until_at = after(now, wish.seconds if wish.contiguous else LONGEST_WISH_S)
        if session.ends_at is not None:
            until_at = min(until_at, session.ends_at)
        linger_s = 0.0 if wish.contiguous else wish.seconds
        self._post(session, qpu, linger_s, until_at, wish.contiguous, ledger, now)

    def drop(self, session: SessionRow, ledger: Ledger, now: Instant) -> None:
        """Let the core take back all that a session was granted, within a turn of the loop."""
        for qpu in dict.fromkeys(name for name, _ in self.of(session.id)):
            self._post(session, qpu, 0.0, now, False, ledger, now)

    def of(self, session_id: str) -> list[tuple[str, WarmHold]]:
        """What a session is granted now: QPU and hold, at most one a QPU."""
        return [(name, hold) for name, hold in self._all() if hold.session_id == session_id]

    def events(self) -> list[WarmHoldAsked]:
        """What another core has to be told so that it grants the same."""
        return [
            WarmHoldAsked(
                one.session_id,
                name,
                one.account,
                one.owner,
                one.linger_s,
                one.until_at,
                one.contiguous,
            )
            for name, one in self._all()
        ]

    def _all(self) -> list[tuple[str, WarmHold]]:
        found: list[tuple[str, WarmHold]] = []
        now, core = self._clock.now(), self._core()
        for qpu in self._fleet:
            view = core.qpu(qpu.name)
            if view is None:
                continue
            granted = {one.session_id: one for one in view.lingers}
            if view.hold is not None:  # a linger that is on has its wish beside it
                granted[view.hold.session_id] = view.hold
            found += [(qpu.name, one) for one in granted.values() if one.until_at > now]
        return found

    def _post(
        self,
        session: SessionRow,
        qpu: str,
        linger_s: float,
        until_at: Instant,
        contiguous: bool,
        ledger: Ledger,
        now: Instant,
    ) -> None:
        event = WarmHoldAsked(
            session.id, qpu, session.account, session.owner, linger_s, until_at, contiguous
        )
        self._loop.decide(event, None, ledger, now)

    def _qpu_of(self, wish: KeepWarm) -> str:
        if wish.qpu is not None:
            return self._fleet.get(wish.qpu).name
        able = [qpu.name for qpu in self._fleet if _bound_s(qpu.rules, wish) > 0.0]
        if len(able) == 1:
            return able[0]
        raise RequestRefused(
            f"{'no QPU' if not able else 'more than one QPU'} of this site is kept {wish.what}",
            where="keep_warm.qpu" if able else wish.key,
            expected=f"one of {', '.join(able)}" if able else None,
            next_step="name one of them" if able else "let the gaps be filled",
        )


def _bound_s(rules: SiteRules, wish: KeepWarm) -> float:
    return rules.max_run_s if wish.contiguous else rules.max_linger_s
