"""One job to its end: looked at when it should be done, stopped when that is asked for.

The controller may be silent meanwhile. Whoever waits is told after `silence_s`, and the
job is followed on: only the controller's own word ends it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from qpu_executor.model.values import ChunkId
from qpu_executor.qpus.base import ChunkOutcome, OutcomeKind
from qpu_executor.qpus.pasqal_controller.connection import (
    Connection,
    NoAnswerError,
    NotAllowedError,
    NotSentError,
)
from qpu_executor.qpus.pasqal_controller.finding import ask_about
from qpu_executor.qpus.pasqal_controller.messages import (
    Job,
    NonsenseError,
    is_ours,
    read_job,
)
from qpu_executor.qpus.pasqal_controller.outcomes import Stay, outcome_of, times_of
from qpu_executor.qpus.pasqal_controller.pace import Pace
from qpu_executor.qpus.pasqal_controller.settings import ControllerSettings

log = logging.getLogger(__name__)

_SILENT_FIRST_S = 0.05
_SILENT_MOST_S = 2.0
"""Pauses between looks while the controller doesn't answer: doubled, from first to most."""


@dataclass(slots=True)
class Followed:
    """A job on its way. `stay`: what is known of its time there (seconds of the clock).

    `trouble`: why nobody has heard of it for a while (None: somebody has). `ended`: its
    outcome was told.
    """

    chunk: ChunkId
    number: int
    mark: str
    stay: Stay
    stop_asked: bool = False
    overdue: bool = False
    ended: bool = False
    looks: int = 0
    trouble: str | None = None
    look_now: asyncio.Event = field(default_factory=asyncio.Event)


class Follower:
    """`ended` is called with a chunk's outcome, `silent` with what to tell meanwhile."""

    def __init__(
        self,
        connection: Connection,
        settings: ControllerSettings,
        pace: Pace,
        seconds: Callable[[], float],
        ended: Callable[[ChunkId, ChunkOutcome], object],
        silent: Callable[[ChunkId, ChunkOutcome], object],
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._pace = pace
        self._seconds = seconds
        self._ended = ended
        self._silent = silent

    async def follow(self, job: Followed) -> None:
        """Look at the job until it has ended."""
        pauses = self._pauses(job)
        while True:
            with suppress(TimeoutError):
                # Not `wait_for`: until Python 3.12 it may swallow a cancellation.
                async with asyncio.timeout(next(pauses)):
                    await job.look_now.wait()
            job.look_now.clear()
            if job.ended or await self.look(job):
                return
            self._mind_the_time(job)
            if (job.stop_asked or job.overdue) and await self.cancel(job):
                return

    async def cancel(self, job: Followed) -> bool:
        """Ask the controller to cancel it; True if it has ended. Without an answer: not yet."""
        try:
            answer = await self._connection.put(f"/jobs/{job.number}/cancel")
            found = read_job(answer.body) if answer.ok else None
        except (NotSentError, NoAnswerError, NotAllowedError, NonsenseError) as error:
            log.warning("job %d can't be cancelled yet: %s", job.number, error)
            return False
        if found is None or not found.status.final:
            # It has ended meanwhile, or is about to: the next look says how.
            job.look_now.set()
            return False
        return await self.look(job) if found.result is None else self._settle(job, found)

    def _settle(self, job: Followed, found: Job) -> bool:
        if job.ended:
            return True
        stay = job.stay
        device_s, setup_s = times_of(found, stay, self._seconds(), self._pace)
        outcome = outcome_of(
            found,
            stay,
            overdue=job.overdue,
            partial_results=self._settings.partial_results,
            device_s=device_s,
            setup_s=setup_s,
        )
        if outcome.kind is OutcomeKind.FINISHED:
            self._pace.took(stay.shots, device_s, setup_s)
            self._pace.looked(stay.shots, job.looks)
        return self._end(job, outcome)

    def _end(self, job: Followed, outcome: ChunkOutcome) -> bool:
        """Its outcome is told, once: a look and a cancellation may both come back with one."""
        if not job.ended:
            job.ended = True
            self._ended(job.chunk, outcome)
        return True

    async def look(self, job: Followed) -> bool:
        """Ask about it once; True if it has ended."""
        job.looks += 1
        asked_s = self._seconds()
        try:
            found = await ask_about(self._connection, job.number)
        except NoAnswerError as error:
            self._heard_nothing(job, str(error))
            return False
        job.trouble, job.stay.silent_since_s = None, None
        if found is None:
            return self._gone(job, f"the controller doesn't know job {job.number} any more")
        if is_ours(found, job.mark, job.stay.shots) is False:
            return self._gone(
                job, f"the controller was started anew: job {job.number} is another one"
            )
        if found.status.final:
            return self._settle(job, found)
        # It was unfinished when that was said, which may be long before it was heard here.
        job.stay.unfinished_s = asked_s
        return False

    def _gone(self, job: Followed, message: str) -> bool:
        return self._end(job, ChunkOutcome(OutcomeKind.NOT_KNOWN, message=message))

    def _heard_nothing(self, job: Followed, reason: str) -> None:
        now = self._seconds()
        if job.stay.silent_since_s is None:
            job.stay.silent_since_s = now
        if job.trouble is None and now - job.stay.silent_since_s >= self._settings.silence_s:
            job.trouble = reason
            self._silent(job.chunk, ChunkOutcome(OutcomeKind.UNANSWERED, message=reason))

    def _mind_the_time(self, job: Followed) -> None:
        stay = job.stay
        due_s = stay.accepted_s + self._pace.at_most_s(stay.shots) + self._settings.overdue_s
        if not job.overdue and stay.silent_since_s is None and self._seconds() > due_s:
            log.error("job %d should have ended long ago, and is cancelled", job.number)
            job.overdue = True

    def _pauses(self, job: Followed) -> Iterator[float]:
        stay = job.stay
        elapsed_s = self._seconds() - stay.accepted_s
        expected = self._pace.pauses(stay.shots, elapsed_s, self._connection.round_trip_s)
        silent_s = _SILENT_FIRST_S
        while True:
            if stay.silent_since_s is None:
                silent_s = _SILENT_FIRST_S
                yield next(expected)
            else:
                yield silent_s
                silent_s = min(2 * silent_s, _SILENT_MOST_S)
