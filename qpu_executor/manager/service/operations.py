"""What operators may ask of the manager. Each of it is on record: who, what, when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from qpu_executor.errors import (
    ConfigError,
    NotAllowed,
    QpuExecutorError,
    RequestRefused,
    UnknownTask,
)
from qpu_executor.manager.auth.caller import Caller, Role
from qpu_executor.manager.service.asking import ask_of_tasks
from qpu_executor.manager.service.audit import AuditEntry, AuditFilter, read_audit, who_of
from qpu_executor.manager.service.export import records_of
from qpu_executor.manager.service.ledger import Ledger
from qpu_executor.manager.service.manager import Manager
from qpu_executor.manager.service.on_record import on_record
from qpu_executor.manager.service.retention import Batch, Dropped, Only
from qpu_executor.manager.service.settling import Verdict
from qpu_executor.manager.service.site_policy import SitePolicy
from qpu_executor.manager.service.window_calendar import WindowRule
from qpu_executor.manager.store.change_records import DropWindow, PutWindow
from qpu_executor.manager.store.records import SessionRow, TaskRow, WindowRow
from qpu_executor.model.events import CalibrationDue, Event, QpuDrained, QpuResumed, TaskStopAsked
from qpu_executor.model.states import TaskState
from qpu_executor.model.values import Instant
from qpu_executor.nearest import did_you_mean
from qpu_executor.scheduling.commands import StopChunk
from qpu_executor.scheduling.explain import ChunkView

MOST_REASON = 200
"""Characters of a reason that are kept."""


class Operations:
    """An operator's view of a manager. Raises NotAllowed for anybody else."""

    def __init__(self, manager: Manager, caller: Caller) -> None:
        if not caller.has(Role.OPERATOR):
            raise NotAllowed(
                f"{caller.name} is no operator of this manager",
                expected="root, the user that the manager runs as, or whom the site names",
                next_step="ask the site's operators",
            )
        self._manager = manager
        self._caller = caller

    @on_record("drain")
    async def drain(self, qpu: str, reason: str) -> None:
        """Let a QPU finish what it has and take nothing new, also after a restart."""
        why = reason[:MOST_REASON] or "drained"
        await self._decide("drain", QpuDrained(qpu, why), qpu, reason=why)

    @on_record("resume")
    async def resume(self, qpu: str) -> None:
        """Let a drained QPU take chunks again; one that is DOWN is looked at, or opened, now."""
        await self._decide("resume", QpuResumed(qpu), qpu)
        self._manager.dispatcher.look_now(qpu)

    @on_record("calibrate")
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

    @on_record("requeue")
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

    @on_record("settle")
    async def settle(self, task_id: int, verdict: Verdict) -> TaskRow:
        """Say what became of a task's chunk that is UNKNOWN; returns the task's row afterwards.

        Raises UnknownTask for a task that isn't live, and RequestRefused.
        """
        manager = self._manager
        row = manager.live.get(task_id)
        if row is None:
            raise UnknownTask(f"no task {task_id} waits or runs", where="task")
        program = (await manager.store.programs([row.program_hash])).get(row.program_hash)
        atoms = None if program is None else program.atoms

        def change(ledger: Ledger, now: Instant) -> ChunkView | RequestRefused:
            try:
                found = verdict.check(task_id, manager.scheduler.chunk_out(task_id), atoms)
            except RequestRefused as refusal:
                return refusal
            event, outcome = verdict.fate(found, self._caller.name)
            about: dict[str, object] = {"task": task_id, "chunk": found.id.n, "qpu": found.qpu}
            if outcome is None:
                self._record(ledger, now, "settle as lost", **about)
            else:
                self._record(ledger, now, "settle with counts", **about, shots=outcome.shots)
            # Before the next one is sent: should the QPU still have it, it is in the way.
            ledger.device_commands.append(StopChunk(0, found.id, found.qpu, "settled"))
            manager.loop.decide(event, outcome, ledger, now)
            return found

        found = await manager.loop.run(change)
        if isinstance(found, RequestRefused):
            raise found
        manager.dispatcher.settled(found.qpu, found.id)
        return await self._any_task(task_id)

    @on_record("{action}")
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

    @on_record("give back")
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

    @on_record("reload policy")
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
        # The clock that was started goes on, whatever the file says of it now.
        scale = before.sessions.time_scale
        after = replace(after, sessions=replace(after.sessions, time_scale=scale))
        _refuse_unknown_qpus(manager, after)
        manager.fleet.refuse_impossible(after.qpus)
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
                ("members", before.rights != after.rights),
                ("privacy", before.privacy != after.privacy),
                ("retention", before.retention != after.retention),
                ("sessions", before.sessions != after.sessions),
            )
            if differs
        ]
        for qpu in manager.fleet:
            rules = after.qpus.get(qpu.name, qpu.rules)
            changed += [f"{what} of {qpu.name}" for what in qpu.rules.changes(rules)]
        if changed:
            await manager.change_policy(after)

        def note(ledger: Ledger, now: Instant) -> None:
            self._record(ledger, now, "reload policy", changed=changed)

        await manager.loop.run(note)
        return changed

    @on_record("announce window")
    async def announce_window(self, qpu: str, words: Mapping[str, Any]) -> WindowRow:
        """Close a QPU, or keep it for some, at a time; also after a restart.

        `words`: as in the site file. One of the same name, announced before, is replaced.
        """
        manager = self._manager
        manager.fleet.get(qpu)
        rule = WindowRule.of_words(words)
        if manager.windows.in_site_file(qpu, rule.name):
            raise RequestRefused(
                f"the site file has a window {rule.name!r} of {qpu}",
                where="name",
                next_step="choose another name, or change the site file and `qpu policy reload`",
            )
        end = rule.last_end()
        if end is not None and end <= manager.clock.now():
            raise RequestRefused("this window is over already", where="at")
        classes = [one.name for one in manager.policy.classes]
        if rule.job_class is not None and rule.job_class not in classes:
            raise RequestRefused(
                f"there is no job class {rule.job_class!r}{did_you_mean(rule.job_class, classes)}",
                where="job_class",
            )
        row = WindowRow(qpu, rule.name, dict(words), self._caller.name, manager.clock.now())

        def change(ledger: Ledger, now: Instant) -> None:
            self._record(ledger, now, "announce window", qpu=qpu, window=row.rule)
            for past in manager.windows.over():
                manager.windows.drop(past.qpu, past.name)
                ledger.changes.append(DropWindow(past.qpu, past.name))
            ledger.changes.append(PutWindow(row))
            manager.loop.decide(manager.windows.put(row), None, ledger, now)

        await manager.loop.run(change)
        return row

    @on_record("withdraw window")
    async def withdraw_window(self, qpu: str, name: str) -> None:
        """Take an announced window back. Raises RequestRefused if there is none of this name."""
        manager = self._manager
        manager.fleet.get(qpu)
        announced = manager.windows.announced(qpu)
        if manager.windows.in_site_file(qpu, name):
            raise RequestRefused(
                f"the window {name!r} of {qpu} is in the site file",
                where="name",
                next_step="remove it there, then `qpu policy reload`",
            )
        if name not in announced:
            raise RequestRefused(
                f"no window {name!r} of {qpu} was announced{did_you_mean(name, announced)}",
                where="name",
                next_step="see `qpu window`",
            )

        def change(ledger: Ledger, now: Instant) -> None:
            self._record(ledger, now, "withdraw window", qpu=qpu, window=name)
            ledger.changes.append(DropWindow(qpu, name))
            manager.loop.decide(manager.windows.drop(qpu, name), None, ledger, now)

        await manager.loop.run(change)

    async def audit(self, which: AuditFilter) -> tuple[list[AuditEntry], int | None]:
        """What operators and services did, and who was turned away; see `read_audit`."""
        return await read_audit(self._manager.store, which)

    async def prunable(self, older_than_s: float) -> tuple[int, int]:
        """How many tasks and journal rows are older than that, and could be dropped."""
        which = self._manager.retention.by_age(older_than_s)
        return await self._manager.store.prunable(which)

    @on_record("export")
    async def records(self, older_than_s: float) -> tuple[list[dict[str, Any]], Batch]:
        """What a prune would drop next, in full; on record, since programs and counts are in it."""
        retention = self._manager.retention
        async with retention.turns:  # a record of which half is gone says nothing of that
            batch = await retention.next(retention.by_age(older_than_s))
            found = await records_of(self._manager.store, batch)

        def note(ledger: Ledger, now: Instant) -> None:
            tasks, rows = len(batch.tasks), len(batch.journal)
            self._record(ledger, now, "export", tasks=tasks, journal=rows)

        if batch:
            await self._manager.loop.run(note)
        return found, batch

    @on_record("prune")
    async def prune(self, older_than_s: float, only: Only | None = None) -> tuple[Dropped, bool]:
        """Drop a part of what is older than that; and whether there may be more."""
        retention = self._manager.retention
        return await retention.prune(retention.by_age(older_than_s), self._caller, only)

    def refused(self, what: str, about: Mapping[str, object], error: QpuExecutorError) -> None:
        """Put on record what this operator didn't get; nobody waits for that."""
        # What is said of counts that can't be shows some of them.
        said = "the counts can't be right" if error.where == "counts" else error.message
        outcome = f"refused: {said[:MOST_REASON]}"
        self._manager.loop.note(
            lambda ledger, now: self._record(ledger, now, what, **about, outcome=outcome)
        )

    async def _any_task(self, task_id: int) -> TaskRow:
        row = self._manager.live.get(task_id) or await self._manager.store.task(task_id)
        if row is None:
            raise UnknownTask(f"there is no task {task_id}", where="ids")
        return row

    async def _decide(self, what: str, event: Event, qpu: str, **about: object) -> None:
        self._manager.fleet.get(qpu)

        def change(ledger: Ledger, now: Instant) -> None:
            self._record(ledger, now, what, qpu=qpu, **about)
            self._manager.loop.decide(event, None, ledger, now)

        await self._manager.loop.run(change)

    def _record(self, ledger: Ledger, now: Instant, what: str, **about: object) -> None:
        ledger.record("OperatorAsked", {**who_of(self._caller), "what": what, **about}, now)


def _refuse_unknown_qpus(manager: Manager, policy: SitePolicy) -> None:
    """QPUs join when the manager starts: a class that names another one has to wait for that."""
    for one in policy.classes:
        meant = () if one.device_of is None else (one.device_of,)
        for name in (*(one.qpus or ()), *one.fallback, *meant):
            if manager.fleet.find(name) is None:
                raise ConfigError(
                    f"job class {one.name!r} names QPU {name!r}, which this manager doesn't drive",
                    where=f"job_classes.{one.name}",
                    next_step="restart the manager to change its QPUs",
                )
