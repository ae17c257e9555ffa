"""Finds adapters by entry point and refuses those that don't fit, by name.

Built-in kinds enter by the same door as those of other packages: the entry
point group `qpu_executor.qpus`, whose entries are `AdapterFactory`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint
from typing import Any, cast

from qpu_executor.errors import PluginRefused
from qpu_executor.plugins import Door, method_mismatch
from qpu_executor.qpus.base import QpuAdapter

GROUP = "qpu_executor.qpus"

_DOOR = Door(
    GROUP,
    "kind of QPU",
    # Our own kinds that need an extra of this package.
    {
        "pasqal-cloud": "pasqal-cloud",
        "pasqal-controller": "pulser",
        "pulser-emulator": "emulator",
        "qrmi": "qrmi",
        "simulated-qpu": "emulator",
    },
)

_ATTRIBUTES = ("name", "capabilities")
_COROUTINES: Mapping[str, int] = {
    "open": 2,
    "close": 0,
    "describe": 0,
    "health": 0,
    "start": 1,
    "wait": 1,
    "ask": 1,
    "stop": 1,
    "calibrate": 0,
}
_FUNCTIONS: Mapping[str, int] = {"refusal": 2}


def known_kinds() -> dict[str, EntryPoint]:
    """Every kind of QPU that is installed, by name. Imports none of them."""
    return _DOOR.known()


def build_adapter(kind: str, name: str, settings: Mapping[str, Any]) -> QpuAdapter:
    """The adapter of QPU `name`, built from its part of the site file, not opened.

    Raises PluginRefused for an unknown kind, one that can't be imported, or one
    whose object isn't a QpuAdapter; ConfigError for settings that it refuses.
    """
    where = f"QPU {name}, kind {kind!r}"
    adapter = _DOOR.make(kind, where, name, settings)
    mismatch = interface_mismatch(adapter)
    if mismatch is not None:
        raise PluginRefused(
            f"it doesn't fit the interface QpuAdapter: {mismatch}",
            where=where,
            next_step="update the package that brings this kind",
        )
    return cast("QpuAdapter", adapter)


def interface_mismatch(adapter: object) -> str | None:
    """The first member of QpuAdapter that `adapter` lacks or has otherwise; None if it fits."""
    for attribute in _ATTRIBUTES:
        if not hasattr(adapter, attribute):
            return f"{attribute!r} is missing"
    for method, arguments in _FUNCTIONS.items():
        if mismatch := method_mismatch(adapter, method, arguments, coroutine=False):
            return mismatch
    for method, arguments in _COROUTINES.items():
        if mismatch := method_mismatch(adapter, method, arguments, coroutine=True):
            return mismatch
    return None
