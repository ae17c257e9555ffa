"""What an operator asked for and didn't get goes on record too."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from qpu_executor.errors import CallerError, OperatorError, QpuExecutorError

P = ParamSpec("P")
R = TypeVar("R")

MOST_IDS = 100
"""Ids of a refused request that are kept."""


class Recording(Protocol):
    """Somebody whose refused requests go on record."""

    def refused(self, what: str, about: Mapping[str, object], error: QpuExecutorError) -> None:
        """Put it on record, without waiting."""


S = TypeVar("S", bound=Recording)
_Method = Callable[Concatenate[S, P], Coroutine[Any, Any, R]]


def on_record(what: str) -> Callable[[_Method[S, P, R]], _Method[S, P, R]]:
    """Decorator of a coroutine method: what refuses it is recorded and raised.

    `what`: the word for it; in braces, the argument that has the word. Of the arguments
    only names and numbers are kept: no counts, no programs.
    """

    def decorate(method: _Method[S, P, R]) -> _Method[S, P, R]:
        signature = inspect.signature(method)

        @functools.wraps(method)
        async def recorded(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return await method(self, *args, **kwargs)
            except (CallerError, OperatorError) as error:
                given = dict(signature.bind(self, *args, **kwargs).arguments)
                self.refused(what.format(**given), _plain(given), error)
                raise

        return recorded

    return decorate


def _plain(given: Mapping[str, object]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in given.items():
        if isinstance(value, str | int):
            found[name] = value
        elif isinstance(value, list | tuple) and all(isinstance(one, int) for one in value):
            found[name] = list(value[:MOST_IDS])
        elif isinstance(value, Mapping) and isinstance(value.get("name"), str):
            found["name"] = value["name"]
    found.pop("action", None)
    return found
