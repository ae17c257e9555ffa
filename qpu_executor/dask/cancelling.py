"""cancel: from futures to the tasks at the manager."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from distributed import Future


def cancel(*futures: Future[Any], force: bool = False) -> Awaitable[None] | None:
    """Cancel quantum tasks, in Dask and at the manager; await it with an asynchronous client.

    The same as Dask's own `future.cancel()`: a worker that sees its task released
    cancels it at the manager. `force`: also for other clients that want the result.
    A task that has ended stays as it is.
    """
    if not futures:
        return None
    done: Awaitable[None] | None = futures[0].client.cancel(list(futures), force=force)
    return done
