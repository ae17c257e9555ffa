"""Tells a cancellation of the asyncio task at hand from one of something it waits for.

A CancelledError that nobody asked for comes from a future that was cancelled by its own
side (a pool that closes, an engine that gives up). It is news, and must not end whoever
waits in silence. Source: https://docs.python.org/3/library/asyncio-task.html
(`Task.cancelling`; timeouts and task groups cancel their task as well).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Answer = TypeVar("Answer")


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


async def in_thread_to_its_end(run: Callable[..., Answer], *arguments: object) -> Answer:
    """Run in a thread, and to the end even where the caller is cancelled meanwhile."""
    running = asyncio.ensure_future(asyncio.to_thread(run, *arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        running.exception()  # whoever cancelled doesn't ask how it ended
        raise
