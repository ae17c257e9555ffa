"""A whole manager with simulated QPUs, on a clock that the test moves.

The service is the real one: loop, store, dispatcher, health watch, window calendar and
the `simulated-qpu` adapter. Only time is virtual, and shots are coins, so that an hour
of QPU time passes in moments and every run is the same.

async with VirtualManager(settings, policy, directory) as served:
    await served.pass_time(10.5)
    task_id = await served.submit(coin_program("a"), 100, user="ada")
    await served.pass_time(3600)
    chunks = await served.chunks()
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from qpu_executor.errors import QpuExecutorError
from qpu_executor.manager.auth.caller import Caller
from qpu_executor.manager.service.admission import Admission
from qpu_executor.manager.service.fleet import Fleet, Qpu
from qpu_executor.manager.service.manager import Manager
from qpu_executor.manager.service.new_session import NewSession
from qpu_executor.manager.service.orders import Accepted, NewTask
from qpu_executor.manager.service.site_policy import SitePolicy
from qpu_executor.manager.store.records import ChunkRow
from qpu_executor.manager.store.sql import SqlStore
from qpu_executor.model.events import Event
from qpu_executor.model.values import MICROSECONDS, Instant
from qpu_executor.programs.program import Program, ProgramFacts
from qpu_executor.qpus.checking import ProgramChecker
from qpu_executor.qpus.simulated import SimulatedQpu
from qpu_executor.qpus.simulated_settings import SimulatedSettings
from qpu_executor.settings import SiteSettings
from qpu_executor.testing.coins import Coins
from qpu_executor.testing.virtual_clock import VirtualClock

START_AT: Instant = 1_800_000_000 * MICROSECONDS
"""When its clock starts: 2027-01-15 08:00 UTC."""

_TURNS = 60
"""Turns of the event loop in which whoever was woken finishes what needs no thread."""


class _CoinChecker(ProgramChecker):
    """Takes every coin, and says which layout it has."""

    async def check(self, program: Program, device_json: str) -> ProgramFacts:
        """One atom, no duration."""
        return ProgramFacts(1, 0, str(json.loads(program.content)["layout"]), ("q0",))


def coin_qpu(name: str, settings: SimulatedSettings) -> SimulatedQpu:
    """A QPU whose shots are coins."""
    return SimulatedQpu(name, settings, Coins())


class VirtualManager:
    """`settings`: a site whose QPUs are all of kind `simulated-qpu`; `policy`: its rules.

    `make_qpu`: builds a QPU from its settings; what it does takes no real time.
    """

    def __init__(
        self,
        settings: SiteSettings,
        policy: SitePolicy,
        directory: Path,
        make_qpu: Callable[[str, SimulatedSettings], SimulatedQpu] = coin_qpu,
    ) -> None:
        self.clock = VirtualClock(START_AT)
        self.store_file = directory / "store.sqlite"
        self._store = SqlStore(self.store_file)
        self._directory = directory
        self._fleet = Fleet(
            Qpu(
                name,
                one.kind,
                make_qpu(name, SimulatedSettings.read(name, one.adapter_settings())),
                rules=one.site_rules(),
            )
            for name, one in settings.qpus.items()
        )
        admission = Admission(
            fleet=self._fleet,
            classes=policy.classes,
            default_class=policy.default_class,
            checker=_CoinChecker(),
            store=self._store,
        )
        self.manager = Manager(
            store=self._store,
            fleet=self._fleet,
            admission=admission,
            scheduler=policy.scheduler(),
            policy=policy,
            make_clock=lambda newest: self.clock,
            health_every_s=settings.manager.health_every_s,
        )
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Open the store and the QPUs, and start the manager."""
        async with AsyncExitStack() as stack:
            await self._store.open()
            stack.push_async_callback(self._store.close)
            stack.push_async_callback(self._fleet.close)
            await self._fleet.open(await self.manager.recall(), self._directory)
            await self.manager.start()
            stack.push_async_callback(self.manager.stop)
            self._stack = stack.pop_all()
        await self.settle()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop and close everything."""
        await self._stack.aclose()

    async def submit(
        self, program: Program, shots: int, *, user: str = "ada", **options: Any
    ) -> int:
        """Submit a task (`options`: of `NewTask`); its id. Raises what refuses it."""
        order = NewTask(program, program.hash, shots, **options)
        (answer,) = await self.manager.submit([order], caller(user))
        if isinstance(answer, QpuExecutorError):
            raise answer
        assert isinstance(answer, Accepted)
        await self.settle()
        return answer.task.id

    async def open_session(self, *, user: str = "ada") -> str:
        """Open a session; its id, for `submit(..., session_id=...)`."""
        session = await self.manager.sessions.open(caller(user), NewSession(kind="test"))
        return session.id

    async def ask(self, what: str, task_id: int, *, user: str = "ada") -> None:
        """`hold`, `release` or `cancel` a task of the user's."""
        await self.manager.ask(what, [task_id], caller(user))
        await self.settle()

    async def tell(self, event: Event) -> None:
        """Let the core know of something."""
        self.manager.loop.post(event, None)
        await self.settle()

    async def pass_time(self, until_s: float) -> None:
        """Let time pass up to so many seconds since the start, one thing after the other."""
        until = START_AT + round(until_s * MICROSECONDS)
        while (at := self.clock.next_at) is not None and at <= until:
            await self._advance(at)
        await self._advance(until)

    async def chunks(self) -> list[ChunkRow]:
        """Everything that was sent, in the order in which it was."""
        found = await self._store.chunks(list(range(1, await self._newest_task() + 1)))
        rows = [row for of_task in found.values() for row in of_task]
        return sorted(rows, key=lambda row: (row.sent_at, row.qpu))

    async def settle(self) -> None:
        """Return when everybody waits for the clock: what they said is decided and saved."""
        before = -1
        while before != self.manager.broadcast.newest:
            before = self.manager.broadcast.newest
            for _ in range(2):
                for _ in range(_TURNS):
                    await asyncio.sleep(0)
                await self.manager.loop.run(lambda ledger, now: None)

    async def _advance(self, at: Instant) -> None:
        await self.clock.advance((at - self.clock.now()) / MICROSECONDS)
        await self.settle()

    async def _newest_task(self) -> int:
        return (await self._store.load()).next_task_id - 1


def caller(user: str) -> Caller:
    """Somebody by name; the uid is made up."""
    return Caller(user, 1000, "test")
