"""Who is an operator, and who a service: by user or by group of this host."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass, replace

from qpu_executor.manager.auth.caller import Caller, Role


@dataclass(frozen=True, slots=True)
class Members:
    """Users and groups by name."""

    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()

    def include(self, caller: Caller) -> bool:
        """True if the caller is one of these users, or in one of these groups."""
        if caller.name in self.users:
            return True
        if not self.groups or caller.uid is None:
            return False
        return not self.groups.isdisjoint(_groups_of(caller.uid))


@dataclass(frozen=True, slots=True)
class Roles:
    """The site's rules. Root, and the user that the manager runs as, are operators too."""

    operators: Members = Members()
    services: Members = Members()

    def applied(self, caller: Caller) -> Caller:
        """The caller with the roles that it has."""
        if caller.roles is not None:
            return caller
        roles = set()
        if caller.uid in (0, os.getuid()) or self.operators.include(caller):
            roles.add(Role.OPERATOR)
        if caller.uid == 0 or self.services.include(caller):
            roles.add(Role.SERVICE)
        return replace(caller, roles=frozenset(roles))


def _groups_of(uid: int) -> set[str]:
    """Names of a user's groups, by this host's database (read anew: members change)."""
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return set()
    found = set()
    for gid in os.getgrouplist(user.pw_name, user.pw_gid):
        try:
            found.add(grp.getgrgid(gid).gr_name)
        except KeyError:
            continue
    return found
