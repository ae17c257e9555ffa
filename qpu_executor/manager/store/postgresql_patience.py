"""Connections that give up on a server that takes what it is sent and never answers.

Timeouts of the server don't help there, nor does TCP: its host is well.
"""

from __future__ import annotations

import time
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen

Answer = TypeVar("Answer")


class NoAnswerError(psycopg.OperationalError):
    """The server hasn't answered in time."""


class PatientConnection(psycopg.Connection[tuple[Any, ...]]):
    """Waits for each answer for `answer_s` at most; then it closes, and raises OperationalError."""

    answer_s: float = 60.0

    def wait(self, gen: PQGen[Answer], *arguments: Any, **named: Any) -> Answer:
        """Run the driver's generator; it is resumed several times a second while it waits."""
        try:
            return super().wait(_bounded(gen, self.answer_s), *arguments, **named)
        except NoAnswerError:
            self.close()
            raise


def _bounded(gen: PQGen[Answer], answer_s: float) -> PQGen[Answer]:
    until_s = time.monotonic() + answer_s
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > until_s:
                raise NoAnswerError(f"the server hasn't answered for {answer_s:g} s")
            wanted = gen.send(ready)
    except StopIteration as end:
        answer: Answer = end.value
        return answer
