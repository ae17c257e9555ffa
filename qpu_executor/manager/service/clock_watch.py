"""Says in the log when the manager's clock isn't that of its host any more, and how far it is off.

The manager's goes on by itself and is never set (`clock.py`): windows and begin times come too
early or too late until somebody does something about it, and nothing else would tell.
"""

from __future__ import annotations

import asyncio
import logging

from qpu_executor.manager.service.clock import ahead_of_host_s
from qpu_executor.model.clock import Clock

log = logging.getLogger(__name__)

LOOK_S = 30.0
"""Real seconds between two looks."""

OFF_S = 60.0
"""More than that is told. A clock that is kept in step is slewed, not set."""


async def watch_clock(clock: Clock) -> None:
    """Look for as long as the manager runs, and log each change by more than `OFF_S`."""
    said_s = 0.0
    while True:
        said_s = say_how_far_off(ahead_of_host_s(clock), said_s)
        await asyncio.sleep(LOOK_S)


def say_how_far_off(ahead_s: float, said_s: float) -> float:
    """Log it, unless that has been `said_s` already (0.0: that all is well). What is said by now.

    `ahead_s`: seconds by which the manager's clock is ahead of the host's.
    """
    if abs(ahead_s) <= OFF_S:
        if said_s:
            log.warning("the manager's clock and that of its host agree again")
        return 0.0
    if abs(ahead_s - said_s) <= OFF_S:
        return said_s
    if ahead_s > 0:
        log.warning(
            "the manager's clock is %.0f s ahead of its host's, since it never goes back: windows "
            "and begin times come early by as much. If the host is wrong, set its clock; "
            "else see docs/operations/clocks.md",
            ahead_s,
        )
    else:
        log.warning(
            "the manager's clock is %.0f s behind its host's, which was set meanwhile: "
            "windows and begin times come late by as much. If the host is right, restart the "
            "manager",
            -ahead_s,
        )
    return ahead_s
