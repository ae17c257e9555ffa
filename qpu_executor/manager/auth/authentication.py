"""Asks one authenticator after the other who is asking."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from qpu_executor.errors import ManagerBusy, NotAuthenticated, OperatorError
from qpu_executor.manager.auth.base import Authenticator, Presented
from qpu_executor.manager.auth.caller import Caller
from qpu_executor.manager.auth.roles import Roles

log = logging.getLogger(__name__)


class Authentication:
    """The site's authenticators, and the roles of whom they name."""

    def __init__(self, authenticators: Sequence[Authenticator], roles: Roles) -> None:
        # What a caller presents on purpose goes before what the connection happens to say.
        self._authenticators = tuple(sorted(authenticators, key=lambda one: one.scheme is None))
        self._roles = roles

    @property
    def across_hosts(self) -> bool:
        """True if callers on other hosts can prove who they are."""
        return any(one.across_hosts for one in self._authenticators)

    @property
    def schemes(self) -> tuple[str | None, ...]:
        """The schemes that are understood; None for what is known from the connection."""
        return tuple(one.scheme for one in self._authenticators)

    @property
    def challenge(self) -> str:
        """What `WWW-Authenticate` says: the schemes that are understood."""
        return ", ".join(one for one in self.schemes if one is not None)

    async def open(self) -> None:
        """Open every authenticator. Raises OperatorError of the first that can't."""
        for one in self._authenticators:
            await one.open()

    async def close(self) -> None:
        """Close every authenticator, also after a failed `open`."""
        for one in self._authenticators:
            await one.close()

    async def caller_of(self, presented: Presented) -> Caller:
        """Who is asking, by the first authenticator that finds its kind of proof.

        Raises NotAuthenticated if none does or the proof is wrong, ManagerBusy if it
        can't be checked now.
        """
        for one in self._authenticators:
            try:
                found = await one.caller_of(presented)
            except OperatorError as error:
                log.error("callers can't be checked: %s", error)
                raise ManagerBusy(
                    "the manager can't check who is asking at the moment", retry_after_s=5.0
                ) from None
            if found is not None:
                return self._roles.applied(found)
        raise NotAuthenticated(
            "the request carries no proof of who is asking",
            expected=" or ".join(one.expects for one in self._authenticators),
        )
