"""A clock for leases: it goes on while the machine is suspended, and is never set."""

from __future__ import annotations

import time


def boottime_s() -> float:
    """Seconds since the machine started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
