"""The manager: what callers may ask of it.

Every method takes the caller, shows and changes only what is the caller's, and
returns once its effect is durable. The deciding is the loop's (`loop.py`).
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from qpu_executor.errors import QpuExecutorError, RequestRefused, UnknownTask
from qpu_executor.manager.auth.caller import Caller, Role
from qpu_executor.manager.service.admission import Admission
from qpu_executor.manager.service.asking import ask_of_tasks
from qpu_executor.manager.service.broadcast import Broadcast
from qpu_executor.manager.service.denials import Denials
from qpu_executor.manager.service.dispatcher import Dispatcher
from qpu_executor.manager.service.fleet import Fleet
from qpu_executor.manager.service.judging import Judge
from qpu_executor.manager.service.keeping_warm import WarmHolds
from qpu_executor.manager.service.ledger import DeviceCommand, Ledger
from qpu_executor.manager.service.loop import ANSWER_WITHIN_S, DecisionLoop
from qpu_executor.manager.service.orders import Accepted, Admitted, Answer, NewTask
from qpu_executor.manager.service.program_shelf import ProgramShelf
from qpu_executor.manager.service.recovery import Restored, restore
from qpu_executor.manager.service.retention import Retention
from qpu_executor.manager.service.sessions import Sessions
from qpu_executor.manager.service.site_policy import SitePolicy
from qpu_executor.manager.service.site_rules import SiteRules
from qpu_executor.manager.service.submission import (
    adopted,
    expired,
    program_row_of,
    row_of,
    spec_of,
)
from qpu_executor.manager.service.turn_checks import refusal_now
from qpu_executor.manager.service.window_calendar import WindowCalendar
from qpu_executor.manager.store.base import Store
from qpu_executor.manager.store.change_records import AddProgram, AddTask
from qpu_executor.manager.store.records import Snapshot, TaskRow
from qpu_executor.model.clock import Clock
from qpu_executor.model.events import Event, TaskSubmitted
from qpu_executor.model.timing import after
from qpu_executor.model.values import MAX_TASK_ID, Instant
from qpu_executor.qpus.base import ChunkOrder
from qpu_executor.scheduling.commands import StartCalibration, StopChunk
from qpu_executor.scheduling.scheduler import Scheduler

ORDERS_PER_TURN = 100
"""Of one request: a turn of the loop takes some 0.1 ms for each."""


class Manager:
    """Everything that a caller can ask for. The store and the fleet are opened by others."""

    def __init__(
        self,
        *,
        store: Store,
        fleet: Fleet,
        admission: Admission,
        scheduler: Scheduler,
        make_clock: Callable[[Instant], Clock],
        health_every_s: float = 5.0,
        policy: SitePolicy | None = None,
        read_policy: Callable[[], SitePolicy] | None = None,
    ) -> None:
        """`policy`: the rules that `scheduler` goes by (None: the core's defaults).

        `read_policy`: reads them from the site file again (None: there is no such file).
        """
        self.read_policy = read_policy
        self.store = store
        self.fleet = fleet
        self.admission = admission
        self.scheduler = scheduler
        self.policy = policy or SitePolicy(
            tuple(admission.classes.values()), admission.default_class
        )
        self.instance = uuid.uuid4().hex
        self.live: dict[int, TaskRow] = {}
        self._make_clock = make_clock
        self._health_every_s = health_every_s
        self._shelf = ProgramShelf(store)
        self.judge = Judge()

    async def recall(self) -> Clock:
        """Read what is stored and set the clock after it: the fleet is opened with that clock."""
        self._snapshot = await self.store.load()
        self.clock = self._make_clock(self._snapshot.latest_at)
        return self.clock

    async def start(self) -> None:
        """Restore what was recalled, ask the QPUs about what was in flight, and begin."""
        snapshot = self._snapshot
        del self._snapshot
        self.broadcast = Broadcast(newest=snapshot.journal_n)
        self._next_task_id = snapshot.next_task_id
        self.live.update((task.id, task) for task in snapshot.live)
        self.loop = DecisionLoop(
            store=self.store,
            fleet=self.fleet,
            scheduler=self.scheduler,
            clock=self.clock,
            broadcast=self.broadcast,
            live=self.live,
            perform=self._perform,
            judge=self.judge,
        )
        self.denials = Denials(self.clock, self.loop.note)
        holds = WarmHolds(self.loop, self.fleet, self.clock, lambda: self.scheduler)
        self.sessions = Sessions(
            self.store,
            self.loop,
            self.clock,
            self.live,
            holds,
            snapshot.open_sessions,
            lambda: self.admission.rights,
            lambda: self.policy.sessions,
        )
        self.dispatcher = Dispatcher(
            self.fleet,
            self.loop.post,
            self.clock,
            self._health_every_s,
            ask_first_below=snapshot.restored_below,
            leading=self.loop,
        )
        self.windows = WindowCalendar(
            {qpu.name: qpu.rules.windows for qpu in self.fleet},
            self.clock,
            self.loop.post,
            snapshot.windows,
        )
        self.retention = Retention(
            self.store, self.loop, self.clock, self.live, lambda: self.policy
        )
        events, unclear, calibrations = await self._fill(self.scheduler, self.policy, snapshot)
        self.windows.start(self.loop.die)
        for event in events:
            self.loop.post(event, None)
        self.loop.start()
        for qpu, chunk in unclear:
            self.dispatcher.adopt(qpu, chunk)
        for command in calibrations:
            self.dispatcher.calibrate(command.qpu)
        self.dispatcher.watch_health()
        self.retention.start()
        self.sessions.watch.start(snapshot.latest_at, self.loop.die)

    async def _fill(self, scheduler: Scheduler, policy: SitePolicy, snapshot: Snapshot) -> Restored:
        """Put everything that is stored, and what was used before, into an empty core."""
        now = self.clock.now()
        events, unclear, calibrations = restore(
            scheduler,
            self.fleet,
            {one.name: one for one in policy.classes},
            snapshot,
            now,
            known=self.windows.events(),
            usage=await self.store.usage(after(now, -policy.memory_s)),
            charging=policy.charging,
        )
        # Judgements first: who has enough must not be sent another chunk by the last of the rest.
        return [*self.judge.recall(snapshot), *events], unclear, calibrations

    async def change_policy(self, policy: SitePolicy) -> None:
        """Go on by other rules: a new core, filled from the store between two turns.

        If that fails nothing has changed. What the old core had measured (shots a
        second, balances of minimum shares) begins anew.
        """

        async def make() -> tuple[Scheduler, list[Event]]:
            scheduler = policy.scheduler()
            snapshot = await self.store.load()
            before = {qpu.name: qpu.rules for qpu in self.fleet}
            self._change_rules(policy.qpus)
            try:
                events, _, calibrations = await self._fill(scheduler, policy, snapshot)
            except BaseException:
                self._change_rules(before)
                raise
            events += self.sessions.holds.events()
            self.admission.change_classes(policy.classes, policy.default_class, policy.rights)
            self.scheduler, self.policy = scheduler, policy
            for command in calibrations:
                self.dispatcher.calibrate(command.qpu)
            return scheduler, events

        await self.loop.replace_core(make)
        self.sessions.watch.rules_changed()

    def _change_rules(self, rules: Mapping[str, SiteRules]) -> None:
        self.fleet.change_rules(rules)
        self.windows.change_rules({qpu.name: qpu.rules.windows for qpu in self.fleet})

    async def stop(self) -> None:
        """Let go of the devices and end the loop; what was accepted is in the store."""
        await self.retention.close()
        await self.sessions.watch.close()
        await self.windows.close()
        await self.dispatcher.close()
        await self.loop.stop()

    # -- tasks ----------------------------------------------------------------

    async def submit(self, orders: Sequence[NewTask], caller: Caller) -> list[Answer]:
        """Admit and save tasks: each answer is a durable task, or why there is none.

        Many are saved in several turns, so that others' requests come in between.
        """
        self.loop.refuse_if_overloaded()
        answers: list[Answer] = []
        for start in range(0, len(orders), ORDERS_PER_TURN):
            part = orders[start : start + ORDERS_PER_TURN]
            try:
                answers += await self._submit_part(part, caller)
            except QpuExecutorError as error:
                if not answers:  # a refused request has done nothing
                    raise
                answers += [error] * len(part)
        return answers

    async def _submit_part(self, orders: Sequence[NewTask], caller: Caller) -> list[Answer]:
        admitted = await self._admit_all(orders, caller)
        accepted = [one for one in admitted if isinstance(one, Admitted)]
        for one in accepted:
            self._shelf.put(one.program)
        keys = tuple((caller.name, one.order.key) for one in accepted if one.order.key)
        ids = tuple(need.task_id for one in accepted for need in one.order.wishes.depends_on)

        def save(ledger: Ledger, now: Instant) -> list[Answer]:
            return [
                self._add(one, caller, ledger, now) if isinstance(one, Admitted) else one
                for one in admitted
            ]

        return await self.loop.run(save, keys, ids, within_s=ANSWER_WITHIN_S)

    async def ask(self, action: str, ids: Sequence[int], caller: Caller) -> list[TaskRow]:
        """Cancel, hold or release tasks of the caller; returns their rows afterwards.

        Raises UnknownTask for the first id that isn't the caller's. A task that has
        ended stays as it is.
        """
        self.loop.refuse_if_overloaded()
        for task_id in ids:
            await self.task(task_id, caller)
        await ask_of_tasks(self.loop, action, ids)
        return [await self.task(task_id, caller) for task_id in ids]

    async def check(self, order: NewTask, caller: Caller) -> TaskRow | QpuExecutorError:
        """The task that an order would make now, without making it; or why it is refused."""
        (admitted,) = await self._admit_all([replace(order, key=None)], caller)
        if not isinstance(admitted, Admitted):
            return admitted if isinstance(admitted, QpuExecutorError) else admitted.task
        ids = tuple(need.task_id for need in order.wishes.depends_on)

        def look(ledger: Ledger, now: Instant) -> TaskRow | RequestRefused:
            row = row_of(admitted, caller.name, self._next_task_id, 1, now)
            return self._refusal(row, ledger) or row

        return await self.loop.run(look, ids=ids)

    async def task(self, task_id: int, caller: Caller) -> TaskRow:
        """One task of the caller. Raises UnknownTask, also for somebody else's, and TaskExpired."""
        row = self.live.get(task_id) or await self.store.task(task_id)
        if row is None or row.owner != caller.name:
            raise UnknownTask(
                f"there is no task {task_id} of {caller.name}",
                where="task",
                next_step="see `qpu queue --all`",
            )
        return _kept(row)

    async def shown(self, task_id: int, caller: Caller) -> TaskRow:
        """One task that the caller may look at: their own, or for operators anybody's.

        Raises UnknownTask, in the same words for somebody else's and for none.
        """
        if caller.has(Role.OPERATOR):
            row = self.live.get(task_id) or await self.store.task(task_id)
            if row is not None:
                return _kept(row)
        return await self.task(task_id, caller)

    async def _admit_all(
        self, orders: Sequence[NewTask], caller: Caller
    ) -> list[Admitted | Answer]:
        keys = {order.key for order in orders if order.key}
        known = await self.store.tasks_by_key(caller.name, keys) if keys else {}

        async def one(order: NewTask) -> Admitted | Answer:
            found = known.get(order.key or "")
            try:
                if found is not None:
                    named = adopted(order, self.live.get(found.id, found))
                    if named is not None:
                        return await self._gone_on(named, order, caller)
                session = None
                if order.session_id is not None:
                    session = await self.sessions.usable(order.session_id, caller)
                return await self.admission.admit(order, caller, self._rate_hz, session)
            except QpuExecutorError as error:
                return error

        return list(await asyncio.gather(*(one(order) for order in orders)))

    async def _gone_on(self, named: Accepted, order: NewTask, caller: Caller) -> Accepted:
        """A task that is asked for again goes on, where the end of its session held it."""
        row, wanted = named.task, order.session_id
        homeless = row.session_id is not None and not self.sessions.is_open(row.session_id)
        if row.state.final or not (row.held_because or (homeless and wanted is not None)):
            return named
        if wanted is not None:
            await self.sessions.usable(wanted, caller)

        def take_over(ledger: Ledger, now: Instant) -> TaskRow | RequestRefused:
            session = None if wanted is None else self.sessions.enter(wanted, ledger, now)
            if isinstance(session, RequestRefused):
                return session
            self.sessions.tasks.take_over(row.id, session, ledger, now)
            return ledger.row(row.id) or row

        taken = await self.loop.run(take_over)
        if isinstance(taken, RequestRefused):
            raise taken
        return replace(named, task=taken)

    def _add(self, one: Admitted, caller: Caller, ledger: Ledger, now: Instant) -> Answer:
        """Save a task, within a turn of the loop; its key may have been taken meanwhile."""
        order, generation = one.order, 1
        if order.key is not None:
            known = self.loop.keys_found.get((caller.name, order.key))
            try:
                named = adopted(order, known)
            except QpuExecutorError as error:
                return error
            if named is not None:
                return named
            generation = 1 if known is None else known.generation + 1
        if self._next_task_id > MAX_TASK_ID:
            return RequestRefused("all task ids are used up", next_step="tell the operators")
        entered = self._in_its_session(one, ledger, now)
        if isinstance(entered, RequestRefused):
            return entered
        row = row_of(entered, caller.name, self._next_task_id, generation, now)
        refusal = self._refusal(row, ledger)
        if refusal is not None:
            return refusal
        self._next_task_id += 1
        if order.key is not None:
            self.loop.keys_found[caller.name, order.key] = row
        ledger.add_task(AddProgram(program_row_of(one, now)), AddTask(row), now)
        spec = spec_of(row, self.sessions.hints(row.session_id))
        self.loop.decide(TaskSubmitted(spec), None, ledger, now)
        return Accepted(row, created=True)

    def _in_its_session(
        self, one: Admitted, ledger: Ledger, now: Instant
    ) -> Admitted | RequestRefused:
        """The task with its session's end as that is now; or why that takes it no more."""
        if one.order.session_id is None:
            return one
        session = self.sessions.enter(one.order.session_id, ledger, now)
        if isinstance(session, RequestRefused):
            return session
        return replace(one, session_ends_at=session.ends_at)

    def _rate_hz(self, qpu: str) -> float | None:
        view = self.scheduler.qpu(qpu)
        return None if view is None else view.rate_hz

    def _refusal(self, row: TaskRow, ledger: Ledger) -> RequestRefused | None:
        def find(task_id: int) -> TaskRow | None:
            return ledger.row(task_id) or self.loop.tasks_found.get(task_id)

        return refusal_now(self.scheduler, row, find)

    # -- devices --------------------------------------------------------------

    async def _perform(self, command: DeviceCommand) -> None:
        """A saved command reaches its device."""
        if isinstance(command, StartCalibration):
            self.dispatcher.calibrate(command.qpu)
            return
        if isinstance(command, StopChunk):
            self.dispatcher.stop(command.qpu, command.chunk)
            return
        task = self.live[command.chunk.task_id]
        order = ChunkOrder(
            chunk=command.chunk,
            program=await self._shelf.get(task.program_hash),
            first_shot=command.first_shot,
            shots=command.shots,
            seed=task.seed,
        )
        self.dispatcher.start(command.qpu, order)


def _kept(row: TaskRow) -> TaskRow:
    """The row. Raises TaskExpired."""
    if row.expired_at is not None:
        raise expired(row, where="task")
    return row
