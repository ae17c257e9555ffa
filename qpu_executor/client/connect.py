"""`connect()` and `aconnect()`: from "which manager?" to a client that has said hello.

The argument, else $QPU_MANAGER, else an embedded manager that this process owns.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

from qpu_executor.client import embedded
from qpu_executor.client.address import Address, parse_address
from qpu_executor.client.async_client import AsyncClient
from qpu_executor.client.client import Client
from qpu_executor.client.credentials import credentials_of
from qpu_executor.errors import ConfigError, QpuExecutorError

VARIABLE = "QPU_MANAGER"
SESSION_VARIABLE = "QPU_SESSION"


@dataclass(frozen=True, slots=True)
class _Manager:
    """Where the manager is, whether it is known to be gone, and how to let go of it."""

    address: Address
    ended: Callable[[], QpuExecutorError | None]
    release: Callable[[], None]


def connect(
    manager: str | None = None,
    *,
    session: str | None = None,
    wait_s: float = 300.0,
    directory: Path | None = None,
    site: Path | None = None,
) -> Client:
    """A client of `manager`: a URL, else $QPU_MANAGER, else an embedded manager.

    `session`: id of the session that submissions belong to; None: $QPU_SESSION, where the
    manager is that of $QPU_MANAGER. `wait_s`: how long an
    unreachable manager is waited for in all (nothing runs twice meanwhile).
    `directory`: where an embedded manager keeps its store and its log; all
    connections of a process with the same directory share one manager.
    `site`: the site file that an embedded manager is started with (None: one emulated QPU).

    Raises ConfigError for a bad URL, ManagerUnreachable if no manager of ours
    answers, OperatorError if an embedded one can't be started.
    """
    found = _find(manager, wait_s, directory, site)
    client = Client(
        found.address,
        session=default_session(session, manager),
        wait_s=wait_s,
        credentials=credentials_of(os.environ),
        ended=found.ended,
        on_close=found.release,
    )
    return client.start()


async def aconnect(
    manager: str | None = None,
    *,
    session: str | None = None,
    wait_s: float = 300.0,
    directory: Path | None = None,
) -> AsyncClient:
    """`connect()` for the running event loop."""
    found = await asyncio.to_thread(_find, manager, wait_s, directory)
    client = AsyncClient(
        found.address,
        session=default_session(session, manager),
        wait_s=wait_s,
        credentials=credentials_of(os.environ),
        ended=found.ended,
        on_close=found.release,
    )
    return await client.start()


def default_session(session: str | None, manager: str | None) -> str | None:
    """The one that is named, else $QPU_SESSION, which belongs to the manager of $QPU_MANAGER."""
    environ = os.environ
    if session is not None or (manager is not None and manager != environ.get(VARIABLE)):
        return session
    return environ.get(SESSION_VARIABLE) or None if environ.get(VARIABLE) else None


_shared: WeakValueDictionary[tuple[int, str], Client] = WeakValueDictionary()
"""By process and URL. Handles keep what they use; the last one takes its client along."""
_sharing = threading.Lock()


def _free_in_child() -> None:
    """Of the threads that a fork leaves behind one may have had the lock."""
    global _sharing
    _sharing = threading.Lock()


os.register_at_fork(after_in_child=_free_in_child)


def shared_client(url: str) -> Client:
    """This process's client for handles that came here from elsewhere.

    Raises as `connect()` does.
    """
    key = (os.getpid(), url)
    with _sharing:
        found = _shared.get(key)
        if found is None or found.closed:
            found = _shared[key] = connect(url)
        return found


def _find(
    manager: str | None, wait_s: float, directory: Path | None, site: Path | None = None
) -> _Manager:
    if not wait_s >= 0:
        raise ConfigError(f"wait_s={wait_s!r} is no time to wait", expected="seconds, 0 or more")
    where = "manager"
    if manager is None:
        manager, where = os.environ.get(VARIABLE) or None, f"${VARIABLE}"
    if manager is not None:
        return _Manager(parse_address(manager, where=where), lambda: None, lambda: None)
    child = embedded.acquire(directory, site)
    return _Manager(parse_address(child.url), child.ended, lambda: embedded.release(child))
