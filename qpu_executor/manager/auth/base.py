"""The one interface of everything that can say who is asking.

An authenticator is found by entry point (`qpu_executor.authenticators`) and built from
its settings without side effects. It looks at what a request presents and says who that
is, that it has nothing to say, or that the proof is wrong; what the caller may do is
decided elsewhere. `testing/contracts/authenticator.py` is what each has to pass.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from qpu_executor.errors import QpuExecutorError
from qpu_executor.manager.auth.caller import Caller, Role
from qpu_executor.model.values import Instant


@dataclass(frozen=True, slots=True)
class Presented:
    """What a request presents. `headers`: by lower-case name.

    `peer`: who is at the other end of the connection by the kernel's word, or why that
    isn't known.
    """

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    peer: Caller | QpuExecutorError | None = None


@dataclass(frozen=True, slots=True)
class KnownToken:
    """A bearer token as it is stored. `digest`: SHA-256 of the token, hexadecimal."""

    id: str
    digest: str = field(repr=False)
    user: str
    uid: int | None
    roles: frozenset[Role]
    expires_at: Instant | None
    revoked: bool


@dataclass(frozen=True, slots=True)
class Place:
    """What an authenticator may ask of the manager around it."""

    find_token: Callable[[str], Awaitable[KnownToken | None]]
    now: Callable[[], Instant]


class Authenticator(Protocol):
    """One kind of proof. All coroutines run on the manager's loop and must not block it."""

    @property
    def scheme(self) -> str | None:
        """Its name in `WWW-Authenticate`; None for a proof that isn't in the headers."""

    @property
    def expects(self) -> str:
        """What a caller has to present, in words that end a sentence."""

    @property
    def across_hosts(self) -> bool:
        """True if it proves who asks from another host."""

    async def open(self) -> None:
        """Load what it needs. Raises OperatorError (with what to type) if it can't."""

    async def close(self) -> None:
        """Let go of everything. May be called twice."""

    async def caller_of(self, presented: Presented) -> Caller | None:
        """Who presents this; None if there is nothing of its kind in it.

        Raises NotAuthenticated for a proof that is wrong, OperatorError if it can't be checked.
        """


class AuthenticatorFactory(Protocol):
    """What an entry point of the group `qpu_executor.authenticators` names."""

    def __call__(self, settings: Mapping[str, Any], place: Place) -> Authenticator:
        """Build it from its part of the site file. Raises ConfigError."""
