"""What a caller may know of others: the site's choice, asked wherever an answer is made.

Programs, counts, names, keys and sessions of a task are its owner's whatever the site
says; this is about the rest: that there is a task, whose it is, and what it costs.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from qpu_executor.scheduling.fair_share import ShareView


class Privacy(enum.StrEnum):
    """What users are shown of others' tasks. Operators are shown all of it."""

    OPEN = "open"
    """Number, owner, class, shots and state of every task that waits or runs."""
    ANONYMOUS = "anonymous"
    """The same without number and owner: one can count who goes before, and not name them."""
    OWN = "own"
    """How many there are; no row but one's own."""


def _nobody(session_id: str) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Sight:
    """What the caller `name` may know of others.

    `find_accounts`: accounts that the caller's own usage is charged to, and those above.
    `session_owner`: of an open session (None: there is none).
    """

    name: str
    privacy: Privacy = Privacy.ANONYMOUS
    operator: bool = False
    find_accounts: Callable[[], frozenset[str]] = field(default=frozenset)
    session_owner: Callable[[str], str | None] = field(default=_nobody)

    @property
    def everybody(self) -> bool:
        """True if the caller may know whose a task is."""
        return self.operator or self.privacy is Privacy.OPEN

    def names(self, owner: str) -> bool:
        """May the caller know that a task is this owner's?"""
        return self.everybody or owner == self.name

    def lists(self, owner: str) -> bool:
        """May the caller see that there is a task of this owner, if not whose?"""
        return self.names(owner) or self.privacy is Privacy.ANONYMOUS

    def knows_account(self, account: str) -> bool:
        """May the caller know of an account?"""
        return self.everybody or account in self.find_accounts()

    def knows_session(self, session_id: str) -> bool:
        """May the caller know of a session?"""
        return self.operator or self.session_owner(session_id) == self.name


def accounts_of(user: str, lines: Iterable[ShareView]) -> frozenset[str]:
    """Accounts with usage of a user, those above them, and the user's own."""
    lines = list(lines)
    parents = {one.account: one.parent for one in lines if one.user is None}
    found: set[str] = set()
    for start in (user, *(one.account for one in lines if one.user == user)):
        account: str | None = start
        while account is not None and account not in found:
            found.add(account)
            account = parents.get(account)
    return frozenset(found)
