"""The store's file, looked at without opening it as a store: that would migrate it."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
from collections.abc import Iterable
from pathlib import Path

from qpu_executor.cli.doctor.finding import Finding, ok, warning, wrong


def store_file(path: Path) -> Iterable[Finding]:
    """Whether it is a database, whose it is, and whether a manager has it."""
    if not path.exists():
        yield ok("store", f"{path} will be made")
        return
    found = path.stat()
    if found.st_uid != os.geteuid() and os.geteuid() != 0:
        yield wrong("store", f"{path} belongs to uid {found.st_uid}", f"chown $USER {path}*")
        return
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield warning("store", f"others can open {path}", f"chmod 600 {path}*")
    try:
        with sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1) as base:
            base.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        yield wrong(
            "store",
            f"{path} can't be read: {error}",
            f"put a backup in its place, or move it away: mv {path} {path}.damaged",
        )
        return
    finally:
        if "base" in locals():
            base.close()
    yield ok("store", f"{path} is a database" + (", in use by a manager" if _held(path) else ""))


def _held(path: Path) -> bool:
    """True if a process has the store's lock. Takes it for a moment where none has."""
    try:
        lock = os.open(f"{path}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False
