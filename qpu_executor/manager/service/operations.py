"""What operators may ask of the manager. Each of it is on record: who, what, when."""

from __future__ import annotations

import os
from collections.abc import Sequence

from qpu_executor.errors import ConfigError, NotAllowed, RequestRefused, UnknownTask
from qpu_executor.manager.auth.caller import Caller
from qpu_executor.manager.service.asking import ask_of_tasks
from qpu_executor.manager.service.ledger import Ledger
from qpu_executor.manager.service.manager import Manager
from qpu_executor.manager.service.site_policy import SitePolicy
from qpu_executor.manager.store.records import SessionRow, TaskRow
from qpu_executor.model.events import CalibrationDue, Event, QpuDrained, QpuResumed, TaskStopAsked
from qpu_executor.model.states import TaskState
from qpu_executor.model.values import Instant

MOST_REASON = 200
"""Characters of a reason that are kept."""


def is_operator(caller: Caller) -> bool:
    """True for root and for the user whose manager this is."""
    return caller.uid in (0, os.getuid())


class Operations:
    """An operator's view of a manager. Raises NotAllowed for anybody else."""

    def __init__(self, manager: Manager, caller: Caller) -> None:
        if not is_operator(caller):
            raise NotAllowed(
                f"{caller.name} is no operator of this manager",
                expected="root, or the user that the manager runs as",
                next_step="ask the site's operators",
            )
        self._manager = manager
        self._caller = caller

    async def drain(self, qpu: str, reason: str) -> None:
        """Let a QPU finish what it has and take nothing new, also after a restart."""
        await self._decide("drain", QpuDrained(qpu, reason[:MOST_REASON] or "drained"), qpu)

    async def resume(self, qpu: str) -> None:
        """Let a drained QPU take chunks again."""
        await self._decide("resume", QpuResumed(qpu), qpu)

    async def calibrate(self, qpu: str) -> None:
        """Calibrate a QPU before it takes another chunk."""
        if not self._manager.fleet.get(qpu).capabilities.can_calibrate:
            raise RequestRefused(
                f"QPU {qpu} can't be asked for a calibration",
                where="qpu",
                next_step="calibrate it by its own means",
            )
        event = CalibrationDue(qpu, f"{self._caller.name} asked for it")
        await self._decide("calibrate", event, qpu)

    async def requeue(self, ids: Sequence[int]) -> list[TaskRow]:
        """Stop the running chunks of anybody's tasks; these wait again with the shots they have.

        A task that doesn't run stays as it is. Raises UnknownTask for an id that isn't live.
        """
        manager = self._manager
        for task_id in ids:
            if task_id not in manager.live:
                raise UnknownTask(f"no task {task_id} waits or runs", where="ids")

        def change(ledger: Ledger, now: Instant) -> None:
            self._record(ledger, now, "requeue", ids=list(ids))
            for task_id in ids:
                row = ledger.row(task_id)
                if row is not None and row.state is TaskState.RUNNING:
                    asked = TaskStopAsked(task_id, f"{self._caller.name} stopped it")
                    manager.loop.decide(asked, None, ledger, now)

        await manager.loop.run(change)
        rows = [manager.live.get(one) or await manager.store.task(one) for one in ids]
        return [row for row in rows if row is not None]

    async def ask(self, action: str, ids: Sequence[int]) -> list[TaskRow]:
        """Cancel, hold or release anybody's tasks; returns their rows afterwards.

        Only what is done to others' tasks is on record as an operator's. A task that has
        ended stays as it is. Raises UnknownTask for the first id that nobody has.
        """
        manager = self._manager
        rows = [await self._any_task(task_id) for task_id in ids]
        others = [row.id for row in rows if row.owner != self._caller.name]

        def note(ledger: Ledger, now: Instant) -> None:
            self._record(ledger, now, action, ids=others)

        await ask_of_tasks(manager.loop, action, ids, note if others else None)
        return [await self._any_task(task_id) for task_id in ids]

    async def give_back(self, session_id: str) -> SessionRow:
        """End what anybody's session keeps of the QPUs. Raises RequestRefused for no session."""
        sessions = self._manager.sessions
        session = await sessions.find(session_id)
        if session is None:
            raise RequestRefused(f"there is no session {session_id!r}", where="session")

        def note(ledger: Ledger, now: Instant) -> None:
            self._record(ledger, now, "give back", session=session_id)

        own = session.owner == self._caller.name
        await sessions.holds.give_back(session, None if own else note)
        return session

    async def reload_policy(self) -> list[str]:
        """Read the site file's rules for the queue again; returns what changed, in words.

        Raises ConfigError or PluginRefused for a file that isn't right: nothing changes.
        """
        manager = self._manager
        if manager.read_policy is None:
            raise RequestRefused(
                "this manager has no site file to read",
                next_step="start it with `qpu serve --site`",
            )
        before, after = manager.policy, manager.read_policy()
        _refuse_unknown_qpus(manager, after)
        changed = [
            what
            for what, differs in (
                ("policy", (before.kind, before.ordering) != (after.kind, after.ordering)),
                ("job classes", before.classes != after.classes),
                ("default class", before.default_class != after.default_class),
                ("fair share", before.fair_share != after.fair_share),
                ("charging", before.charging != after.charging),
                ("minimum share horizon", before.share_horizon_s != after.share_horizon_s),
                ("accounts' limits", before.credits != after.credits),
            )
            if differs
        ]
        if changed:
            await manager.change_policy(after)

        def note(ledger: Ledger, now: Instant) -> None:
            self._record(ledger, now, "reload policy", changed=changed)

        await manager.loop.run(note)
        return changed

    async def _any_task(self, task_id: int) -> TaskRow:
        row = self._manager.live.get(task_id) or await self._manager.store.task(task_id)
        if row is None:
            raise UnknownTask(f"there is no task {task_id}", where="ids")
        return row

    async def _decide(self, what: str, event: Event, qpu: str) -> None:
        self._manager.fleet.get(qpu)

        def change(ledger: Ledger, now: Instant) -> None:
            self._record(ledger, now, what, qpu=qpu)
            self._manager.loop.decide(event, None, ledger, now)

        await self._manager.loop.run(change)

    def _record(self, ledger: Ledger, now: Instant, what: str, **about: object) -> None:
        who = {"who": self._caller.name, "uid": self._caller.uid, "how": self._caller.how}
        ledger.record("OperatorAsked", {**who, "what": what, **about}, now)


def _refuse_unknown_qpus(manager: Manager, policy: SitePolicy) -> None:
    """QPUs join when the manager starts: a class that names another one has to wait for that."""
    for one in policy.classes:
        for name in (*(one.qpus or ()), *one.fallback):
            if manager.fleet.find(name) is None:
                raise ConfigError(
                    f"job class {one.name!r} names QPU {name!r}, which this manager doesn't drive",
                    where=f"job_classes.{one.name}",
                    next_step="restart the manager to change its QPUs",
                )
