"""What PostgreSQL's errors mean to a manager: by class and SQLSTATE, never by their words.

Their details and parameters may hold a user's program or counts, and stay unsaid.
"""

from __future__ import annotations

import psycopg
from sqlalchemy.exc import DBAPIError

from qpu_executor.errors import ManagerBusy, QpuExecutorError, StoreError

_MAY_PASS = {
    "08": "the connection to the database broke",
    "25P03": "the database ended a transaction that took too long",
    "25006": "the database takes no writes (is it a standby?)",
    "28": "the database doesn't let us in",
    "40": "the database gave up a transaction",
    "53100": "the database's disk is full",
    "53": "the database has too little left",
    "54": "the database is at a limit",
    "55P03": "something keeps the store locked",
    "55": "the database can't do it now",
    "57014": "the database took too long",
    "57": "the database stops or starts",
    "58": "the database's machine has a problem",
}
"""By SQLSTATE or its class (https://www.postgresql.org/docs/current/errcodes-appendix.html)."""

_DAMAGE = {"XX001", "XX002", "42P01", "42703"}
"""Corrupted data or index; a table or column of the schema that isn't there."""

RESTORE = "restore a backup of the database (see docs/operations/backup.md)"


def cause_of(error: Exception) -> Exception:
    """The driver's error."""
    orig = error.orig if isinstance(error, DBAPIError) else None
    return orig if isinstance(orig, Exception) else error


def connection_lost(error: Exception) -> bool:
    """True where the error says that the connection is gone.

    The driver's own are operational errors without SQLSTATE, or the use of a closed connection.
    """
    cause = cause_of(error)
    state = getattr(cause, "sqlstate", None)
    if isinstance(cause, psycopg.OperationalError):
        return state is None or (state[:2] in ("08", "57") and state != "57014") or state == "25P03"
    return isinstance(cause, psycopg.InterfaceError)


def translate(error: Exception, where: str) -> QpuExecutorError:
    """ManagerBusy where it may pass, else StoreError."""
    cause = cause_of(error)
    state = getattr(cause, "sqlstate", None) or ""
    said = what(cause)
    if state in _DAMAGE:
        return damaged(said, where)
    meaning = _MAY_PASS.get(state) or _MAY_PASS.get(state[:2])
    if meaning is None and connection_lost(error):
        meaning = "the database can't be reached"
    if meaning is not None or isinstance(cause, psycopg.OperationalError):
        return ManagerBusy(
            f"{meaning or 'the database refuses'} ({said})",
            where=where,
            next_step="try again; operators: look at the database's log",
        )
    return StoreError(
        f"the store refuses this ({said})",
        where=where,
        next_step="report this: the manager asked its store for the impossible",
    )


def damaged(said: str, where: str) -> StoreError:
    """The error for content that can't be ours as it is."""
    return StoreError(f"the store is damaged: {said}", where=where, next_step=RESTORE)


def what(cause: Exception) -> str:
    """What happened in one line, without values."""
    if isinstance(cause, psycopg.Error):
        primary = cause.diag.message_primary
        lines = str(cause).strip().splitlines()
        return primary or (lines[0] if lines else type(cause).__name__)
    return type(cause).__name__
