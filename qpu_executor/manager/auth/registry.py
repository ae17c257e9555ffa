"""Finds authenticators by entry point and refuses those that don't fit, by name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint
from typing import Any, cast

from qpu_executor.errors import PluginRefused
from qpu_executor.manager.auth.base import Authenticator, Place
from qpu_executor.plugins import Door, method_mismatch

GROUP = "qpu_executor.authenticators"
_DOOR = Door(GROUP, "authentication")

_ATTRIBUTES = ("scheme", "expects", "across_hosts")
_COROUTINES = {"open": 0, "close": 0, "caller_of": 1}


def known_authenticators() -> dict[str, EntryPoint]:
    """Every authenticator that is installed, by name. Imports none of them."""
    return _DOOR.known()


def build_authenticator(kind: str, settings: Mapping[str, Any], place: Place) -> Authenticator:
    """The authenticator of this kind, not opened.

    Raises PluginRefused for an unknown kind or one that doesn't fit, ConfigError for its
    settings.
    """
    where = f"authentication {kind!r}"
    found = _DOOR.make(kind, where, settings, place)
    mismatch = interface_mismatch(found)
    if mismatch is not None:
        raise PluginRefused(
            f"it doesn't fit the interface Authenticator: {mismatch}",
            where=where,
            next_step="update the package that brings it",
        )
    return cast("Authenticator", found)


def interface_mismatch(found: object) -> str | None:
    """The first member of Authenticator that `found` lacks or has otherwise; None if it fits."""
    for attribute in _ATTRIBUTES:
        if not hasattr(found, attribute):
            return f"{attribute!r} is missing"
    for method, arguments in _COROUTINES.items():
        if mismatch := method_mismatch(found, method, arguments, coroutine=True):
            return mismatch
    return None
