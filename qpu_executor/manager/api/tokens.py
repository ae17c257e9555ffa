"""Routes about bearer tokens."""

from __future__ import annotations

from fastapi import APIRouter

from qpu_executor.errors import RequestRefused
from qpu_executor.manager.api.context import Asked
from qpu_executor.manager.api.openapi import may_answer
from qpu_executor.manager.api.parameters import TokenId
from qpu_executor.manager.api.views import moment
from qpu_executor.manager.auth.caller import Role
from qpu_executor.manager.service.tokens import Tokens, Wanted
from qpu_executor.manager.store.records import TokenRow
from qpu_executor.nearest import did_you_mean
from qpu_executor.wire.tokens import NewTokenOut, TokenList, TokenOut, TokenRequest

router = APIRouter(prefix="/v1/tokens", tags=["tokens"])


@router.post("", responses=may_answer(403))
async def issue(asked: Asked, body: TokenRequest) -> NewTokenOut:
    """Issue a token: for oneself, or (operators) for anybody and with roles."""
    wanted = Wanted(body.user, frozenset(map(_role, body.roles)), body.valid_s, body.note)
    text, row = await Tokens(asked.manager, asked.caller).issue(wanted)
    return NewTokenOut(token=text, about=_out(row))


@router.get("")
async def listed(asked: Asked) -> TokenList:
    """The caller's tokens; everybody's for operators. The tokens themselves aren't kept."""
    rows = await Tokens(asked.manager, asked.caller).listed()
    return TokenList(tokens=[_out(row) for row in rows])


@router.post("/{token_id}/revoke")
async def revoke(asked: Asked, token_id: TokenId) -> TokenOut:
    """End a token now."""
    return _out(await Tokens(asked.manager, asked.caller).revoke(token_id))


def _role(name: str) -> Role:
    try:
        return Role(name)
    except ValueError:
        known = [role.value for role in Role]
        raise RequestRefused(
            f"there is no role {name!r}{did_you_mean(name, known)}",
            where="roles",
            expected=" or ".join(known),
        ) from None


def _out(row: TokenRow) -> TokenOut:
    return TokenOut(
        id=row.id,
        user=row.user,
        roles=list(row.roles),
        note=row.note,
        issued_by=row.issued_by,
        issued_at=moment(row.issued_at),
        expires_at=None if row.expires_at is None else moment(row.expires_at),
        revoked_at=None if row.revoked_at is None else moment(row.revoked_at),
    )
