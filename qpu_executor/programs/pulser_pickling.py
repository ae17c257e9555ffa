"""Pickling that some of Pulser's objects lack.

`InterpolatedWaveform` (and a sequence that contains one) and the errors with
fields of their own, such as `DistanceError`, pickle well and fail when they are
read back: their constructors want arguments that the pickle doesn't hold. Here
they learn to be restored from their fields alone. A Pulser version that brings
its own pickling is left as it is.
"""

from __future__ import annotations

import copyreg
import sys
from typing import Any


def install_if_imported() -> None:
    """Install the reducers if Pulser is imported in this process. Repeating it is cheap."""
    waveforms = sys.modules.get("pulser.waveforms")
    if waveforms is not None:
        _install_waveform(waveforms.InterpolatedWaveform)
    base = sys.modules.get("pulser.exceptions.base")
    if base is not None:
        _install_errors(base.PulserError)


def _install_waveform(cls: type) -> None:
    own = any(name in vars(cls) for name in ("__reduce__", "__reduce_ex__", "__getnewargs_ex__"))
    if cls not in copyreg.dispatch_table and not own and "__getnewargs__" not in vars(cls):
        copyreg.pickle(cls, _reduce_object)


def _install_errors(root: type) -> None:
    """Give every error below `root` that has its own constructor a `__reduce__`.

    Not by copyreg: Parsl's tblib puts its own entry there for all exceptions, and
    it calls `__reduce__` in turn.
    """
    todo = [root]
    while todo:
        cls = todo.pop()
        todo.extend(cls.__subclasses__())
        reduce: Any = cls.__reduce__
        if "__init__" in vars(cls) and reduce is BaseException.__reduce__:
            cls.__reduce__ = _reduce_error  # type: ignore[method-assign,assignment]


def _reduce_object(value: Any) -> tuple[Any, ...]:
    return _blank_object, (type(value),), dict(vars(value))


def _reduce_error(error: BaseException) -> tuple[Any, ...]:
    return _blank_error, (type(error), error.args), dict(vars(error))


def _blank_object(cls: type) -> Any:
    return object.__new__(cls)


def _blank_error(cls: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    return cls.__new__(cls, *args)
