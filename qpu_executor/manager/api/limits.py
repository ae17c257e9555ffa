"""How much of everything the manager takes, from one caller and in all."""

from __future__ import annotations

import logging
import resource
from dataclasses import dataclass, replace

log = logging.getLogger(__name__)

MIB = 1 << 20
OWN_FILES = 512
"""Open files that aren't connections of callers: the store, QPUs, workers, logs."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Beyond what is one caller's a 429, beyond what is the manager's a 503.

    `max_body_bytes`: of one request. `max_bodies_bytes`: of all that are under way.
    `max_requests`, `requests_per_caller`: under way, event streams aside. `max_connections`,
    `connections_per_caller`: open, in use or not. `max_event_streams`,
    `event_streams_per_caller`: open. `request_s`: longest time in which a request arrives.
    `answer_s`: longest time for which a caller takes (almost) nothing of an answer.
    """

    max_body_bytes: int = 32 * MIB
    max_bodies_bytes: int = 256 * MIB
    max_requests: int = 4000
    requests_per_caller: int = 256
    max_connections: int = 10_000
    connections_per_caller: int = 2500
    max_event_streams: int = 8000
    event_streams_per_caller: int = 1000
    request_s: float = 60.0
    answer_s: float = 60.0


def fitting(limits: Limits) -> Limits:
    """The same, with no more connections than this process may have open files.

    Raises that number as far as the system allows.
    """
    wanted = limits.max_connections + OWN_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return limits
    most = max(64, soft - OWN_FILES)
    log.warning(
        "limits.max_connections is %d, and this process may have %d open files: %d connections "
        "are taken; raise LimitNOFILE= in the unit, or ulimit -n",
        limits.max_connections,
        soft,
        most,
    )
    return replace(limits, max_connections=most)
