"""Sessions: what ties tasks to one workflow run or Slurm job, and what it says of them.

A session may say when its allocation ends, and what its work looks like. No task of it
that can't end in time is accepted, and none outlives it (`scheduling/expiry.py`). One that
has a lease is lost when nobody renews it, which pauses its tasks; whoever renews it lets
them go on. When something of it runs out is watched in `session_watch.py`, what that
does to its tasks is in `session_tasks.py`; how those of a Slurm job hang together, in
`session_jobs.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from qpu_executor.errors import RequestRefused
from qpu_executor.manager.auth.caller import Caller, Role
from qpu_executor.manager.auth.rights import Rights
from qpu_executor.manager.service.audit import who_of
from qpu_executor.manager.service.keeping_warm import WarmHolds
from qpu_executor.manager.service.ledger import Ledger
from qpu_executor.manager.service.loop import DecisionLoop
from qpu_executor.manager.service.new_session import SLURM, NewSession, Renewal
from qpu_executor.manager.service.session_jobs import job_taken, of_its_job, outlived
from qpu_executor.manager.service.session_rules import SessionRules
from qpu_executor.manager.service.session_tasks import SessionTasks
from qpu_executor.manager.service.session_watch import RunsOut, SessionWatch
from qpu_executor.manager.service.session_words import when_closed, when_ended, when_lost
from qpu_executor.manager.store.base import Store
from qpu_executor.manager.store.change_records import (
    AddSession,
    CloseSession,
    MarkSession,
    MoveSession,
)
from qpu_executor.manager.store.records import SessionRow, TaskRow
from qpu_executor.model.clock import Clock
from qpu_executor.model.sessions import SessionHints, TaskFate
from qpu_executor.model.values import Instant

SAME_END_US = 1_000_000
"""Two ends that differ by no more are one that was measured twice."""

SAME_ALLOCATION_US = 60_000_000
"""A session of a job whose end differs from the job's by no more has it from the job; the clocks
of nodes and manager may differ."""


class Sessions:
    """Opens, finds, renews and ends sessions. `live`: rows of tasks that haven't ended.

    `rights`: who may use which class and account, and `rules`: of sessions, as the site says
    now.
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
        rules: Callable[[], SessionRules],
    ) -> None:
        self.holds = holds
        self._rules = rules
        self.tasks = SessionTasks(loop)
        self._store = store
        self._loop = loop
        self._clock = clock
        self._live = live
        self._rights = rights
        self._open = {session.id: session for session in already_open}
        self.watch = SessionWatch(clock, rules, self._open, self._run_out)

    @property
    def rules(self) -> SessionRules:
        """The site's, as they are now."""
        return self._rules()

    # -- opening, renewing, closing -------------------------------------------------

    async def open(
        self, caller: Caller, wanted: NewSession, by: Caller | None = None
    ) -> SessionRow:
        """Open a session, or find the open one of this caller with the same key, as it is.

        An incarnation of a Slurm job has one session of its own; that of a requeued job
        takes the place of the one before. A service that names another end of its allocation
        moves that. `by`: who opens it for the caller, if that is
        somebody else; on record. Such a one vouches for account and class, as a batch
        scheduler does that has checked them.

        Raises RequestRefused for an end that is past, or what the site doesn't grant, and
        NotAllowed for an account or a class that isn't for the caller.
        """
        if wanted.kind == SLURM and wanted.slurm is not None:
            job = wanted.slurm
            wanted = replace(wanted, key=f"slurm/{job.cluster}/{job.job_id}/{job.restart_count}")
        found = self._found(caller, wanted)
        if found is not None:
            return await self._moved(await self._back(found), wanted, by)
        vouched = by is not None and by.name != caller.name
        rights = self._rights()
        if wanted.job_class is not None and not vouched:
            rights.refuse_class(caller, wanted.job_class)
        account = wanted.account if vouched else None
        wanted = replace(wanted, account=account or rights.account(caller, wanted.account))
        session = wanted.row(caller, self.rules, self._clock.now())
        self._refuse_past(session.ends_at, wanted)
        wish = wanted.keep_warm
        qpu = None if wish is None else self.holds.checked(wish, session.account, None)

        def add(ledger: Ledger, now: Instant) -> SessionRow | RequestRefused:
            known = self._found(caller, wanted)
            if known is not None:
                return known
            try:
                session = wanted.row(caller, self.rules, now)
            except RequestRefused as refused:  # the site's rules have changed meanwhile
                return refused
            refusal = self._make_room(caller, wanted, by, ledger, now)
            if refusal is not None:
                return refusal
            self._open[session.id] = session
            ledger.changes.append(AddSession(session))
            _record(ledger, now, "SessionOpenedFor", session, by)
            if wish is not None and qpu is not None:
                self.holds.decide(session, wish, qpu, ledger, now)
            return session

        answer = await self._loop.run(add)
        if isinstance(answer, RequestRefused):
            raise answer
        self.watch.look_again(answer)
        return answer

    async def heartbeat(self, session_id: str, caller: Caller) -> Renewal:
        """Renew a session. Raises RequestRefused for one that has ended."""
        session = await self.usable(session_id, caller, regain=False)
        return await self._regain(session)

    async def close(
        self,
        session_id: str,
        caller: Caller,
        by: Caller | None = None,
        fate: TaskFate | None = None,
    ) -> SessionRow:
        """Close a session, and give back what it keeps. Twice is once.

        `fate`: of its tasks, also if it is closed already; None: as the session says, or else
        the site. A Slurm job's own session takes the others of the job with it.
        """
        session = await self.get(session_id, caller)

        def close(ledger: Ledger, now: Instant) -> None:
            if session_id not in self._open:
                if fate is not None and self.tasks.any_of(session_id, ledger):
                    _record(ledger, now, "SessionClosedFor", session, by)
                    words = when_closed(session, session.closed_at or now)
                    self.tasks.meet(session_id, fate, words, ledger, now)
                return
            _record(ledger, now, "SessionClosedFor", session, by)
            self._end(session_id, fate or session.on_close, "", ledger, now)
            for other in of_its_job(session, self._open.values()):
                why = "its Slurm job has ended"
                self._end(other.id, fate or other.on_close, why, ledger, now)

        await self._loop.run(close)
        return await self._store.session(session_id) or session

    # -- finding --------------------------------------------------------------------

    async def get(self, session_id: str, caller: Caller) -> SessionRow:
        """One session of the caller, which this renews unless it is lost.

        Raises RequestRefused, also for somebody else's.
        """
        found = await self.find(session_id)
        if found is None or found.owner != caller.name:
            raise RequestRefused(
                f"there is no session {session_id!r} of {caller.name}",
                where="session",
                next_step="see `qpu session list --all`",
            )
        self.heard(session_id, caller)
        return found

    def owner_of(self, session_id: str) -> str | None:
        """Whose an open session is; None if there is none of this id."""
        found = self._open.get(session_id)
        return None if found is None else found.owner

    async def find(self, session_id: str) -> SessionRow | None:
        """One session, whosever it is."""
        return self._open.get(session_id) or await self._store.session(session_id)

    async def usable(self, session_id: str, caller: Caller, *, regain: bool = True) -> SessionRow:
        """A session that takes tasks and holds; one that was lost is found again by this.

        Raises RequestRefused for any other.
        """
        session = await self.get(session_id, caller)
        if session.ends_at is not None and session.ends_at <= self._clock.now():
            raise RequestRefused(
                f"the allocation of {session.named} has ended",
                where="session",
                next_step="open a new one in an allocation that has time left",
            )
        if session.closed_at is not None:
            why = f": {session.closed_because}" if session.closed_because else ""
            raise RequestRefused(
                f"{session.named} is closed{why}", where="session", next_step="open a new one"
            )
        return await self._back(session) if regain else session

    def heard(self, session_id: str | None, caller: Caller) -> None:
        """The caller does something with a session: if it is theirs, it lives."""
        session = self._open.get(session_id or "")
        if session is not None and session.owner == caller.name:
            self.watch.heard(session.id)

    def hints(self, session_id: str | None) -> SessionHints | None:
        """What an open session said of its work; None if it said nothing."""
        session = self._open.get(session_id or "")
        return None if session is None or not session.hints else session.hints

    def is_open(self, session_id: str | None) -> bool:
        """True while it takes tasks, or would if somebody renewed it."""
        return session_id in self._open

    def live_tasks(self, session_id: str) -> list[int]:
        """Ids of a session's tasks that haven't ended: derived from the rows, never counted."""
        return [row.id for row in self._live.values() if row.session_id == session_id]

    def _found(self, caller: Caller, wanted: NewSession) -> SessionRow | None:
        """The open session that an order means; one of an earlier allocation isn't it."""
        for found in self._open.values():
            if wanted.key is None or (found.owner, found.key) != (caller.name, wanted.key):
                continue
            return None if outlived(found, wanted, self._clock.now()) else found
        return None

    # -- what happens in a turn of the loop ----------------------------------------

    def enter(self, session_id: str, ledger: Ledger, now: Instant) -> SessionRow | RequestRefused:
        """Let a task, or a hold, into a session that was usable when it was asked for.

        Returns it as it is now (its end may have moved), or why not: it was closed meanwhile.
        One that was lost meanwhile is found again.
        """
        found = self._found_again(session_id, ledger, now)
        return found if isinstance(found, RequestRefused) else found.session

    def _make_room(
        self,
        caller: Caller,
        wanted: NewSession,
        by: Caller | None,
        ledger: Ledger,
        now: Instant,
    ) -> RequestRefused | None:
        """End what the new session takes the place of; or why there can't be one."""
        job = wanted.slurm
        service = by is not None and by.has(Role.SERVICE)
        for other in list(self._open.values()):
            named = (other.owner, other.key) == (caller.name, wanted.key)
            if job is not None and wanted.kind == SLURM == other.kind and job.same_job(other.slurm):
                refusal = job_taken(job, other, caller, service)
                if refusal is not None:
                    return refusal
            elif wanted.key is None or not named:
                continue
            why = "its allocation is over" if job is None else f"Slurm job {job} takes its place"
            self._end(other.id, self.rules.on_end, why, ledger, now)
            for one in of_its_job(other, self._open.values()):
                self._end(one.id, self.rules.on_end, why, ledger, now)
        return None

    async def _moved(
        self, session: SessionRow, wanted: NewSession, by: Caller | None
    ) -> SessionRow:
        """The session, with the end that a service says its job's allocation has now.

        Raises RequestRefused for an end that is past.
        """
        ends_at = wanted.end(self._clock.now())
        before = session.ends_at
        trusted = by is not None and by.has(Role.SERVICE) and session.kind == SLURM
        if not trusted or ends_at is None or _about(ends_at, before, SAME_END_US):
            return session
        self._refuse_past(ends_at, wanted)

        def move(ledger: Ledger, now: Instant) -> list[SessionRow] | RequestRefused:
            entered = self.enter(session.id, ledger, now)
            if isinstance(entered, RequestRefused):
                return entered
            _record(ledger, now, "SessionOpenedFor", session, by, ends_at=ends_at)
            its = [one for one in of_its_job(session, self._open.values()) if one.id != session.id]
            with_it = [one for one in its if _about(one.ends_at, before, SAME_ALLOCATION_US)]
            return [self._move(one, ends_at, ledger, now) for one in (session, *with_it)]

        moved = await self._loop.run(move)
        if isinstance(moved, RequestRefused):
            raise moved
        for one in moved:
            self.watch.look_again(one)
        return moved[0]

    def _move(
        self, session: SessionRow, ends_at: Instant, ledger: Ledger, now: Instant
    ) -> SessionRow:
        moved = self._open[session.id] = replace(self._open[session.id], ends_at=ends_at)
        ledger.changes.append(MoveSession(session.id, ends_at))
        ledger.record("SessionMoved", {"from": session.ends_at, "ends_at": ends_at}, now, session)
        self.tasks.move_end(moved, ledger, now)
        return moved

    def _refuse_past(self, ends_at: Instant | None, wanted: NewSession) -> None:
        if ends_at is not None and ends_at <= self._clock.now():
            raise RequestRefused(
                "the session's allocation has ended already",
                where="ends_at" if wanted.ends_in_s is None else "ends_in_s",
                expected="an instant to come, on the manager's clock",
                next_step="open it in an allocation that has time left",
            )

    async def _back(self, session: SessionRow) -> SessionRow:
        return (await self._regain(session)).session

    async def _regain(self, session: SessionRow) -> Renewal:
        """Renew a session; if it was lost, what that held goes on."""
        self.watch.heard(session.id)
        if session.lost_at is None:
            return Renewal(session)

        def regain(ledger: Ledger, now: Instant) -> Renewal | RequestRefused:
            return self._found_again(session.id, ledger, now)

        renewal = await self._loop.run(regain)
        if isinstance(renewal, RequestRefused):
            raise renewal
        self.watch.heard(session.id)
        self.watch.look_again(renewal.session)
        return renewal

    def _found_again(
        self, session_id: str, ledger: Ledger, now: Instant
    ) -> Renewal | RequestRefused:
        """An open session, and no longer lost; or that it was closed a moment ago."""
        found = self._open.get(session_id)
        if found is None:
            return RequestRefused(
                f"session {session_id} was closed a moment ago",
                where="session",
                next_step="open a new one",
            )
        if found.lost_at is None:
            return Renewal(found)
        self._open[session_id] = replace(found, lost_at=None)
        ledger.changes.append(MarkSession(session_id, None))
        freed = self.tasks.release(session_id, ledger, now)
        ledger.record("SessionRegained", {"released": freed}, now, found)
        self.watch.heard(session_id)
        self.watch.look_again(self._open[session_id])
        return Renewal(self._open[session_id], was_lost=True, released=tuple(freed))

    def _lose(self, session: SessionRow, ledger: Ledger, now: Instant) -> None:
        fate = session.on_lost or self.rules.on_lost
        lost = replace(session, lost_at=now)
        self._open[session.id] = lost
        ledger.changes.append(MarkSession(session.id, now))
        ledger.record("SessionLost", {"tasks": fate.value}, now, session)
        self.holds.drop(session, ledger, now)
        if fate is not TaskFate.FINISH:
            self.tasks.meet(session.id, fate, when_lost(lost), ledger, now)

    def _end(
        self, session_id: str, fate: TaskFate | None, why: str, ledger: Ledger, now: Instant
    ) -> None:
        """Close one that is open. `fate`: None: what the site says when its owner closes it."""
        session = self._open.pop(session_id, None)
        if session is None:
            return
        fate = fate or self.rules.on_close
        self.watch.forget(session_id)
        ledger.changes.append(CloseSession(session_id, now, why))
        said = {"tasks": fate.value, "because": why}
        ledger.record("SessionClosed", said, now, session)
        self.holds.drop(session, ledger, now)
        words = when_ended(session, why, now) if why else when_closed(session, now)
        self.tasks.meet(session_id, fate, words, ledger, now)

    async def _run_out(self, session: SessionRow, what: RunsOut) -> None:
        """Something of a session has run out. Looked at again in the turn that decides."""
        if what is RunsOut.IDLE and await self._has_been_busy(session):
            return

        def decide(ledger: Ledger, now: Instant) -> None:
            found = self._open.get(session.id)
            deadline = None if found is None else self.watch.next_of(found)
            if found is None or deadline is None or deadline.at > now or deadline.what is not what:
                return
            if what is RunsOut.IDLE and self.tasks.any_of(session.id, ledger):
                self.watch.active(session.id, now)  # one came in after we had looked
            elif what is RunsOut.LEASE:
                self._lose(found, ledger, now)
            else:
                self._end(found.id, self.rules.on_end, _WHY[what], ledger, now)

        await self._loop.run(decide)

    async def _has_been_busy(self, session: SessionRow) -> bool:
        """True if it had a task since its idle time seemed to begin, which begins later then."""
        if self.live_tasks(session.id):
            self.watch.active(session.id, self._clock.now())
            return True
        latest_at = (await self._store.session_totals([session.id]))[session.id].latest_at
        self.watch.active(session.id, latest_at or 0)
        deadline = self.watch.next_of(session)
        return deadline is None or deadline.at > self._clock.now()


def _about(one: Instant | None, other: Instant | None, most_us: int) -> bool:
    return one is not None and other is not None and abs(one - other) <= most_us


_WHY = {
    RunsOut.GRACE: "nobody renewed its lease",
    RunsOut.IDLE: "it had no task for too long",
    RunsOut.LIFETIME: "its lifetime is over",
    RunsOut.ALLOCATION: "its allocation has ended",
}


def _record(
    ledger: Ledger,
    now: Instant,
    what: str,
    session: SessionRow,
    by: Caller | None,
    **about: object,
) -> None:
    """Note what a service did for somebody."""
    if by is not None and by.name != session.owner:
        words = {"session": session.id, "user": session.owner, **about}
        ledger.record(what, {**who_of(by), **words}, now)
