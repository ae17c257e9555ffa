"""What a check found: one line, and what to type where that isn't fine."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from qpu_executor.errors import NotAuthenticated, QpuExecutorError


class Level(enum.StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """Works, or may; somebody should look at it."""
    WRONG = "wrong"
    """Something can't work as it is."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`about`: the subject, a word or two. `next_step`: what to type; empty where it is fine."""

    level: Level
    about: str
    message: str
    next_step: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """`run` may take `deadline_s` seconds, and raise."""

    about: str
    run: Callable[[], Iterable[Finding]]
    deadline_s: float = 10.0


def ok(about: str, message: str) -> Finding:
    """It is fine."""
    return Finding(Level.OK, about, message)


def warning(about: str, message: str, next_step: str) -> Finding:
    """It may do."""
    return Finding(Level.WARNING, about, message, next_step)


def wrong(about: str, message: str, next_step: str) -> Finding:
    """It can't work."""
    return Finding(Level.WRONG, about, message, next_step)


def of_error(about: str, error: QpuExecutorError, otherwise: str = "") -> Finding:
    """An error of ours as a finding. `otherwise`: what to do where it doesn't say."""
    where = "" if error.where is None else f"{error.where}: "
    step = error.next_step or ""
    if isinstance(error, NotAuthenticated):
        step = step or "name a token in QPU_TOKEN_FILE (`qpu token issue` makes one), or use MUNGE"
    if error.expected:
        step = f"{step} (expected: {error.expected})" if step else f"give {error.expected}"
    return wrong(about, one_line(f"{where}{error.message}"), one_line(step or otherwise) or _STEP)


_STEP = "put that right, and run qpu doctor again"


def one_line(text: str) -> str:
    """A text without line ends."""
    return " ".join(text.split())


def anything_wrong(found: Sequence[Finding]) -> bool:
    """True if the command has to say so by its exit code."""
    return any(one.level is Level.WRONG for one in found)
