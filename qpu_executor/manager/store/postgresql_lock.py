"""One manager per database: an advisory lock on a session of its own, kept alive.

PostgreSQL gives the lock back when that session ends: with the process, with the
connection (keepalives find out), and where the process hangs, since the session is ended
when it was idle for the length of the lease. A thread asks for a sign of life four times
as often. Whoever finds the session gone takes the lock again before anything else is
written; if another manager has it, this one is told that it is none any more.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg

from qpu_executor.errors import ManagerBusy, StoreError
from qpu_executor.manager.store import postgresql_errors as errors
from qpu_executor.manager.store.boottime import boottime_s
from qpu_executor.manager.store.database import taken_over
from qpu_executor.manager.store.postgresql_holder import CLASS, Holder, find_holder
from qpu_executor.manager.store.postgresql_patience import PatientConnection

log = logging.getLogger(__name__)

_TRY = f"SELECT pg_try_advisory_lock({CLASS}, hashtext(current_schema()))"

_IDLE = """
SELECT set_config('idle_session_timeout', %s, false)
FROM pg_settings WHERE name = 'idle_session_timeout'
"""
"""PostgreSQL 14 and later; before, only a lost connection ends a hanging manager's lock."""

_END_OLD_SESSION = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE pid = %s AND backend_start = %s
"""

_END_WRITERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user
  AND starts_with(application_name, 'qpu writer ' || left(current_schema(), 20) || ' ')
"""

_LET_GO_S = 10.0
"""How long a close waits for the database to say that the lock is free."""

_ENDING_S = 5.0
"""How long we wait for the database to notice that the holder of the lock is gone."""

_AGAIN_S = 0.05


class AdvisoryLock:
    """`connect`: a new session, in autocommit mode. `lease_s`: after which silence it is ended."""

    def __init__(
        self, connect: Callable[[], PatientConnection], lease_s: float, where: str
    ) -> None:
        self._connect = connect
        self._lease_s = lease_s
        self._where = where
        self._mutex = threading.Lock()
        self._session: PatientConnection | None = None
        self._identity: tuple[Any, ...] | None = None
        self._confirmed_s = 0.0
        self._doubted = False
        self._gone: StoreError | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._tell: Callable[[StoreError], None] = lambda error: None

    def acquire(self) -> str | None:
        """Take the lock, and keep it. None, or who holds it since when.

        Waits for nobody who may still be there; for one that is gone, whose session the
        database is about to end, a few seconds.

        Raises psycopg.Error where the database doesn't answer.
        """
        with self._mutex:
            if self._session is None:
                session = self._connect()
                try:
                    holder = self._take(session)
                except BaseException:
                    session.close()
                    raise
                if holder is not None:
                    session.close()
                    return holder.who
            elif self._thread is not None:
                return None
        self._ended.clear()
        self._thread = threading.Thread(target=self._keep, name="store-lock", daemon=True)
        self._thread.start()
        return None

    def release(self) -> None:
        """Let go: nothing of ours writes any more. May be called twice.

        The database ends a session some time after it was closed; so that the next one gets
        the lock at once, it is given back first, where the database answers.
        """
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        with self._mutex:
            if self._session is not None:
                if not self._doubted:
                    self._unlock(self._session)
                self._session.close()
                self._session = None

    def on_loss(self, tell: Callable[[StoreError], None]) -> None:
        """Call `tell` in the keeping thread when the lock has gone to somebody else."""
        self._tell = tell

    def doubt(self) -> None:
        """A connection to the database broke: this one may have as well."""
        self._doubted = True

    @property
    def fresh(self) -> bool:
        """True while nobody else can have the lock: the session can't have been ended yet.

        Only the session itself says so. That a write went in doesn't keep it alive.
        """
        return boottime_s() - self._confirmed_s < self._lease_s / 2

    def ensure(self) -> None:
        """Have the lock, if need be anew.

        Raises ManagerBusy where the database doesn't answer, StoreError where another has it.
        """
        if self._gone is not None:
            raise self._gone
        if self.fresh and not self._doubted and self._session is not None:
            return
        with self._mutex:
            self._check_or_retake()

    def holder(self) -> str | None:
        """Who has the lock since when; None if nobody has. Raises psycopg.Error."""
        with self._connect() as session:
            found = find_holder(session)
            return None if found is None else found.who

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement on the lock's session."""
        with self._mutex:
            assert self._session is not None
            return self._session.execute(statement.encode()).fetchall()

    def end_former_writers(self) -> None:
        """End the sessions with which a former manager, of the same role, may still write."""
        with self._mutex:
            assert self._session is not None
            self._session.execute(_END_WRITERS)

    def _keep(self) -> None:
        """The thread: a sign of life from time to time."""
        while not self._ended.wait(self._lease_s / 4):
            with self._mutex:
                try:
                    self._check_or_retake()
                except ManagerBusy as error:
                    log.warning("the store's lock can't be looked after: %s", error)
                except StoreError as error:
                    self._tell(error)
                    return
                except Exception:
                    # Without this thread the lease would run out, and nobody be told.
                    log.exception("the store's lock can't be looked after")

    def _check_or_retake(self) -> None:
        began_s = boottime_s()
        try:
            if self._session is not None:
                try:
                    self._session.execute("SELECT 1")
                    self._doubted = False
                    self._confirmed_s = began_s
                    return
                except psycopg.Error:
                    self._session.close()
                    self._session = None
            session = self._connect()
            try:
                if self._identity is not None:
                    session.execute(_END_OLD_SESSION, self._identity[:2])
                holder = self._take(session)
            except BaseException:
                session.close()
                raise
        except psycopg.Error as error:
            raise errors.translate(error, self._where) from None
        if holder is None:
            log.warning("the connection that holds the store's lock broke; it was taken again")
            return
        session.close()
        if self._identity is not None and holder.is_session(*self._identity[:2]):
            raise ManagerBusy(
                "the database hasn't noticed yet that the former connection is gone",
                where=self._where,
            )
        self._gone = taken_over(f"its lock is held by {holder.who}", self._where)
        raise self._gone

    def _take(self, session: PatientConnection) -> Holder | None:
        """None, or who has the lock and may well keep it; a while later: or has ended."""
        until_s = time.monotonic() + _ENDING_S
        while not self._try(session):
            holder = find_holder(session)
            if (holder is not None and not holder.ended) or time.monotonic() > until_s:
                return holder or Holder("another session of the database")
            time.sleep(_AGAIN_S)
        return None

    def _try(self, session: PatientConnection) -> bool:
        began_s = boottime_s()
        row = session.execute(_TRY.encode()).fetchone()
        if row is None or not row[0]:
            return False
        session.execute(_IDLE, (f"{max(1, round(self._lease_s * 1000))}ms",))
        self._identity = session.execute(
            "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        ).fetchone()
        self._session, self._doubted, self._confirmed_s = session, False, began_s
        return True

    def _unlock(self, session: PatientConnection) -> None:
        session.answer_s = _LET_GO_S
        with suppress(psycopg.Error):  # then it goes with the session
            session.execute("SELECT pg_advisory_unlock_all()")
