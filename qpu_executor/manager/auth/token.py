"""Callers that prove themselves with a bearer token: `authorization: Bearer qpu_...`.

A token is `qpu_<id>_<secret>`; the secret has 256 random bits, so that its plain SHA-256
is as hard to turn round as it is to guess (a slow hash is for passwords, which people
choose). Only the digest is stored. Tokens expire and can be revoked.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from typing import Any

from qpu_executor.errors import ConfigError, NotAuthenticated
from qpu_executor.manager.auth.base import Place, Presented
from qpu_executor.manager.auth.caller import Caller

_FORM = re.compile(r"qpu_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")


def new_token() -> tuple[str, str]:
    """A token nobody has yet, and its id."""
    token_id = secrets.token_hex(6)
    return f"qpu_{token_id}_{secrets.token_urlsafe(32)}", token_id


def digest_of(token: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


class TokenAuthenticator:
    """Looks tokens up where the manager keeps them."""

    scheme = "Bearer"
    expects = "a bearer token (QPU_TOKEN, `qpu token issue`)"
    across_hosts = True

    def __init__(self, place: Place) -> None:
        self._place = place

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def caller_of(self, presented: Presented) -> Caller | None:
        """See `Authenticator`. A wrong token is refused in the same words, whatever is wrong."""
        scheme, _, rest = presented.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        token = rest.strip()
        form = _FORM.fullmatch(token)
        known = None if form is None else await self._place.find_token(form.group(1))
        if known is None or not hmac.compare_digest(known.digest, digest_of(token)):
            raise NotAuthenticated(
                "this token isn't known here", where="authorization", next_step="qpu token issue"
            )
        expired = known.expires_at is not None and known.expires_at <= self._place.now()
        if known.revoked or expired:
            raise NotAuthenticated(
                f"token {known.id} {'was revoked' if known.revoked else 'has expired'}",
                where="authorization",
                next_step="ask for a new one: qpu token issue",
            )
        return Caller(known.user, known.uid, f"token {known.id}", known.roles)


def build(settings: Mapping[str, Any], place: Place) -> TokenAuthenticator:
    """The authenticator of kind `token`. Raises ConfigError."""
    if settings:
        raise ConfigError(
            f"there is no setting {sorted(settings)[0]!r}",
            where="manager.authentication",
            expected="no settings",
        )
    return TokenAuthenticator(place)
