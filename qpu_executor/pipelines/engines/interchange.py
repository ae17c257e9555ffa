"""Runs Parsl's interchange as a process of its own session that ends with the run.

In the terminal's foreground group, Ctrl-C would end it before the run could put
itself in order; and without a run nobody would end it.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal

MODULE = "parsl.executors.high_throughput.interchange"
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Leave the terminal, tie this process to its parent's life, become the interchange."""
    parent = os.getppid()
    os.setsid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM) == 0 and os.getppid() != parent:
        return  # the parent ended in between
    runpy.run_module(MODULE, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
