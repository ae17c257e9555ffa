"""The site file's part about who may ask: proofs, roles, encryption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from qpu_executor.manager.auth.roles import Members
from qpu_executor.settings.part import Part


class AuthenticationSettings(BaseModel):
    """One kind of proof, and whatever its authenticator wants to know."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    kind: str

    def __repr__(self) -> str:
        # What an authenticator is told may hold secrets.
        return f"AuthenticationSettings(kind={self.kind!r}, ...)"

    def own_settings(self) -> dict[str, Any]:
        """The authenticator's own part."""
        return dict(self.model_extra or {})


def named_or_settled(value: Any) -> Any:
    """`[peer, munge]` is short for `[{kind: peer}, {kind: munge}]`."""
    if not isinstance(value, list):
        return value
    return [{"kind": one} if isinstance(one, str) else one for one in value]


class MembersSettings(Part):
    """Users and groups of the manager's host."""

    users: list[str] = Field(default_factory=list)
    groups: list[str] = Field(default_factory=list)

    def members(self) -> Members:
        """As authentication sees them."""
        return Members(frozenset(self.users), frozenset(self.groups))


class TlsSettings(Part):
    """PEM files for `https://` addresses: certificate with its chain, and its key."""

    certificate: Path
    key: Path
