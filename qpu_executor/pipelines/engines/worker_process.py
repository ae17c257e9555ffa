"""Loaded by Dask in each worker process of a run: takes it out of the terminal's group.

Ctrl-C is then the run's alone, which still has quantum tasks to cancel; workers end
with the run in any case.
"""

from __future__ import annotations

import os


def dask_setup(_worker: object) -> None:
    """Called by Dask when the worker starts."""
    if os.getpid() != os.getsid(0):
        os.setsid()
