"""Who may use which job class, and have which account charged.

What the site file says nothing about is open to everybody. Operators may use every class
and every account.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qpu_executor.errors import NotAllowed
from qpu_executor.manager.auth.caller import Caller, Role
from qpu_executor.manager.auth.roles import Members
from qpu_executor.nearest import did_you_mean


@dataclass(frozen=True, slots=True)
class Rights:
    """`classes`: members of those classes that aren't open to all. `accounts`: of every
    account in the site file, None where it is open to all. `listed_only`: other accounts
    than these can't be charged.
    """

    classes: Mapping[str, Members] = field(default_factory=dict)
    accounts: Mapping[str, Members | None] = field(default_factory=dict)
    listed_only: bool = False

    def may_use(self, caller: Caller, job_class: str) -> bool:
        """True if the caller may submit tasks of a class."""
        members = self.classes.get(job_class)
        return members is None or caller.has(Role.OPERATOR) or members.include(caller)

    def refuse_class(self, caller: Caller, job_class: str) -> None:
        """Raises NotAllowed where the caller may not use a class."""
        if not self.may_use(caller, job_class):
            raise NotAllowed(
                f"{caller.name} may not use job class {job_class!r}",
                where="job_class",
                next_step="see `qpu info --classes`, or ask the site's operators for it",
            )

    def account(self, caller: Caller, wanted: str | None) -> str:
        """The account to charge: the one that is wanted, or the caller's.

        The caller's is the one account that has them as a member; where there is none,
        one of their own name. Raises NotAllowed for one that they may not charge, and
        where they have to say which.
        """
        own = self._own(caller)
        if wanted is not None:
            self._refuse(caller, wanted, own)
            return wanted
        if len(own) == 1:
            return own[0]
        if caller.name in own or (not own and self._open_to(caller, caller.name)):
            return caller.name
        if own:
            raise NotAllowed(
                f"{caller.name} may charge several accounts",
                where="account",
                expected=f"one of {', '.join(own)}",
                next_step="say which: `--account`, or `account=` in Python and profiles",
            )
        raise NotAllowed(
            f"{caller.name} may charge no account here",
            where="account",
            next_step="ask the site's operators to make you a member of one",
        )

    def _own(self, caller: Caller) -> list[str]:
        """Accounts that name the caller as a member, in the site file's order."""
        return [name for name, one in self.accounts.items() if one and one.include(caller)]

    def _refuse(self, caller: Caller, name: str, own: list[str]) -> None:
        if name in own or caller.has(Role.OPERATOR) or self._open_to(caller, name):
            return
        raise NotAllowed(
            f"{caller.name} may not charge account {name!r}{did_you_mean(name, own)}",
            where="account",
            expected=f"one of {', '.join(own)}" if own else None,
            next_step="ask the site's operators to make you a member of it",
        )

    def _open_to(self, caller: Caller, name: str) -> bool:
        """An account without members is open to all; one that isn't listed, unless all are."""
        if name in self.accounts:
            return self.accounts[name] is None
        return not self.listed_only


OPEN = Rights()
"""Everybody may use everything."""
