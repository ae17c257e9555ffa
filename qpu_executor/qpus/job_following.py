"""Follows one job to its end: looks, waits, and says how its chunk ended.

A look that fails is no news about the job. The one who follows goes on looking; when
nothing was heard for long enough it says so (`silence`), and it takes that back as soon
as the service answers again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from qpu_executor.errors import ProgramRefused
from qpu_executor.qpus.base import ChunkOutcome, OutcomeKind
from qpu_executor.qpus.job_polling import Pauses, ShotTime
from qpu_executor.qpus.job_service import (
    JobProgress,
    JobServiceError,
    JobState,
    NoSuchJobError,
)

_DENIALS = 2
"""Times in a row that a service has to deny a job before it is believed."""


@dataclass(frozen=True, slots=True)
class Looks:
    """How to look: both raise JobServiceError, `counts` also ProgramRefused."""

    progress: Callable[[str], Awaitable[JobProgress]]
    counts: Callable[[str], Awaitable[Mapping[str, int]]]
    versions: Mapping[str, str]


class JobFollowing:
    """One job of `shots` shots, sent `age_s` seconds ago.

    `on_silence` is called with the reason when nothing was heard for `silent_after_s`.
    `silence`: that reason, while it holds. `stop_asked`: set it when we ask for an end.
    """

    def __init__(
        self,
        handle: str,
        shots: int,
        looks: Looks,
        *,
        pauses: Pauses,
        shot_time: ShotTime,
        silent_after_s: float,
        on_silence: Callable[[str], None],
        age_s: float = 0.0,
    ) -> None:
        self.handle = handle
        self.silence: str | None = None
        self.stop_asked = False
        self._shots = shots
        self._looks = looks
        self._pauses = pauses
        self._shot_time = shot_time
        self._silent_after_s = silent_after_s
        self._on_silence = on_silence
        self._age_s = max(0.0, age_s)
        self._nudged = asyncio.Event()
        self._running_at: float | None = None
        self._denials = 0

    def nudge(self) -> None:
        """Look now: something has happened."""
        self._nudged.set()

    async def to_the_end(self, *, at_once: bool) -> ChunkOutcome:
        """The outcome. `at_once`: the first look needn't wait (the job is an older one)."""
        loop = asyncio.get_running_loop()
        sent_at = heard_at = loop.time()
        sent_at -= self._age_s
        if at_once:
            self.nudge()
        while True:
            expected_s = self._shot_time.expected_s(self._shots)
            await self._pause(self._pauses.next_s(loop.time() - sent_at, expected_s))
            try:
                outcome = await self._look(sent_at)
            except NoSuchJobError as error:
                self._denials += 1
                if self._denials >= _DENIALS:
                    return ChunkOutcome(OutcomeKind.NOT_KNOWN, message=str(error))
                continue
            except JobServiceError as error:
                self._not_heard(str(error), loop.time() - heard_at)
                continue
            except ProgramRefused as refusal:
                return ChunkOutcome(
                    OutcomeKind.REFUSED, message=str(refusal), versions=self._looks.versions
                )
            heard_at, self.silence, self._denials = loop.time(), None, 0
            if outcome is not None:
                return outcome

    async def _pause(self, seconds: float) -> None:
        try:
            # Not `wait_for`: until Python 3.12 it may swallow a cancellation, and nobody
            # would end us.
            async with asyncio.timeout(seconds):
                await self._nudged.wait()
        except TimeoutError:
            return
        self._nudged.clear()

    def _not_heard(self, reason: str, since_s: float) -> None:
        if self.silence is not None:
            self.silence = reason
        elif since_s >= self._silent_after_s:
            self.silence = reason
            self._on_silence(reason)

    async def _look(self, sent_at: float) -> ChunkOutcome | None:
        progress = await self._looks.progress(self.handle)
        now = asyncio.get_running_loop().time()
        if progress.state is JobState.RUNNING and self._running_at is None:
            self._running_at = now
        if not progress.ended:
            return None
        counts: Mapping[str, int] = {}
        if progress.state is JobState.DONE:
            counts = await self._looks.counts(self.handle)
        return self._outcome(progress, counts, sent_at, now)

    def _outcome(
        self, progress: JobProgress, counts: Mapping[str, int], sent_at: float, ended_at: float
    ) -> ChunkOutcome:
        began_at = sent_at if self._running_at is None else self._running_at
        device_s = ended_at - began_at if progress.device_s is None else progress.device_s
        setup_s = began_at - sent_at if progress.setup_s is None else progress.setup_s
        kind, message = self._kind(progress, counts)
        if kind is OutcomeKind.FINISHED:
            self._shot_time.learn(self._shots, ended_at - sent_at)
        return ChunkOutcome(
            kind,
            counts=dict(counts),
            device_s=max(0.0, device_s),
            setup_s=max(0.0, setup_s),
            message=message,
            versions=self._looks.versions,
        )

    def _kind(self, progress: JobProgress, counts: Mapping[str, int]) -> tuple[OutcomeKind, str]:
        job = f"job {self.handle}"
        if progress.state is JobState.DONE:
            if counts:
                return OutcomeKind.FINISHED, ""
            return OutcomeKind.FAULT, f"{job} is done, and its result holds no shots"
        if progress.state is JobState.CANCELLED:
            if self.stop_asked:
                return OutcomeKind.STOPPED, "stopped"
            # Not by us: repeating it for free would never end if it is always cancelled.
            return OutcomeKind.FAULT, f"{job} was cancelled at the service by somebody else"
        return OutcomeKind.FAULT, f"{job} failed: {progress.message or 'no reason is given'}"
