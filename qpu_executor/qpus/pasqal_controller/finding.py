"""Where a job is whose acceptance nobody saw.

Job numbers count up, and each job echoes the mark that was sent with it. So the job, if
there is one, has a number above the newest one known, and our mark. If there is none,
that proves nothing yet: the request may still be on its way. It is proven where the
controller has forgotten the newest job known (it was started anew, and what was on its
way died with it), or where the caller knows that the request has ended.
"""

from __future__ import annotations

import asyncio
import enum
from dataclasses import dataclass

from qpu_executor.qpus.pasqal_controller.connection import (
    Connection,
    NoAnswerError,
    NotAllowedError,
    NotSentError,
)
from qpu_executor.qpus.pasqal_controller.messages import Job, NonsenseError, is_ours, read_job

_DENIED_IN_A_ROW = 2
"""Numbers that must be denied, one after the other, to be behind the newest job."""
_AGAIN_S = (0.05, 0.2)
"""Pauses before a look is repeated that nobody answered."""
_MOST = 200
"""Jobs of others that are looked through."""


class Absence(enum.Enum):
    """Why no job was found."""

    NOT_THERE = "not there"
    """No job has the mark now."""
    FORGOTTEN = "forgotten"
    """The controller was started anew since the chunk was sent: it can't come any more."""
    UNCLEAR = "unclear"
    """The controller didn't answer, or its answers prove nothing."""


@dataclass(frozen=True, slots=True)
class Missing:
    """No job was found; `reason` in words. `heard`: the controller answered all questions."""

    absence: Absence
    reason: str
    heard: bool = True


async def ask_about(connection: Connection, number: int) -> Job | None:
    """The job of this number; None: the controller denies that there is one.

    Raises NoAnswerError (with NotSentError's and other failures' words) where it says neither.
    """
    try:
        answer = await connection.get(f"/jobs/{number}")
        if answer.denies:
            return None
        if not answer.ok:
            raise NoAnswerError(str(answer))
        return read_job(answer.body)
    except (NotSentError, NotAllowedError, NonsenseError) as error:
        raise NoAnswerError(str(error)) from None


async def find_job(
    connection: Connection, mark: str, shots: int, *, newest: int | None, newest_mark: str | None
) -> Job | Missing:
    """The job with this mark. `newest`: the newest number known before, and its mark."""
    try:
        found = await _look_above(connection, mark, shots, 0 if newest is None else newest + 1)
        if found is not None:
            return found
        if newest is None:
            # Old jobs may have been thrown away: no number is known to be the newest.
            return Missing(Absence.UNCLEAR, "no number of a job there was known before")
        if await _still_there(connection, newest, newest_mark):
            return Missing(Absence.NOT_THERE, "the controller shows no job with its mark")
        found = await _look_above(connection, mark, shots, 0)
    except NoAnswerError as error:
        return Missing(Absence.UNCLEAR, str(error), heard=False)
    reason = f"the controller was started anew: it has forgotten job {newest}, and has none of it"
    return found if found is not None else Missing(Absence.FORGOTTEN, reason)


async def _surely(connection: Connection, number: int) -> Job | None:
    """As `ask_about`, asked again where nobody answers at once."""
    for pause_s in _AGAIN_S:
        try:
            return await ask_about(connection, number)
        except NoAnswerError:
            await asyncio.sleep(pause_s)
    return await ask_about(connection, number)


async def _look_above(connection: Connection, mark: str, shots: int, first: int) -> Job | None:
    denied = 0
    for number in range(first, first + _MOST):
        job = await _surely(connection, number)
        if job is None:
            denied += 1
            if denied == _DENIED_IN_A_ROW:
                return None
            continue
        denied = 0
        if is_ours(job, mark, shots):
            return job
    raise NoAnswerError(f"none of the jobs {first} to {first + _MOST - 1} is ours")


async def _still_there(connection: Connection, number: int, mark: str | None) -> bool:
    job = await _surely(connection, number)
    return job is not None and (mark is None or job.mark is None or job.mark == mark)
