"""Tells a cancellation of the asyncio task at hand from one of something it waits for.

A CancelledError that nobody asked for comes from a future that was cancelled by its own
side (a pool that closes, an engine that gives up). It is news, and must not end whoever
waits in silence. Source: https://docs.python.org/3/library/asyncio-task.html
(`Task.cancelling`; timeouts and task groups cancel their task as well).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class CancelledElsewhereError(Exception):
    """What was waited for has been cancelled, by its own side."""


@contextmanager
def only_own_cancellation() -> Iterator[None]:
    """Raises CancelledError only where somebody wants the running asyncio task to end.

    Raises CancelledElsewhereError for any other one.
    """
    try:
        yield
    except asyncio.CancelledError:
        this = asyncio.current_task()
        if this is not None and this.cancelling():
            raise
        raise CancelledElsewhereError("what it waited for was cancelled") from None
