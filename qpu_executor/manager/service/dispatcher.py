"""Carries commands to the QPUs and brings back what became of them, as events.

One asyncio task per chunk in flight. The dispatcher decides nothing: it starts
the chunks it is told to, asks again about those that nobody answers for, and
posts what it learns to the manager's inbox. A QPU that has said nothing about a
chunk for as long as its site allows is DOWN until that chunk is settled: while it is
handed over, and when it is asked. It is asked about a chunk that runs, too, each time
that it has said nothing for so long.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Protocol

from qpu_executor.cancellation import only_own_cancellation
from qpu_executor.errors import ManagerUnreachable, ProgramError, QpuExecutorError
from qpu_executor.manager.service.adapter_answers import sound_outcome
from qpu_executor.manager.service.fleet import Fleet, Qpu
from qpu_executor.manager.service.watching import Watch
from qpu_executor.model.clock import Clock
from qpu_executor.model.events import (
    CalibrationEnded,
    ChunkFinished,
    ChunkLost,
    ChunkRefused,
    ChunkStarted,
    ChunkStopped,
    ChunkUnanswered,
    Event,
)
from qpu_executor.model.states import QpuState
from qpu_executor.model.timing import seconds_between
from qpu_executor.model.values import MICROSECONDS, ChunkId, Instant
from qpu_executor.qpus.base import ChunkOrder, ChunkOutcome, OutcomeKind

log = logging.getLogger(__name__)

Post = Callable[[Event, ChunkOutcome | None], None]

ASK_AGAIN_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Pauses between questions about a chunk that nobody answers for; the last one repeats."""

STALE_S = 1.0
"""A chunk that waited longer to be handed over might reach into a window that its plan kept out
of, or come before what is more urgent by now."""


class Leading(Protocol):
    """Whether this manager is the one that drives the QPUs."""

    @property
    def sure(self) -> bool:
        """False where so long was heard nothing that another one may have taken over."""

    async def assure(self) -> bool:
        """Return once it is sure, however long that takes; False where another one has."""


class _Undisputed:
    """Nobody else is there."""

    sure = True

    async def assure(self) -> bool:
        """It is sure."""
        return True


class Dispatcher:
    """Runs chunks on the QPUs of a fleet. `post` puts an event into the inbox.

    `health_every_s`: seconds of `clock` between looks at a QPU's health. `answer_s`: real
    seconds in which an adapter has to say how its QPU is, to take a request for a
    calibration, and to let go at the end.
    `ask_first_below`: QPUs may know more of tasks with smaller ids than the store does (it
    was restored from a backup); they are asked about a chunk before it is started.
    `leading`: whether this is still the manager that may start one.
    """

    def __init__(
        self,
        fleet: Fleet,
        post: Post,
        clock: Clock,
        health_every_s: float = 5.0,
        answer_s: float = 60.0,
        ask_first_below: int = 0,
        leading: Leading | None = None,
    ) -> None:
        self._leading = leading or _Undisputed()
        self._ask_first_below = ask_first_below
        self._fleet = fleet
        self._post = post
        self._clock = clock
        self._answer_s = answer_s
        self._watch = Watch(fleet, post, clock, health_every_s, answer_s)
        self._tasks: set[asyncio.Task[None]] = set()
        self._followed: dict[ChunkId, asyncio.Task[None]] = {}
        self._unanswered: dict[ChunkId, asyncio.Task[None]] = {}
        self._stop_asked: set[ChunkId] = set()

    def watch_health(self) -> None:
        """Report every QPU whose health changes, from now on, and open those that aren't open."""
        for qpu in self._fleet:
            self._spawn(self._watch.follow(qpu), f"health of {qpu.name}")

    def look_now(self, qpu: str) -> None:
        """An operator expects that a QPU is well again: look, or open it, at once."""
        self._watch.hurry(qpu)

    def start(self, qpu: str, order: ChunkOrder) -> None:
        """Hand a chunk to its QPU and follow it to its end."""
        found = self._fleet.get(qpu)
        self._follow_to_its_end(found, order.chunk, self._run(found, order))

    def adopt(self, qpu: str, chunk: ChunkId) -> None:
        """Follow a chunk that an earlier incarnation sent: ask first, never start it."""
        found = self._fleet.find(qpu)
        if found is None:
            # It may have run, or still run: only a person can say, or the QPU once it is back.
            reason = (
                f"QPU {qpu}, which has it, is no longer in the site file: put it back and "
                f"restart, or `qpu settle {chunk.task_id}`"
            )
            self._post(ChunkUnanswered(chunk, reason), None)
            return
        self._await_an_answer(found, chunk)
        self._follow_to_its_end(found, chunk, self._resolve(found, chunk))

    def stop(self, qpu: str, chunk: ChunkId) -> None:
        """Ask the QPU to end a chunk early; its outcome arrives the usual way."""
        found = self._fleet.find(qpu)
        if found is not None:
            if chunk in self._followed:
                self._stop_asked.add(chunk)
            self._spawn(self._stop(found, chunk), f"stop of chunk {chunk}")

    def calibrate(self, qpu: str) -> None:
        """Ask the QPU for a calibration; its start and end arrive as events."""
        found = self._fleet.find(qpu)
        if found is not None:
            self._spawn(self._calibrate(found), f"calibration of {qpu}")

    def settled(self, qpu: str, chunk: ChunkId) -> None:
        """An operator has decided about a chunk that nobody answered for: ask no more."""
        following = self._followed.pop(chunk, None)
        self._stop_asked.discard(chunk)
        if following is not None:
            following.cancel()
        found = self._fleet.find(qpu)
        if found is not None:
            self._answered(found, chunk)

    async def close(self) -> None:
        """Let go of everything in flight, without a word: a later manager asks about it."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=self._answer_s)
            for task in left:
                log.error("%s doesn't end; the manager goes on without it", task.get_name())

    # -- one chunk ------------------------------------------------------------

    def _follow_to_its_end(
        self, qpu: Qpu, chunk: ChunkId, work: Coroutine[None, None, None]
    ) -> None:
        following = self._spawn(self._guarded(qpu, chunk, work), f"chunk {chunk}")
        self._followed[chunk] = following
        following.add_done_callback(lambda _: self._left(chunk, following))

    def _left(self, chunk: ChunkId, following: asyncio.Task[None]) -> None:
        if self._followed.get(chunk) is following:
            del self._followed[chunk]
            self._stop_asked.discard(chunk)

    async def _guarded(self, qpu: Qpu, chunk: ChunkId, work: Coroutine[None, None, None]) -> None:
        try:
            with only_own_cancellation():
                await work
        except Exception as error:
            # An adapter broke its contract. Nobody knows what became of the chunk,
            # so it keeps its slot until an operator decides: never repeat it blindly.
            log.exception("chunk %s: its adapter broke its contract", chunk)
            self._post(ChunkUnanswered(chunk, f"the adapter failed: {error!r}"), None)
            self._await_an_answer(qpu, chunk)

    async def _run(self, qpu: Qpu, order: ChunkOrder) -> None:
        chunk, planned_at = order.chunk, self._clock.now()
        self._await_an_answer(qpu, chunk)
        if chunk.task_id < self._ask_first_below and await self._known_from_before(qpu, chunk):
            return
        straight = self._leading.sure and qpu.hand_over.is_open
        try:
            async with self._admitted(qpu) as ours:
                if not ours:
                    return
                reason = self._overtaken(qpu, order, None if straight else planned_at)
                if reason is not None:
                    self._answered(qpu, chunk)
                    self._post(ChunkLost(chunk, reason, fault=False), None)
                    return
                await qpu.adapter.start(order)
        except ProgramError as error:
            self._answered(qpu, chunk)
            self._post(ChunkRefused(chunk, str(error)), None)
            return
        except ManagerUnreachable as error:
            self._post(ChunkUnanswered(chunk, str(error)), None)
            await self._resolve(qpu, chunk)
            return
        except QpuExecutorError as error:
            self._answered(qpu, chunk)
            # What a closed QPU doesn't take is no fault that counts against the task, and
            # the core has to know that it is closed before it sends the next one.
            await self._watch.look(qpu)
            fault = qpu.health.state is QpuState.UP
            self._post(ChunkLost(chunk, str(error), fault), None)
            return
        self._answered(qpu, chunk)
        self._post(ChunkStarted(chunk), None)
        self._tell_again_to_stop(qpu, chunk)
        await self._follow(qpu, chunk)

    def _overtaken(self, qpu: Qpu, order: ChunkOrder, waits_since: Instant | None) -> str | None:
        """Why a chunk isn't to be handed over any more, after what may have been a long wait.

        `waits_since`: None where it came straight through.
        """
        if order.chunk in self._stop_asked:
            return f"it was stopped before QPU {qpu.name} had it"
        most = qpu.capabilities.max_chunk_shots
        if most is not None and order.shots > most:  # it has been opened anew since
            return f"QPU {qpu.name} takes at most {most} shots a chunk now"
        if waits_since is None:
            return None
        waited_s = seconds_between(waits_since, self._clock.now())
        if waited_s > STALE_S:
            return f"it waited {waited_s:.0f} s to be handed over, and is planned anew"
        return None

    def _tell_again_to_stop(self, qpu: Qpu, chunk: ChunkId) -> None:
        """The adapter may not have heard: it was closed, is a new one, or hadn't the chunk yet."""
        if chunk in self._stop_asked:
            self._spawn(self._stop(qpu, chunk), f"stop of chunk {chunk}")

    @asynccontextmanager
    async def _admitted(self, qpu: Qpu) -> AsyncIterator[bool]:
        """Through the QPU's door, which may have been shut for long, as the manager still.

        False where another manager has taken over: what becomes of the chunk is its affair.
        """
        while True:
            if not await self._leading.assure():
                yield False
                return
            async with qpu.hand_over.passing():
                if self._leading.sure:
                    yield True
                    return

    async def _known_from_before(self, qpu: Qpu, chunk: ChunkId) -> bool:
        """Whether a QPU has this chunk from before a backup was restored; if so, follow it."""
        others = [one for one in self._fleet if one is not qpu]
        for one in (qpu, *others):
            outcome = await one.adapter.ask(chunk)
            if outcome is not None and outcome.kind is OutcomeKind.NOT_KNOWN:
                continue
            log.warning("QPU %s has chunk %s from before the restore", one.name, chunk)
            self._await_an_answer(one, chunk)
            await self._resolve(one, chunk)
            return True
        return False

    async def _follow(self, qpu: Qpu, chunk: ChunkId) -> None:
        """See a chunk that runs to its end, however often nobody answers for it meanwhile."""
        silences = 0
        while True:
            outcome = await self._waited(qpu, chunk)
            if outcome.kind is OutcomeKind.UNANSWERED:
                self._await_an_answer(qpu, chunk)
            if outcome.health is not None:
                self._watch.saw(qpu, outcome.health)
            elif outcome.kind is OutcomeKind.FAULT:
                await self._watch.look(qpu)
            self._post(event_of(chunk, outcome), outcome)
            if outcome.kind is not OutcomeKind.UNANSWERED:
                return
            if silences:  # the QPU says that it runs, and then nothing: not as fast as it can
                await _pause(silences - 1)
            silences += 1
            if not await self._runs(qpu, chunk):
                return

    async def _waited(self, qpu: Qpu, chunk: ChunkId) -> ChunkOutcome:
        """How the chunk ended; asked about, where an adapter has said nothing for long."""
        waiting = asyncio.ensure_future(qpu.adapter.wait(chunk))
        asking = asyncio.ensure_future(self._asked_now_and_then(qpu, chunk))
        try:
            await asyncio.wait((waiting, asking), return_when=asyncio.FIRST_COMPLETED)
            outcome = sound_outcome((waiting if waiting.done() else asking).result())
        finally:
            waiting.cancel()
            asking.cancel()
        if outcome.kind is not OutcomeKind.UNANSWERED:
            self._answered(qpu, chunk)
        return outcome

    async def _asked_now_and_then(self, qpu: Qpu, chunk: ChunkId) -> ChunkOutcome:
        """What the QPU says once it no longer says that the chunk runs."""
        while True:
            allowed = int(qpu.rules.unknown_deadline_s * MICROSECONDS)
            await self._clock.sleep_until(self._clock.now() + allowed)
            # Whoever doesn't answer this either is overdue after the same time again.
            self._await_an_answer(qpu, chunk)
            outcome = await qpu.adapter.ask(chunk)
            if outcome is not None:
                return outcome
            self._answered(qpu, chunk)

    async def _resolve(self, qpu: Qpu, chunk: ChunkId) -> None:
        """Find out what became of a chunk, and see it to its end if it runs."""
        if await self._runs(qpu, chunk):
            await self._follow(qpu, chunk)

    async def _runs(self, qpu: Qpu, chunk: ChunkId) -> bool:
        """Ask until the QPU says what became of the chunk; it is never started again here.

        True: it runs. False: it has ended, which is posted.
        """
        attempt = 0
        while True:
            said = await qpu.adapter.ask(chunk)
            outcome = None if said is None else sound_outcome(said)
            if outcome is None or outcome.kind is not OutcomeKind.UNANSWERED:
                self._answered(qpu, chunk)
            if outcome is None:
                self._post(ChunkStarted(chunk), None)
                self._tell_again_to_stop(qpu, chunk)
                return True
            if outcome.kind is not OutcomeKind.UNANSWERED:
                self._post(event_of(chunk, outcome), outcome)
                return False
            if attempt == 0:
                self._post(ChunkUnanswered(chunk, outcome.message), None)
            await _pause(attempt)
            attempt += 1

    # -- chunks that nobody answers for -----------------------------------------

    def _await_an_answer(self, qpu: Qpu, chunk: ChunkId) -> None:
        """The time runs in which the QPU has to say what became of a chunk."""
        if chunk not in self._unanswered:
            waiting = self._spawn(self._overdue(qpu, chunk), f"deadline of chunk {chunk}")
            self._unanswered[chunk] = waiting

    def _answered(self, qpu: Qpu, chunk: ChunkId) -> None:
        """That is known now; a QPU that was DOWN because of it is what it says of itself."""
        waiting = self._unanswered.pop(chunk, None)
        if waiting is not None:
            waiting.cancel()
        if qpu.overdue.pop(chunk, None) is not None:
            self._watch.overdue_changed(qpu)

    async def _overdue(self, qpu: Qpu, chunk: ChunkId) -> None:
        since = self._clock.now()
        while True:
            allowed_s = qpu.rules.unknown_deadline_s
            until = since + int(allowed_s * MICROSECONDS)
            if until <= self._clock.now():
                break
            await self._clock.sleep_until(until)
        reason = f"nobody has said for {allowed_s:g} s what became of chunk {chunk}"
        log.error("QPU %s: %s; it is DOWN until that is settled", qpu.name, reason)
        self._post(ChunkUnanswered(chunk, reason), None)
        qpu.overdue[chunk] = f"{reason}: `qpu settle {chunk.task_id}`"
        self._watch.overdue_changed(qpu)

    # -- what else a QPU is asked -----------------------------------------------

    async def _stop(self, qpu: Qpu, chunk: ChunkId) -> None:
        with only_own_cancellation():
            await qpu.adapter.stop(chunk)

    async def _calibrate(self, qpu: Qpu) -> None:
        try:
            async with asyncio.timeout(self._answer_s):
                with only_own_cancellation():
                    await qpu.adapter.calibrate()
        except (QpuExecutorError, TimeoutError) as error:
            log.warning("QPU %s can't be calibrated: %s", qpu.name, error)
            self._post(CalibrationEnded(qpu.name, worked=False), None)
            return
        except Exception:
            log.exception("QPU %s: its adapter can't calibrate", qpu.name)
            self._post(CalibrationEnded(qpu.name, worked=False), None)
            return
        await self._watch.look(qpu)

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # An adapter that breaks its contract must not end in silence.
            log.error("%s ended with %r", task.get_name(), error, exc_info=error)


async def _pause(attempt: int) -> None:
    await asyncio.sleep(ASK_AGAIN_S[min(attempt, len(ASK_AGAIN_S) - 1)])


def event_of(chunk: ChunkId, outcome: ChunkOutcome) -> Event:
    """The event that tells the core how a chunk ended (or that nobody knows)."""
    match outcome.kind:
        case OutcomeKind.FINISHED:
            return ChunkFinished(chunk, outcome.shots, outcome.device_s, outcome.setup_s)
        case OutcomeKind.STOPPED:
            return ChunkStopped(chunk, outcome.shots, outcome.device_s, outcome.setup_s)
        case OutcomeKind.REFUSED:
            return ChunkRefused(chunk, outcome.message)
        case OutcomeKind.FAULT:
            return ChunkLost(
                chunk,
                outcome.message,
                fault=True,
                device_s=outcome.device_s,
                setup_s=outcome.setup_s,
            )
        case OutcomeKind.NOT_KNOWN:
            return ChunkLost(chunk, outcome.message or "the QPU doesn't know it", fault=False)
        case OutcomeKind.UNANSWERED:
            return ChunkUnanswered(chunk, outcome.message)
