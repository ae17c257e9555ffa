"""The caller: the result of every kind of authentication."""

from __future__ import annotations

import enum
import pwd
from dataclasses import dataclass, field


class Role(enum.Enum):
    """What a caller may do besides using the QPUs for themselves."""

    OPERATOR = "operator"
    """Steers the queue and the QPUs: drain, calibrate, requeue, windows, reload, tokens."""
    SERVICE = "service"
    """Opens and closes sessions for other users: a Slurm prolog, a portal."""


@dataclass(frozen=True, slots=True)
class Caller:
    """`name`: the user that owns what this caller submits. `how`: what proved it.

    `uid`: of the user where the proof has one. `roles`: None until the site's rules
    (`Roles`) were asked; a proof that carries its roles (a token) is not asked about.
    `origin`: the host that asked, for the record; empty where that isn't known.
    """

    name: str
    uid: int | None
    how: str
    roles: frozenset[Role] | None = None
    origin: str = field(default="", compare=False)

    def has(self, role: Role) -> bool:
        """True if this caller has the role."""
        return role in (self.roles or ())


def caller_of_uid(uid: int, how: str) -> Caller:
    """The caller with a uid of this host; a uid without a name is `uid-1234`."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid-{uid}"
    return Caller(name, uid, how)


def uid_of_name(name: str) -> int | None:
    """The other way round: the uid that `caller_of_uid` would name so; None if there is none."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        digits = name.removeprefix("uid-")
        return int(digits) if digits != name and digits.isdecimal() else None
