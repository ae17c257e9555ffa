"""Finds adapters by entry point and refuses those that don't fit, by name.

Built-in kinds enter by the same door as those of other packages: the entry
point group `qpu_executor.qpus`, whose entries are `AdapterFactory`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from qpu_executor.errors import PluginRefused, QpuExecutorError
from qpu_executor.nearest import did_you_mean
from qpu_executor.qpus.base import AdapterFactory, QpuAdapter

GROUP = "qpu_executor.qpus"

_EXTRAS = {
    "pasqal-cloud": "pasqal-cloud",
    "pasqal-controller": "pulser",
    "pulser-emulator": "emulator",
    "qrmi": "qrmi",
    "simulated-qpu": "emulator",
}
"""Our own kinds that need an extra of this package."""

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
    return {point.name: point for point in entry_points(group=GROUP)}


def build_adapter(kind: str, name: str, settings: Mapping[str, Any]) -> QpuAdapter:
    """The adapter of QPU `name`, built from its part of the site file, not opened.

    Raises PluginRefused for an unknown kind, one that can't be imported, or one
    whose object isn't a QpuAdapter; ConfigError for settings that it refuses.
    """
    factory = _load(kind, name)
    try:
        adapter = factory(name, settings)
    except QpuExecutorError:
        raise
    except Exception as error:
        raise PluginRefused(
            f"the factory of kind {kind!r} raised {type(error).__name__}: {error}",
            where=f"QPU {name}",
        ) from error
    mismatch = interface_mismatch(adapter)
    if mismatch is not None:
        raise PluginRefused(
            f"kind {kind!r} doesn't fit the interface QpuAdapter: {mismatch}",
            where=f"QPU {name}",
            next_step="update the package that brings this kind",
        )
    return adapter


def interface_mismatch(adapter: object) -> str | None:
    """The first member of QpuAdapter that `adapter` lacks or has otherwise; None if it fits."""
    for attribute in _ATTRIBUTES:
        if not hasattr(adapter, attribute):
            return f"{attribute!r} is missing"
    for method, arguments in _FUNCTIONS.items():
        if mismatch := _method_mismatch(adapter, method, arguments, coroutine=False):
            return mismatch
    for method, arguments in _COROUTINES.items():
        if mismatch := _method_mismatch(adapter, method, arguments, coroutine=True):
            return mismatch
    return None


def _load(kind: str, name: str) -> AdapterFactory:
    kinds = known_kinds()
    if kind not in kinds:
        raise PluginRefused(
            f"there is no kind of QPU {kind!r}{did_you_mean(kind, kinds)}",
            where=f"QPU {name}",
            expected=f"one of {', '.join(sorted(kinds)) or 'none: no kind is installed'}",
        )
    try:
        factory: AdapterFactory = kinds[kind].load()
    except Exception as error:
        raise PluginRefused(
            f"kind {kind!r} can't be loaded: {type(error).__name__}: {error}",
            where=f"QPU {name}",
            next_step=_what_to_install(kinds[kind]),
        ) from None
    if not callable(factory):
        raise PluginRefused(
            f"the entry point {kinds[kind].value!r} of kind {kind!r} is no function",
            where=f"QPU {name}",
        )
    return factory


def _what_to_install(point: EntryPoint) -> str:
    if point.name in _EXTRAS:
        return f"pip install 'qpu-executor[{_EXTRAS[point.name]}]'"
    package = point.dist.name if point.dist is not None else point.module
    return f"reinstall {package} with what it needs"


def _method_mismatch(
    adapter: object, method: str, arguments: int, *, coroutine: bool
) -> str | None:
    found: Callable[..., object] | None = getattr(adapter, method, None)
    if found is None:
        return f"{method!r} is missing"
    if not callable(found):
        return f"{method!r} is no method"
    if inspect.iscoroutinefunction(found) != coroutine:
        return f"{method!r} must {'' if coroutine else 'not '}be a coroutine (`async def`)"
    try:
        inspect.signature(found).bind(*range(arguments))
    except (TypeError, ValueError):
        return f"{method!r} must take {arguments} argument{'' if arguments == 1 else 's'}"
    return None
