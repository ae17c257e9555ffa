"""Runs checks: each within its deadline, and none ends the others."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Iterable, Iterator

from qpu_executor.cli.doctor.finding import Check, Finding, of_error, one_line, wrong
from qpu_executor.errors import QpuExecutorError


def run_checks(checks: Iterable[Check]) -> Iterator[Finding]:
    """The findings of all checks, in their order, as they come."""
    for check in checks:
        yield from _run(check)


def leave(code: int) -> None:
    """End the process now, whatever a check that missed its deadline still waits for."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def abandoned() -> bool:
    """True if a check still runs that nobody waits for."""
    return any(one.name.startswith(_NAME) for one in threading.enumerate())


_NAME = "doctor: "


def _run(check: Check) -> list[Finding]:
    answers: queue.SimpleQueue[list[Finding]] = queue.SimpleQueue()
    # A thread, and one that the process doesn't wait for: a file on a dead server can't be
    # interrupted.
    threading.Thread(
        target=lambda: answers.put(_findings(check)), name=_NAME + check.about, daemon=True
    ).start()
    try:
        return answers.get(timeout=check.deadline_s)
    except queue.Empty:
        return [
            wrong(
                check.about,
                f"no answer within {check.deadline_s:g} s",
                "look at what it needs: the network, a file server, a service that hangs",
            )
        ]


def _findings(check: Check) -> list[Finding]:
    try:
        return list(check.run())
    except QpuExecutorError as error:
        return [of_error(check.about, error)]
    except Exception as error:
        text = one_line(f"{type(error).__name__}: {error}")
        return [wrong(check.about, f"the check itself failed: {text}", "report this line")]
