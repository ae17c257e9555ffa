"""Python's garbage collector beside a long queue.

A full collection visits every object that lasts, so beside a million queued tasks it is a
pause of a second between two shots. Whatever has lived through one while the queue is
long is therefore not visited again (`gc.freeze`), until the queue is short: then
everything is looked at once more, so that nothing is kept for good.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MANY = 20_000
"""Live tasks from which a full collection is a pause that a QPU notices (some 20 ms)."""


@contextmanager
def sparing_the_queue(live_tasks: Callable[[], int]) -> Iterator[None]:
    """Freeze what is there now, and what lasts while there are many live tasks."""
    spared = False

    def after_collection(phase: str, info: dict[str, int]) -> None:
        nonlocal spared
        if phase != "stop" or info["generation"] != 2:
            return
        if live_tasks() >= MANY:
            gc.freeze()
            spared = True
        elif spared:
            gc.unfreeze()
            spared = False

    gc.freeze()
    gc.callbacks.append(after_collection)
    try:
        yield
    finally:
        gc.callbacks.remove(after_collection)
        gc.unfreeze()
