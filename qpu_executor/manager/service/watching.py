"""Watches how the QPUs are, one asyncio task each, and opens those again that aren't open.

A QPU is looked at every few seconds, and its device is read again: specifications drift.
One that couldn't be opened (a package, a service or a token was missing) is tried again
after pauses that grow, and one that says that its limits have changed is closed and opened
anew; both without a restart of the manager.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from qpu_executor.cancellation import only_own_cancellation
from qpu_executor.errors import QpuExecutorError
from qpu_executor.manager.service.adapter_answers import sound_description, sound_health
from qpu_executor.manager.service.fleet import Fleet, Qpu
from qpu_executor.manager.service.qpu_news import health_events, held_down, reported_state
from qpu_executor.model.clock import Clock
from qpu_executor.model.events import Event, QpuRegistered, QpuReported
from qpu_executor.model.states import QpuState
from qpu_executor.model.values import MICROSECONDS
from qpu_executor.qpus.base import ChunkOutcome, Health

log = logging.getLogger(__name__)

OPEN_AGAIN_S = (5.0, 10.0, 30.0, 60.0, 300.0)
"""Pauses before a QPU is opened again, in the manager's time; the last one repeats."""


class Watch:
    """`every_s`: seconds of `clock` between looks at a QPU. `answer_s`: real seconds in which
    an adapter has to say how its QPU is. `post`: puts an event into the inbox.
    """

    def __init__(
        self,
        fleet: Fleet,
        post: Callable[[Event, ChunkOutcome | None], None],
        clock: Clock,
        every_s: float,
        answer_s: float,
    ) -> None:
        self._fleet = fleet
        self._post = post
        self._clock = clock
        self._every_s = every_s
        self._answer_s = answer_s
        self._said: dict[str, Health] = {}
        self._hurried = {qpu.name: asyncio.Event() for qpu in fleet}

    async def follow(self, qpu: Qpu) -> None:
        """Look at a QPU again and again, and open it where it isn't open."""
        attempts = 0
        while True:
            await self._pause(qpu, attempts)
            attempts = attempts + 1 if qpu.closed or qpu.health.outdated else 0
            try:
                if attempts:
                    await self._open_again(qpu)
                if not qpu.closed:
                    await self.look(qpu)
                    await self._describe_again(qpu)
            except Exception as error:
                # Nobody would look at it again, and what it said last would be true for ever.
                log.exception("QPU %s can't be looked at", qpu.name)
                self.saw(qpu, Health(QpuState.DOWN, f"it can't be looked at: {error!r}"))

    def hurry(self, name: str) -> None:
        """Look at a QPU (or open it) now instead of at the next time."""
        self._hurried[name].set()

    async def look(self, qpu: Qpu) -> None:
        """Ask a QPU how it is, and report what has changed."""
        try:
            async with asyncio.timeout(self._answer_s):
                with only_own_cancellation():
                    health = sound_health(await qpu.adapter.health())
        except TimeoutError:
            silence = f"its adapter hasn't said for {self._answer_s:g} s how it is"
            health = Health(QpuState.DOWN, silence)
        except Exception as error:
            # An adapter broke its contract; who stopped looking would never see it well again.
            log.exception("QPU %s: its adapter can't say how it is", qpu.name)
            health = Health(QpuState.DOWN, f"its adapter failed: {error!r}")
        self.saw(qpu, health)

    def saw(self, qpu: Qpu, health: Health) -> None:
        """That is how a QPU is, by its own word."""
        found = held_down(health, qpu.overdue.values())
        events = health_events(qpu.name, qpu.health, found)
        self._said[qpu.name] = health
        before, qpu.health = qpu.health, found
        for event in events:
            self._post(event, None)
        if health.outdated and not before.outdated:
            self.hurry(qpu.name)

    def overdue_changed(self, qpu: Qpu) -> None:
        """A QPU has left another question open, or answered one: it is DOWN, or what it said."""
        self.saw(qpu, self._said.get(qpu.name, qpu.health))

    async def _pause(self, qpu: Qpu, attempts: int) -> None:
        now = self._clock.now()
        wait_s = self._every_s
        if qpu.closed or qpu.health.outdated:
            wait_s = OPEN_AGAIN_S[min(attempts, len(OPEN_AGAIN_S) - 1)]
        until = now + int(wait_s * MICROSECONDS)
        expected = qpu.health.until
        if expected is not None and expected > now and not qpu.closed:
            until = min(until, expected)
        hurried = self._hurried[qpu.name]
        waits = [
            asyncio.ensure_future(self._clock.sleep_until(until)),
            asyncio.ensure_future(hurried.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurried.clear()
            for one in waits:
                one.cancel()

    async def _open_again(self, qpu: Qpu) -> None:
        """Chunks that it has meanwhile are asked about afterwards, as after a restart."""
        async with qpu.hand_over.shut(self._answer_s):
            before = qpu.health
            error = await self._fleet.open_again(qpu)
            self._opened_again(qpu, before, error)

    def _opened_again(self, qpu: Qpu, before: Health, error: QpuExecutorError | None) -> None:
        if error is not None:
            log.warning("QPU %s still can't be opened: %s", qpu.name, error)
            health, qpu.health = qpu.health, before
            self.saw(qpu, health)
            return
        log.info("QPU %s is open", qpu.name)
        health = self._said[qpu.name] = qpu.health
        qpu.health = held_down(health, qpu.overdue.values())
        self._post(QpuRegistered(qpu.spec()), None)
        self._post(QpuReported(qpu.name, *reported_state(qpu.health)), None)
        for event in health_events(qpu.name, None, qpu.health):
            self._post(event, None)

    async def _describe_again(self, qpu: Qpu) -> None:
        """Specifications drift: new programs are checked against the newest one."""
        if qpu.health.state is not QpuState.UP:
            return
        try:
            async with asyncio.timeout(self._answer_s):
                with only_own_cancellation():
                    found = sound_description(await qpu.adapter.describe())
        except (QpuExecutorError, TimeoutError) as error:
            log.warning("QPU %s doesn't describe its device now: %s", qpu.name, error)
            return
        except Exception:
            log.exception("QPU %s: its adapter can't describe its device", qpu.name)
            return
        if found != qpu.description:
            log.warning("the device of QPU %s has changed", qpu.name)
            qpu.description = found
            await self.look(qpu)
