"""Bearer tokens: issued, listed and revoked. Each of it is on record, the token never is."""

from __future__ import annotations

import pwd
from dataclasses import dataclass

from qpu_executor.errors import NotAllowed, RequestRefused
from qpu_executor.manager.auth.base import KnownToken
from qpu_executor.manager.auth.caller import Caller, Role
from qpu_executor.manager.auth.token import digest_of, new_token
from qpu_executor.manager.service.audit import who_of
from qpu_executor.manager.service.ledger import Ledger
from qpu_executor.manager.service.manager import Manager
from qpu_executor.manager.store.base import Store
from qpu_executor.manager.store.change_records import AddToken, RevokeToken
from qpu_executor.manager.store.records import TokenRow
from qpu_executor.model.timing import after
from qpu_executor.model.values import Instant


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a token is asked for. `user`: None for the caller's own name.

    `valid_s`: seconds until it expires.
    """

    user: str | None
    roles: frozenset[Role]
    valid_s: float
    note: str = ""


class Tokens:
    """A caller's view of the tokens: their own; an operator's: everybody's."""

    def __init__(self, manager: Manager, caller: Caller) -> None:
        self._manager = manager
        self._caller = caller

    async def issue(self, wanted: Wanted) -> tuple[str, TokenRow]:
        """A new token, which is shown this once, and its row.

        Raises NotAllowed for another user's token, or for roles, if the caller is no
        operator; for a caller that proved itself with a token, always: a stolen token
        must not make others that outlive it.
        """
        caller = self._caller
        if caller.how.startswith("token "):
            raise NotAllowed(
                "a token can't issue tokens",
                next_step="issue it from the manager's host, or with MUNGE",
            )
        user = wanted.user or caller.name
        if not caller.has(Role.OPERATOR) and (user != caller.name or wanted.roles):
            raise NotAllowed(
                f"{caller.name} is no operator, and may issue tokens for {caller.name} alone, "
                "without roles",
                next_step="ask the site's operators",
            )
        text, token_id = new_token()
        uid = _uid_of(user)
        roles = tuple(sorted(role.value for role in wanted.roles))
        made: list[TokenRow] = []

        def change(ledger: Ledger, now: Instant) -> None:
            expires_at = after(now, wanted.valid_s)
            row = TokenRow(
                id=token_id,
                digest=digest_of(text),
                user=user,
                uid=uid,
                roles=roles,
                note=wanted.note,
                issued_by=caller.name,
                issued_at=now,
                expires_at=expires_at,
            )
            made.append(row)
            ledger.changes.append(AddToken(row))
            self._record(ledger, now, "TokenIssued", token_id, user=user, roles=list(roles))

        await self._manager.loop.run(change)
        return text, made[0]

    async def listed(self) -> list[TokenRow]:
        """The caller's tokens; an operator's view has everybody's. Oldest first."""
        found = await self._manager.store.tokens()
        if self._caller.has(Role.OPERATOR):
            return found
        return [row for row in found if row.user == self._caller.name]

    async def revoke(self, token_id: str) -> TokenRow:
        """End a token now. Revoking it again changes nothing."""
        row = next((one for one in await self.listed() if one.id == token_id), None)
        if row is None:
            raise RequestRefused(
                f"there is no token {token_id!r} of {self._caller.name}",
                where="token",
                next_step="see `qpu token list`",
            )

        def change(ledger: Ledger, now: Instant) -> None:
            ledger.changes.append(RevokeToken(token_id, now))
            self._record(ledger, now, "TokenRevoked", token_id, user=row.user)

        await self._manager.loop.run(change)
        return await self._manager.store.token(token_id) or row

    def _record(
        self, ledger: Ledger, now: Instant, what: str, token_id: str, **about: object
    ) -> None:
        ledger.record(what, {**who_of(self._caller), "token": token_id, **about}, now)


async def known_token(store: Store, token_id: str) -> KnownToken | None:
    """A stored token as authentication sees it."""
    row = await store.token(token_id)
    if row is None:
        return None
    return KnownToken(
        id=row.id,
        digest=row.digest,
        user=row.user,
        uid=row.uid,
        roles=frozenset(Role(name) for name in row.roles),
        expires_at=row.expires_at,
        revoked=row.revoked_at is not None,
    )


def _uid_of(user: str) -> int | None:
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return None
