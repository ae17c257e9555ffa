"""Extensions by entry point: found by name, refused by name.

Policies, QPU adapters and authenticators of this package enter by the same door as
those of others. What an extension has to be is said by whoever loads it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from qpu_executor.errors import PluginRefused, QpuExecutorError
from qpu_executor.nearest import did_you_mean


@dataclass(frozen=True, slots=True)
class Door:
    """One kind of extension. `what`: what it is called in messages; `extras`: what to
    install with pip for those of ours that need more than this package.
    """

    group: str
    what: str
    extras: Mapping[str, str] = field(default_factory=dict)

    def known(self) -> dict[str, EntryPoint]:
        """Every extension that is installed, by name. Imports none of them."""
        return {point.name: point for point in entry_points(group=self.group)}

    def load(self, name: str, where: str) -> Callable[..., object]:
        """What makes the extension `name`. `where`: names it in messages. Raises PluginRefused."""
        known = self.known()
        if name not in known:
            raise PluginRefused(
                f"there is no {self.what} {name!r}{did_you_mean(name, known)}",
                where=where,
                expected=f"one of {', '.join(sorted(known)) or 'none: none is installed'}",
            )
        point = known[name]
        try:
            factory = point.load()
        except Exception as error:
            raise PluginRefused(
                f"it can't be loaded: {type(error).__name__}: {error}",
                where=where,
                next_step=self._what_to_install(point),
            ) from None
        if not callable(factory):
            raise PluginRefused(
                f"{point.value!r} is no class or function",
                where=where,
            )
        made: Callable[..., object] = factory
        return made

    def make(self, name: str, where: str, *arguments: object, **settings: Any) -> object:
        """The extension itself. Raises PluginRefused, or the product's error that it raises."""
        factory = self.load(name, where)
        try:
            return factory(*arguments, **settings)
        except QpuExecutorError:
            raise
        except Exception as error:
            raise PluginRefused(
                f"it raised {type(error).__name__}: {error}", where=where
            ) from error

    def _what_to_install(self, point: EntryPoint) -> str:
        if point.name in self.extras:
            return f"pip install 'qpu-executor[{self.extras[point.name]}]'"
        package = point.dist.name if point.dist is not None else point.module
        return f"reinstall {package} with what it needs"


def method_mismatch(found: object, method: str, arguments: int, *, coroutine: bool) -> str | None:
    """What keeps an object's method from taking `arguments` arguments; None if it does."""
    function: Callable[..., object] | None = getattr(found, method, None)
    if function is None:
        return f"{method!r} is missing"
    if not callable(function):
        return f"{method!r} is no method"
    if inspect.iscoroutinefunction(function) != coroutine:
        return f"{method!r} must {'' if coroutine else 'not '}be a coroutine (`async def`)"
    try:
        inspect.signature(function).bind(*range(arguments))
    except (TypeError, ValueError):
        return f"{method!r} must take {arguments} argument{'' if arguments == 1 else 's'}"
    return None
