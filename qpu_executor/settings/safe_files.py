"""Refuses files that somebody else could have written, or read where they mustn't.

Whoever writes the site file decides who operates the QPU, and whoever reads the TLS key
is the manager to everybody.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path

from qpu_executor.errors import ConfigError


def refuse_writable_by_others(path: Path, what: str) -> None:
    """Raises ConfigError unless only this user and root can write the file.

    A group may, if this user is alone in it (the private group that many systems make).
    """
    found = path.stat()
    if found.st_uid not in (0, os.geteuid()):
        raise ConfigError(
            f"the {what} {path} belongs to {_user(found.st_uid)}",
            where=str(path),
            expected=f"root or {_user(os.geteuid())}, which runs the manager",
            next_step=f"chown {_user(os.geteuid())} {path}",
        )
    if found.st_mode & stat.S_IWOTH or (
        found.st_mode & stat.S_IWGRP and not _private(found.st_gid, found.st_uid)
    ):
        raise ConfigError(
            f"others can write the {what} {path}", where=str(path), next_step=f"chmod go-w {path}"
        )


def refuse_readable_by_others(path: Path, what: str) -> None:
    """Raises ConfigError if others can read the file, or could have written it."""
    refuse_writable_by_others(path, what)
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"others can read the {what} {path}", where=str(path), next_step=f"chmod 600 {path}"
        )


def _private(gid: int, uid: int) -> bool:
    """True if this group is the user's own and has no other members."""
    try:
        user, group = pwd.getpwuid(uid), grp.getgrgid(gid)
    except KeyError:
        return False
    return user.pw_gid == gid and set(group.gr_mem) <= {user.pw_name}


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
