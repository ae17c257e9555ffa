"""Who did what as an operator or a service, who was turned away: read from the journal.

There is no second record: each row was written in the transaction of what it tells, by the
manager, which is the only one that writes the store. A row that says nothing of its outcome
tells what was done; what was refused has a row of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qpu_executor.manager.auth.caller import Caller
from qpu_executor.manager.store.base import Store
from qpu_executor.manager.store.records import JournalRow
from qpu_executor.model.values import Instant

_WHAT = {
    "TokenIssued": "issue token",
    "TokenRevoked": "revoke token",
    "SessionOpenedFor": "open session",
    "SessionClosedFor": "close session",
}
"""What rows that don't say it in a word of their own tell."""

_OF_SERVICES = frozenset({"SessionOpenedFor", "SessionClosedFor"})
_WHO = frozenset({"who", "uid", "how", "origin", "what", "outcome"})

DONE = "done"
PAGE = 1000
MOST_PAGES = 20
"""Pages that are looked through for one answer."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """`who`: a user's name; None where nobody knows. `how`, `origin`: what proved it, and from
    where. `role`: the one that was needed. `about`: on whom or what. `outcome`: `done`, or why
    it was refused.
    """

    n: int
    at: Instant
    who: str | None
    uid: int | None
    how: str
    origin: str
    role: str | None
    what: str
    about: Mapping[str, object] = field(default_factory=dict)
    outcome: str = DONE


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """`before`: entries with a smaller number. `since`: not before this instant."""

    before: int | None = None
    since: Instant = 0
    by: str | None = None
    what: str | None = None
    limit: int = 100


def who_of(caller: Caller) -> dict[str, object]:
    """A caller as a journal row names it."""
    return {
        "who": caller.name,
        "uid": caller.uid,
        "how": caller.how,
        "origin": caller.origin,
    }


def entry_of(row: JournalRow) -> AuditEntry:
    """What a journal row tells."""
    data = row.data
    who, uid = data.get("who"), data.get("uid")
    return AuditEntry(
        n=row.n,
        at=row.at,
        who=None if who is None else str(who),
        uid=uid if isinstance(uid, int) else None,
        how=str(data.get("how", "")),
        origin=str(data.get("origin", "")),
        role=_role(row),
        what=_WHAT.get(row.kind) or str(data.get("what", row.kind)),
        about={name: value for name, value in data.items() if name not in _WHO},
        outcome=str(data.get("outcome", DONE)),
    )


async def read_audit(store: Store, which: AuditFilter) -> tuple[list[AuditEntry], int | None]:
    """Entries, the newest first; and the number to go on before, None where that was all."""
    found: list[AuditEntry] = []
    before = which.before
    for _ in range(MOST_PAGES):
        rows = await store.audit(before, which.since, PAGE)
        for row in rows:
            entry = entry_of(row)
            if which.by in (None, entry.who) and which.what in (None, entry.what):
                found.append(entry)
                if len(found) == which.limit:
                    return found, entry.n
        if len(rows) < PAGE:
            return found, None
        before = rows[-1].n
    return found, before


def _role(row: JournalRow) -> str | None:
    """The role without which it would have been refused."""
    if row.kind == "OperatorAsked":
        return "operator"
    if row.kind == "Pruned":
        return None if row.data.get("how") == "retention" else "operator"
    if row.kind in _OF_SERVICES:
        return "service"
    of_others = row.data.get("user") != row.data.get("who") or row.data.get("roles")
    return "operator" if row.kind in ("TokenIssued", "TokenRevoked") and of_others else None
