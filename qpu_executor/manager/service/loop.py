"""The one loop that decides and saves.

One turn: take all that has arrived, let the core decide, save everything in
one transaction, and only then tell the devices, the callers and the event
streams. While the store can't be written the turn is kept and tried again:
nothing reaches a device meanwhile, and what the devices answer is kept. An
error that leaves the core in doubt ends the loop; a restart rebuilds it from
the store.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from qpu_executor.cancellation import only_own_cancellation
from qpu_executor.errors import InternalError, ManagerBusy, QpuExecutorError, StoreError
from qpu_executor.manager.service.alarm import Alarm
from qpu_executor.manager.service.broadcast import Broadcast
from qpu_executor.manager.service.fleet import Fleet
from qpu_executor.manager.service.inbox import Inbox
from qpu_executor.manager.service.judging import Judge
from qpu_executor.manager.service.ledger import DeviceCommand, Ledger
from qpu_executor.manager.service.store_patience import StorePatience
from qpu_executor.manager.service.vital import vital
from qpu_executor.manager.store.base import Store
from qpu_executor.manager.store.records import TaskFilter, TaskRow
from qpu_executor.model.clock import Clock
from qpu_executor.model.events import ChunkStarted, Event, WokenUp
from qpu_executor.model.values import Instant
from qpu_executor.qpus.base import ChunkOutcome
from qpu_executor.scheduling.scheduler import Scheduler

log = logging.getLogger(__name__)

INBOX_LIMIT = 50_000
"""Above this many waiting items, callers are asked to come back later."""

ACCEPTED_S = 0.02
"""That a QPU has accepted a chunk may wait so long (real seconds) to be saved with something
else. Nothing is decided on it, and a manager that is killed before asks the QPU anyway: a
chunk that ends sooner costs one commit instead of two, and its end doesn't wait for the first.
Longer ones, between which a QPU would wait, have it saved while they run. Where a device
doesn't say when a chunk began, the moment on record may be late by as much."""

ANSWER_WITHIN_S = 10.0
"""So long (real seconds) a caller waits for a store that is in trouble, before it is told so."""
LOOK_AGAIN_S = 1.0
"""Who has waited so long is told within this when the store turns out to be in trouble later."""

Answered = TypeVar("Answered")

OwnerKey = tuple[str, str]
"""An idempotency key, scoped to its owner."""


@dataclass(frozen=True, slots=True)
class _Item:
    """`work` runs on the loop, without waiting; `keys` and `ids` are looked up before."""

    work: Callable[[Ledger, Instant], None]
    keys: tuple[OwnerKey, ...]
    ids: tuple[int, ...]
    fail: Callable[[QpuExecutorError], None]


class DecisionLoop:
    """`live`: rows of the tasks that haven't ended. `keys_found`: of the turn's items.
    `tasks_found`: those that the turn's items name and that have ended.

    `perform` hands a saved command to a device. `judge`: of stopping rules.
    """

    def __init__(
        self,
        *,
        store: Store,
        fleet: Fleet,
        scheduler: Scheduler,
        clock: Clock,
        broadcast: Broadcast,
        live: dict[int, TaskRow],
        perform: Callable[[DeviceCommand], Coroutine[None, None, None]],
        judge: Judge,
    ) -> None:
        self.live = live
        self._judge = judge
        self.keys_found: dict[OwnerKey, TaskRow] = {}
        self.tasks_found: dict[int, TaskRow] = {}
        self.failure: QpuExecutorError | None = None
        self._store = store
        self._patience = StorePatience()
        self._fleet = fleet
        self._scheduler = scheduler
        self._clock = clock
        self._broadcast = broadcast
        self._journal_n = broadcast.newest
        self._perform = perform
        self._inbox: Inbox[_Item] = Inbox()
        self._alarm = Alarm(clock, lambda: self.post(WokenUp(), None), self.die)
        self._turns = asyncio.Lock()
        self._first: list[Event] = []
        self._task: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def trouble(self) -> QpuExecutorError | None:
        """Why the store can't be used at the moment; None while it can."""
        return self._patience.trouble

    def start(self) -> None:
        """Begin to take turns, until another manager has the store."""
        running = asyncio.get_running_loop()
        self._task = running.create_task(self._run(), name="manager loop")
        self._watch = vital(self._end_when_lost(), "store watch", self.die)

    async def stop(self) -> None:
        """End after the current turn's save; what was accepted is in the store."""
        self._alarm.cancel()
        ending = [one for one in (self._watch, self._task) if one is not None]
        for one in ending:
            one.cancel()
        if ending:
            await asyncio.wait(ending)
        self._refuse_all(_stopping())

    def die(self, error: QpuExecutorError) -> None:
        """End, for a reason from outside; whoever waits for a turn is told."""
        self._end(error, [])
        if self._task is not None:
            self._task.cancel()

    async def ended(self) -> None:
        """Return when the loop has ended; `failure` says why, unless it was stopped."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def post(self, event: Event, outcome: ChunkOutcome | None) -> None:
        """Let an event reach the core in the next turn."""

        def happen(ledger: Ledger, now: Instant) -> None:
            self.decide(event, outcome, ledger, now)

        within_s = ACCEPTED_S if isinstance(event, ChunkStarted) else 0.0
        self._inbox.post(_Item(happen, (), (), lambda error: None), within_s)

    def note(self, work: Callable[[Ledger, Instant], None]) -> None:
        """Do `work` in the next turn; nobody waits for it."""
        self._inbox.post(_Item(work, (), (), lambda error: None))

    async def run(
        self,
        work: Callable[[Ledger, Instant], Answered],
        keys: tuple[OwnerKey, ...] = (),
        ids: tuple[int, ...] = (),
        *,
        within_s: float | None = None,
    ) -> Answered:
        """Do `work` in the next turn; return its answer once that is durable.

        Raises ManagerBusy after `within_s` (None: never) where the store is in trouble; it
        may be done all the same, once the store is well again.
        """
        if self.failure is not None:
            raise self.failure
        if self._task is not None and self._task.done():
            raise _stopping()
        future: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()

        def do(ledger: Ledger, now: Instant) -> None:
            answer = work(ledger, now)
            ledger.answers.append(lambda: None if future.done() else future.set_result(answer))

        def fail(error: QpuExecutorError) -> None:
            if not future.done():
                future.set_exception(error)

        self._inbox.post(_Item(do, keys, ids, fail))
        if within_s is None:
            return await future
        giving_up = asyncio.get_running_loop().call_later(within_s, self._give_up_on, future)
        try:
            return await future
        finally:
            giving_up.cancel()

    def _give_up_on(self, future: asyncio.Future[Answered]) -> None:
        """Answer a caller whose turn can't be saved; one whose turn is on its way waits on."""
        if future.done():
            return
        if self.trouble is None:
            future.get_loop().call_later(LOOK_AGAIN_S, self._give_up_on, future)
        else:
            future.set_exception(
                ManagerBusy(
                    f"the manager can't save this at the moment: {self.trouble.message}",
                    retry_after_s=2.0,
                    next_step="it may be saved yet: ask again, for a task with the same "
                    "Idempotency-Key",
                )
            )

    def decide(
        self, event: Event, outcome: ChunkOutcome | None, ledger: Ledger, now: Instant
    ) -> None:
        """Let the core decide on an event, and note what follows. Within a turn only.

        Where the end of a chunk meets its task's stopping rule, the core hears that first.
        """
        chunk = getattr(event, "chunk", None)
        if chunk is not None:
            met = self._judge.before(event, outcome, ledger.row(chunk.task_id))
            if met is not None:
                self.decide(met, None, ledger, now)
        ledger.record_event(event, now)
        for command in self._scheduler.handle(event, now):
            about = getattr(command, "chunk", None)
            its_outcome = outcome if about == chunk else None
            ledger.carry_out(command, its_outcome, now)
            self._judge.follow(command, its_outcome)

    async def replace_core(
        self, make: Callable[[], Coroutine[None, None, tuple[Scheduler, list[Event]]]]
    ) -> None:
        """Go on with another core, which `make` fills from the store between two turns.

        `make` answers with the core and the events that it has to see before any other.
        Whatever it raises is raised here, and nothing has changed.
        """
        async with self._turns:
            if self.failure is not None:
                raise self.failure
            self._scheduler, self._first = await make()
        self.post(WokenUp(), None)

    @property
    def waiting(self) -> bool:
        """True while something waits for a turn, or the store can't be written."""
        return self.trouble is not None or len(self._inbox) > 0

    @property
    def sure(self) -> bool:
        """False where so long was heard nothing that another manager may have the store."""
        return self._store.surely_ours

    async def assure(self) -> bool:
        """Return once the store is surely ours; False where another manager has it."""
        try:
            while not self.sure:
                await StorePatience().insist(lambda: self._store.apply([]))
        except StoreError:
            return False
        return True

    def refuse_if_overloaded(self) -> None:
        """Raises ManagerBusy while the store can't be written or too much is waiting."""
        if self.trouble is not None:
            raise ManagerBusy(
                f"the manager can't save anything at the moment: {self.trouble.message}",
                retry_after_s=2.0,
                next_step="nothing was lost; try again",
            )
        if len(self._inbox) > INBOX_LIMIT:
            raise ManagerBusy("the manager has more to do than it can take", retry_after_s=2.0)

    # -- one turn -------------------------------------------------------------

    async def _run(self) -> None:
        items: list[_Item] = []
        try:
            with only_own_cancellation():
                while True:
                    items = await self._inbox.take()
                    async with self._turns:
                        await self._turn(items)
        except asyncio.CancelledError:
            self._fail(items, self.failure or _stopping())
            raise
        except QpuExecutorError as error:
            self._end(error, items)
        except Exception as error:
            log.exception("the manager's loop failed")
            self._end(InternalError(f"the manager's loop failed: {error!r}"), items)

    async def _end_when_lost(self) -> None:
        """A manager that another one has followed drives no QPU any more."""
        raise await self._store.lost()

    async def _turn(self, items: list[_Item]) -> None:
        await self._patience.insist(lambda: self._find_keys(items))
        ledger = Ledger(self.live, self._fleet, self._journal_n, self._store.incarnation)
        now = self._clock.now()
        for event in self._first:
            self.decide(event, None, ledger, now)
        self._first = []
        for item in items:
            item.work(ledger, now)
        await self._save(ledger)
        self._journal_n = ledger.journal_n
        self._take_over(ledger)
        for command in ledger.device_commands:
            await self._patience.insist(partial(self._perform_as_manager, command))
        if ledger.device_commands:
            await asyncio.sleep(0)  # the devices first: a QPU stands idle, the others only wait
        for answer in ledger.answers:
            answer()
        await self._broadcast.publish(self._journal_n, ledger.told, ledger.progress)
        self._alarm.set(self._scheduler.next_wakeup())

    def _take_over(self, ledger: Ledger) -> None:
        """What is committed is what readers see from now on."""
        for row in ledger.touched.values():
            if row.state.final:
                self.live.pop(row.id, None)
                self._broadcast.forget(row.owner, row.id)
            else:
                self.live[row.id] = row

    async def _find_keys(self, items: list[_Item]) -> None:
        """Look up the keys of a turn; whatever came before it is in the store by now."""
        self.keys_found = {}
        by_owner: dict[str, set[str]] = {}
        for item in items:
            for owner, key in item.keys:
                by_owner.setdefault(owner, set()).add(key)
        for owner, keys in by_owner.items():
            for key, row in (await self._store.tasks_by_key(owner, keys)).items():
                self.keys_found[owner, key] = self.live.get(row.id, row)
        ids = {id_ for item in items for id_ in item.ids} - self.live.keys()
        self.tasks_found = {}
        if ids:
            which = TaskFilter(ids=tuple(ids), limit=len(ids), expired=True)
            self.tasks_found = {row.id: row for row in await self._store.tasks(which)}

    async def _save(self, ledger: Ledger) -> None:
        if ledger.changes:
            await self._patience.insist(lambda: self._store.apply(ledger.changes))

    async def _perform_as_manager(self, command: DeviceCommand) -> None:
        """Hand a command over, unless meanwhile another manager may have the store."""
        if not self._store.surely_ours:
            await self._store.apply([])
        await self._perform(command)

    def _end(self, error: QpuExecutorError, items: list[_Item]) -> None:
        if self.failure is not None:
            return
        self.failure = error
        log.critical("the manager ends: %s", error)
        self._fail(items, error)
        self._refuse_all(error)

    def _refuse_all(self, error: QpuExecutorError) -> None:
        self._fail(self._inbox.drain(), error)

    @staticmethod
    def _fail(items: Iterable[_Item], error: QpuExecutorError) -> None:
        for item in items:
            item.fail(error)


def _stopping() -> ManagerBusy:
    return ManagerBusy("the manager is stopping", next_step="try again")
