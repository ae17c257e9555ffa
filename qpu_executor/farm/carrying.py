"""What runs in a worker of Parsl or Dask: one call, whose errors arrive whatever they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qpu_executor.errors import DeviceError, QpuExecutorError


def carry(function: Callable[..., Any], *args: Any) -> Any:
    """`function(*args)`. An error that isn't ours becomes a DeviceError with its text.

    Since one that can't be unpickled would kill the thread that collects Parsl's results.
    """
    try:
        return function(*args)
    except QpuExecutorError as error:
        error.__context__ = error.__cause__ = None
        raise
    except BaseException as error:
        said = " ".join(str(error).split())[:500]
        foreign = DeviceError(f"{type(error).__name__}: {said}")
    # Out here it has no `__context__`, which where tblib is installed would cross as well.
    raise foreign
