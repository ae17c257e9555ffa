"""From a user's builder to programs, with errors that speak of the user's code only."""

from __future__ import annotations

import inspect
import os
import traceback
from collections.abc import Callable
from pathlib import Path

import parsl
from parsl.app.errors import RemoteExceptionWrapper

from qpu_executor.errors import BuilderError, ProgramError
from qpu_executor.programs.program import Program
from qpu_executor.programs.pulser_pickling import install_if_imported

_NOT_THE_USERS = tuple(
    f"{folder}{os.sep}" for folder in (Path(parsl.__file__).parent, Path(__file__).parent)
)


def build_programs(app: str, build: Callable[[], object]) -> tuple[list[Program], bool]:
    """Run a builder: its programs, and whether it returned a list of them.

    Raises BuilderError where it raises or returns something else, naming the app.
    """
    where = f"quantum app {app!r}"
    try:
        value = build()
    except BuilderError:
        raise  # says what is wrong already
    except BaseException as error:  # a builder's sys.exit() is its error, not ours
        raise _builder_raised(where, error) from None
    if isinstance(value, RemoteExceptionWrapper):  # how Parsl hands on what an app raised
        if isinstance(value.e_value, BuilderError):
            raise value.e_value from None
        raise _builder_raised(where, value.e_value) from None
    install_if_imported()  # the builder may have been the first to import Pulser
    if not isinstance(value, list | tuple):
        return [_program(value, where)], False
    many = len(value)
    return [_program(item, f"{where}, item {i} of {many}") for i, item in enumerate(value)], True


def _program(value: object, where: str) -> Program:
    if isinstance(value, Program):
        return value
    if inspect.iscoroutine(value):
        value.close()
        raise BuilderError(
            "the builder is an async function",
            where=where,
            expected="a plain function that returns a pulser.Sequence",
        )
    from qpu_executor.programs.pulser_sequence import to_program

    try:
        return to_program(value)
    except ProgramError as error:
        error.where = where
        raise error from None
    except Exception as error:
        raise BuilderError(
            f"the program can't be serialised: {type(error).__name__}: {error}", where=where
        ) from None


def _builder_raised(where: str, error: BaseException) -> BuilderError:
    summary = "".join(traceback.format_exception_only(error)).strip()
    return BuilderError(
        f"the builder raised {summary}", where=where, traceback_text=user_traceback(error)
    )


def user_traceback(error: BaseException) -> str:
    """The traceback of an error, without the frames of Parsl and of this package."""
    story = traceback.TracebackException.from_exception(error)
    chain: list[traceback.TracebackException | None] = [story]
    while chain:
        link = chain.pop()
        if link is None:
            continue
        link.stack[:] = [f for f in link.stack if not f.filename.startswith(_NOT_THE_USERS)]
        chain += [link.__cause__, link.__context__]
    return "".join(story.format())
