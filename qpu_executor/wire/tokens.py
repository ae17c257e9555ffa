"""Bearer tokens on the wire (API v1)."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from qpu_executor.wire.tasks import USER_NAME, Answer, Request

DAY_S = 86_400.0


class TokenRequest(Request):
    """A token that is asked for. `user`: whom it is for; null: the caller.

    `roles`: `operator`, `service`. `valid_s`: seconds until it expires.
    """

    user: str | None = Field(default=None, pattern=USER_NAME)
    roles: list[str] = Field(default_factory=list, max_length=2)
    valid_s: float = Field(default=30 * DAY_S, ge=60, le=400 * DAY_S)
    note: str = Field(default="", max_length=200)


class TokenOut(Answer):
    """A token, without its secret."""

    id: str
    user: str
    roles: list[str]
    note: str
    issued_by: str
    issued_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class NewTokenOut(Answer):
    """A new token. `token` is shown this once: only its digest is kept."""

    token: str = Field(repr=False)
    about: TokenOut


class TokenList(Answer):
    """Tokens, oldest first."""

    tokens: list[TokenOut]
