"""The caller: the result of every kind of authentication."""

from __future__ import annotations

import pwd
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """`name`: the user that owns what this caller submits. `how`: what proved it."""

    name: str
    uid: int
    how: str


def caller_of_uid(uid: int, how: str) -> Caller:
    """The caller with a uid of this host; a uid without a name is `uid-1234`."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid-{uid}"
    return Caller(name, uid, how)
