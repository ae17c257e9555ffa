"""How a failed command ends: one message on standard error, and an exit code."""

from __future__ import annotations

import json
import os
import sys
import traceback

import typer

from qpu_executor import errors

DONE, FAILED, USAGE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130


def exit_code(error: BaseException) -> int:
    """The exit code of an error."""
    match error:
        case KeyboardInterrupt() | typer.Abort():
            return INTERRUPTED
        case errors.ManagerUnreachable() | errors.ManagerBusy():
            return UNREACHABLE
        # What ails a store may pass (a database that isn't up yet, another manager that has
        # it): whoever supervises the process starts it again, unlike for a wrong file.
        case errors.TaskCancelled() | errors.StoreError():
            return FAILED
        case errors.CallerError() | errors.OperatorError():
            return USAGE
        case _:
            return FAILED


def report(error: BaseException, *, as_json: bool) -> int:
    """Tell the user what went wrong; returns the exit code."""
    code = exit_code(error)
    match error:
        case typer.Exit():
            return error.exit_code
        case KeyboardInterrupt() | typer.Abort():
            print("interrupted", file=sys.stderr)
        case _ if callable(show := getattr(error, "show", None)):
            # A mistake in the command line. By its method, not by its class: Typer
            # brings classes of its own or takes click's, depending on its version.
            show()
            return USAGE
        case BrokenPipeError():
            # Whoever read our output has gone (`qpu queue | head`): nothing is wrong.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return DONE
        case errors.QpuExecutorError():
            _tell(error, as_json)
        case _:
            if os.environ.get("QPU_DEBUG"):
                traceback.print_exception(error)
            print(
                f"qpu: internal error: {type(error).__name__}: {error}\n"
                "  next: run it again with QPU_DEBUG=1 and report what it prints",
                file=sys.stderr,
            )
    return code


def _tell(error: errors.QpuExecutorError, as_json: bool) -> None:
    if as_json:
        fields = {
            "error": error.code,
            "message": error.message,
            "where": error.where,
            "expected": error.expected,
            "next_step": error.next_step,
        }
        print(json.dumps({name: value for name, value in fields.items() if value is not None}))
        return
    place = f"{error.where}: " if error.where else ""
    print(f"qpu: {place}{error.message}", file=sys.stderr)
    if error.expected:
        print(f"  expected: {error.expected}", file=sys.stderr)
    if error.next_step:
        print(f"  next: {error.next_step}", file=sys.stderr)
    text = getattr(error, "traceback_text", None)
    if text:
        print(text, file=sys.stderr)
