"""Sessions: what ties tasks to one workflow run or Slurm job, and what it says of them.

A session may say when its allocation ends, and what its work looks like. No task of it
that can't end in time is accepted, and none outlives it (`scheduling/expiry.py`).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from qpu_executor.errors import RequestRefused
from qpu_executor.manager.auth.caller import Caller
from qpu_executor.manager.auth.rights import Rights
from qpu_executor.manager.service.audit import who_of
from qpu_executor.manager.service.keeping_warm import KeepWarm, WarmHolds
from qpu_executor.manager.service.ledger import Ledger
from qpu_executor.manager.service.loop import DecisionLoop
from qpu_executor.manager.store.base import Store
from qpu_executor.manager.store.records import AddSession, CloseSession, SessionRow, TaskRow
from qpu_executor.model.clock import Clock
from qpu_executor.model.sessions import NO_HINTS, SessionHints
from qpu_executor.model.timing import after
from qpu_executor.model.values import Instant


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session that a caller wants. `key`: the open one of the same key is found again.

    `ends_at`: when its allocation ends; `ends_in_s`: or in how many seconds from now, which
    needs no clock that agrees with ours. `job_class`: of its tasks that name none.
    `keep_warm`: a hold that it asks for at once.
    """

    name: str = ""
    kind: str = "run"
    account: str | None = None
    key: str | None = None
    ends_at: Instant | None = None
    ends_in_s: float | None = None
    hints: SessionHints = NO_HINTS
    job_class: str | None = None
    keep_warm: KeepWarm | None = field(default=None)

    def end(self, now: Instant) -> Instant | None:
        """When its allocation ends, if anybody knows."""
        in_s = None if self.ends_in_s is None else after(now, self.ends_in_s)
        return min((at for at in (self.ends_at, in_s) if at is not None), default=None)


class Sessions:
    """Opens, finds and closes sessions. `live`: rows of tasks that haven't ended.

    `rights`: who may use which class and account, as the site says now.
    """

    def __init__(
        self,
        store: Store,
        loop: DecisionLoop,
        clock: Clock,
        live: Mapping[int, TaskRow],
        holds: WarmHolds,
        already_open: Iterable[SessionRow],
        rights: Callable[[], Rights],
    ) -> None:
        self.holds = holds
        self._store = store
        self._loop = loop
        self._clock = clock
        self._live = live
        self._rights = rights
        self._open = {session.id: session for session in already_open}

    async def open(
        self, caller: Caller, wanted: NewSession, by: Caller | None = None
    ) -> SessionRow:
        """Open a session, or find the open one of this caller with the same key, as it is.

        `by`: who opens it for the caller, if that is somebody else; on record. Such a one
        vouches for account and class, as a batch scheduler does that has checked them.

        Raises RequestRefused for an end that is past, or a hold that the site doesn't grant,
        and NotAllowed for an account or a class that isn't for the caller.
        """
        found = self._of_key(caller, wanted.key)
        if found is not None:
            return found
        vouched = by is not None and by.name != caller.name
        rights = self._rights()
        if wanted.job_class is not None and not vouched:
            rights.refuse_class(caller, wanted.job_class)
        account = wanted.account if vouched else None
        account = account or rights.account(caller, wanted.account)
        now = self._clock.now()
        ends_at = wanted.end(now)
        if ends_at is not None and ends_at <= now:
            raise RequestRefused(
                "the session's allocation has ended already",
                where="ends_at" if wanted.ends_in_s is None else "ends_in_s",
                expected="an instant to come, on the manager's clock",
                next_step="open it in an allocation that has time left",
            )
        wish = wanted.keep_warm
        qpu = None if wish is None else self.holds.checked(wish, account, None)

        def add(ledger: Ledger, now: Instant) -> SessionRow:
            known = self._of_key(caller, wanted.key)
            if known is not None:
                return known
            session = SessionRow(
                id=uuid.uuid4().hex,
                owner=caller.name,
                account=account,
                name=wanted.name,
                kind=wanted.kind,
                key=wanted.key,
                opened_at=now,
                ends_at=wanted.end(now),
                hints=wanted.hints,
                job_class=wanted.job_class,
            )
            self._open[session.id] = session
            ledger.changes.append(AddSession(session))
            _record(ledger, now, "SessionOpenedFor", session, by)
            if wish is not None and qpu is not None:
                self.holds.decide(session, wish, qpu, ledger, now)
            return session

        return await self._loop.run(add)

    async def close(self, session_id: str, caller: Caller, by: Caller | None = None) -> SessionRow:
        """Close a session, and give back what it keeps; its tasks go on. Twice is once."""
        session = await self.get(session_id, caller)

        def close(ledger: Ledger, now: Instant) -> None:
            if self._open.pop(session_id, None) is not None:
                ledger.changes.append(CloseSession(session_id, now))
                _record(ledger, now, "SessionClosedFor", session, by)
                self.holds.drop(session, ledger, now)

        await self._loop.run(close)
        return await self._store.session(session_id) or session

    async def get(self, session_id: str, caller: Caller) -> SessionRow:
        """One session of the caller. Raises RequestRefused, also for somebody else's."""
        found = await self.find(session_id)
        if found is None or found.owner != caller.name:
            raise RequestRefused(
                f"there is no session {session_id!r} of {caller.name}", where="session"
            )
        return found

    def owner_of(self, session_id: str) -> str | None:
        """Whose an open session is; None if there is none of this id."""
        found = self._open.get(session_id)
        return None if found is None else found.owner

    async def find(self, session_id: str) -> SessionRow | None:
        """One session, whosever it is."""
        return self._open.get(session_id) or await self._store.session(session_id)

    async def usable(self, session_id: str, caller: Caller) -> SessionRow:
        """A session that takes tasks and holds. Raises RequestRefused for any other."""
        session = await self.get(session_id, caller)
        named = f"session {session.name or session.id}"
        if session.closed_at is not None:
            raise RequestRefused(f"{named} is closed", where="session", next_step="open a new one")
        if session.ends_at is not None and session.ends_at <= self._clock.now():
            raise RequestRefused(
                f"the allocation of {named} has ended",
                where="session",
                next_step="open a new one in an allocation that has time left",
            )
        return session

    def hints(self, session_id: str | None) -> SessionHints | None:
        """What an open session said of its work; None if it said nothing."""
        session = self._open.get(session_id or "")
        return None if session is None or not session.hints else session.hints

    def live_tasks(self, session_id: str) -> list[int]:
        """Ids of a session's tasks that haven't ended: derived from the rows, never counted."""
        return [row.id for row in self._live.values() if row.session_id == session_id]

    def _of_key(self, caller: Caller, key: str | None) -> SessionRow | None:
        for found in self._open.values():
            if key is not None and (found.owner, found.key) == (caller.name, key):
                return found
        return None


def _record(
    ledger: Ledger, now: Instant, what: str, session: SessionRow, by: Caller | None
) -> None:
    """Note what a service did for somebody."""
    if by is not None and by.name != session.owner:
        ledger.record(what, {**who_of(by), "session": session.id, "user": session.owner}, now)
