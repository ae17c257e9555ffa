"""One look at a manager: whatever the checks want to know of it, in one connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from qpu_executor.client import AsyncClient, aconnect
from qpu_executor.client.embedded import START_S
from qpu_executor.errors import ConfigError, ManagerUnreachable, QpuExecutorError, RequestRefused
from qpu_executor.wire.site import HealthOut, QpuDetail
from qpu_executor.wire.tasks import Problem

LOOK_S = 15.0
"""A manager that takes longer to say who it is needs a doctor itself."""

WAIT_S = 3.0


@dataclass(frozen=True, slots=True)
class Program:
    """A user's file: `device`: the one in it; `sequence`: its text, None if it is no sequence."""

    file: str
    device: Mapping[str, Any]
    sequence: str | None = None


@dataclass(frozen=True, slots=True)
class Sight:
    """`ahead_s`: this host's clock minus the manager's, None: it doesn't say; true to within
    `ahead_within_s`. `refusals`: by file, why the manager would refuse the program.
    """

    url: str
    hello: HealthOut
    qpus: tuple[QpuDetail, ...]
    ahead_s: float | None = None
    ahead_within_s: float = 0.0
    refusals: Mapping[str, Problem] = field(default_factory=dict)


def look(manager: str | None, programs: tuple[Program, ...] = (), qpu: str | None = None) -> Sight:
    """Ask a manager (None: an embedded one). Raises what connecting raises, and
    ManagerUnreachable for one that is silent. `qpu`: the programs are for this one.
    """
    limit_s = LOOK_S if manager else START_S + LOOK_S
    return asyncio.run(_within(limit_s, manager, programs, qpu))


async def _within(
    limit_s: float, manager: str | None, programs: tuple[Program, ...], qpu: str | None
) -> Sight:
    try:
        async with asyncio.timeout(limit_s):
            async with await aconnect(manager, wait_s=WAIT_S) as client:
                return await _look(client, programs, qpu)
    except TimeoutError:
        raise ManagerUnreachable(
            f"something takes connections there, and says nothing for {limit_s:g} s",
            where=manager,
            next_step="correct QPU_MANAGER, or ask the site's operators to look at the manager",
        ) from None


async def _look(client: AsyncClient, programs: tuple[Program, ...], qpu: str | None) -> Sight:
    before, started = datetime.now(UTC), time.monotonic()
    hello = await client.health()
    took_s = time.monotonic() - started
    ahead_s = None
    if hello.host_now is not None:
        ahead_s = (before - hello.host_now).total_seconds() + took_s / 2
    names = [one.name for one in await client.qpus()]
    if qpu is not None and qpu not in names:
        raise RequestRefused(
            f"there is no QPU {qpu!r}", where="--qpu", expected=f"one of {', '.join(names)}"
        )
    qpus = [await client.qpu(name) for name in names]
    refusals = {}
    for one in programs:
        refusal = None if one.sequence is None else await _refusal(client, one.sequence, qpu)
        if refusal is not None:
            refusals[one.file] = refusal
    return Sight(client.url, hello, tuple(qpus), ahead_s, took_s / 2, refusals)


async def _refusal(client: AsyncClient, sequence: str, qpu: str | None) -> Problem | None:
    try:
        return (await client.estimate(sequence, 1, qpu=qpu)).refusal
    except ConfigError:
        raise
    except QpuExecutorError as error:  # found out on this side already
        return Problem(
            title="refused", status=400, detail=error.message, code=error.code,
            where=error.where, expected=error.expected, next_step=error.next_step,
        )  # fmt: skip
