"""Runs a user's builder and turns what it returns into programs. Runs in a worker's thread."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distributed import Reschedule

from qpu_executor.errors import BuilderError, ProgramError
from qpu_executor.programs.program import Program


def build_programs(
    builder: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], where: str
) -> Program | list[Program]:
    """What `builder(*args, **kwargs)` returns, as a program or a list of them.

    Raises BuilderError with the user's traceback as text if the builder raises
    or returns something else; Dask's own Reschedule passes. `where`: the task,
    for the error.
    """
    try:
        built = builder(*args, **kwargs)
    except BuilderError:
        raise  # says what is wrong already
    except Reschedule:
        raise
    except (Exception, SystemExit) as error:  # a builder's sys.exit() is its error, not ours
        raise _builder_raised(error, where) from None
    if isinstance(built, (list, tuple)):
        if not built:
            raise BuilderError(
                "the function returned an empty list",
                where=where,
                expected="a pulser.Sequence, or a list with at least one",
            )
        return [_program(value, f"{where}, program {i}") for i, value in enumerate(built)]
    return _program(built, where)


def _program(value: Any, where: str) -> Program:
    if isinstance(value, Program):
        return value
    from qpu_executor.programs.pulser_sequence import to_program

    try:
        return to_program(value)
    except ProgramError as error:
        error.where = where if error.where is None else f"{where}: {error.where}"
        raise


def _builder_raised(error: BaseException, where: str) -> BuilderError:
    # The first frame is the call in this file, which says nothing to the user.
    frames = error.__traceback__.tb_next if error.__traceback__ else None
    text = "".join(traceback.format_exception(type(error), error, frames))
    return BuilderError(
        f"the function raised {type(error).__name__}: {error}", where=where, traceback_text=text
    )
