"""Who has a PostgreSQL store's lock, as the database's own tables know it."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from qpu_executor.manager.store.postgresql_patience import PatientConnection

LOCK = "qpu manager"
"""What the lock's session calls itself, before host and process."""

CLASS = 0x51505545
"""'QPUE': tells our lock from others. Its second number stands for the schema."""

_HOLDER = f"""
SELECT l.pid, a.backend_start, a.application_name,
  date_trunc('second', a.backend_start AT TIME ZONE 'UTC')::text
FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.classid = {CLASS}
  AND l.objid = (hashtext(current_schema())::bigint & 4294967295)::oid
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has the lock, in words.

    `ended`: that process is gone; its session will be, as soon as the database notices.
    `backend`, `backend_start`: the session's, None where the database doesn't say.
    """

    who: str
    ended: bool = False
    backend: int | None = None
    backend_start: object = None

    def is_session(self, backend: int, backend_start: object) -> bool:
        """True for that session; what just ends may have no `backend_start` any more."""
        return self.backend == backend and self.backend_start in (backend_start, None)


def session_name(role: str) -> str:
    """What this process's sessions call themselves; PostgreSQL cuts after 63 bytes."""
    return f"{role} {_host()}:{os.getpid()}"


def find_holder(session: PatientConnection) -> Holder | None:
    """None if nobody has the lock. Raises psycopg.Error."""
    row = session.execute(_HOLDER.encode()).fetchone()
    if row is None:
        return None
    backend, backend_start, name, since = row
    if name is None:
        return Holder("another session of the database", False, backend, backend_start)
    name = str(name).removeprefix(f"{LOCK} ")
    host, _, pid = name.rpartition(":")
    ours = bool(host) and pid.isdigit()
    return Holder(
        f"{f'process {pid} on {host}' if ours else name} since {since} UTC",
        ended=ours and host == _host() and not _is_there(int(pid)),
        backend=backend,
        backend_start=backend_start,
    )


def _host() -> str:
    return socket.gethostname()[:20]


def _is_there(pid: int) -> bool:
    """False where we see no such process; it may still be there, in another container."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
