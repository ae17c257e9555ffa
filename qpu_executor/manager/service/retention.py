"""What tasks left behind is dropped when the site keeps it no longer, in small transactions.

Never anything of a task that lives, that a live task waits for, or whose session is open; and
nothing that fair share and budgets still remember. A task's row stays with its number and its
key, so that neither is given out again; the journal says how much of it is gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

from qpu_executor.errors import QpuExecutorError
from qpu_executor.manager.auth.caller import Caller
from qpu_executor.manager.service.audit import who_of
from qpu_executor.manager.service.clock import ahead_of_host_s
from qpu_executor.manager.service.ledger import Ledger
from qpu_executor.manager.service.loop import DecisionLoop
from qpu_executor.manager.service.site_policy import SitePolicy
from qpu_executor.manager.service.vital import vital
from qpu_executor.manager.store.base import Store
from qpu_executor.manager.store.change_records import DropJournal, DropSession, ExpireTask
from qpu_executor.manager.store.pruning import Prunable
from qpu_executor.manager.store.records import TaskRow
from qpu_executor.model.clock import Clock
from qpu_executor.model.timing import after
from qpu_executor.model.values import Instant

log = logging.getLogger(__name__)

EVERY_S = 3600.0
"""How often the manager looks for what has expired."""
PAUSE_S = 1.0
"""Between two of its transactions: shots have the store most of the time."""
TASKS = 50
ROWS = 500
"""Tasks, and rows of the journal, in one transaction."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction drops: rows of tasks, ids of sessions, numbers of journal rows."""

    tasks: Sequence[TaskRow] = ()
    sessions: Sequence[str] = ()
    journal: Sequence[int] = ()

    def __bool__(self) -> bool:
        return bool(self.tasks or self.sessions or self.journal)


@dataclass(frozen=True, slots=True)
class Dropped:
    """How many of each were dropped."""

    tasks: int = 0
    sessions: int = 0
    journal: int = 0

    def __add__(self, other: Dropped) -> Dropped:
        return Dropped(
            self.tasks + other.tasks, self.sessions + other.sessions, self.journal + other.journal
        )

    def __bool__(self) -> bool:
        return self != Dropped()


@dataclass(frozen=True, slots=True)
class Only:
    """What may be dropped, by name: what somebody has a copy of."""

    tasks: Set[int]
    sessions: Set[str]
    journal: Set[int]

    def of(self, batch: Batch) -> Batch:
        """As much of a batch."""
        return Batch(
            [row for row in batch.tasks if row.id in self.tasks],
            [one for one in batch.sessions if one in self.sessions],
            [n for n in batch.journal if n in self.journal],
        )


class Retention:
    """`live`: rows of tasks that haven't ended. `policy`: the site's rules as they are now.

    `turns`: nothing is dropped while somebody has it.
    """

    def __init__(
        self,
        store: Store,
        loop: DecisionLoop,
        clock: Clock,
        live: Mapping[int, TaskRow],
        policy: Callable[[], SitePolicy],
    ) -> None:
        self._store = store
        self._loop = loop
        self._clock = clock
        self._live = live
        self._policy = policy
        self.turns = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look every hour for what has expired by the site's rules."""
        self._task = vital(self._run(), "retention", self._loop.die)

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def by_age(self, older_than_s: float) -> Prunable:
        """All that is older than so many seconds, but the audit log, which has its own rule."""
        before = self._remembered(older_than_s)
        return Prunable(results=before, journal=before)

    def by_rules(self) -> Prunable:
        """What the site keeps no longer."""
        rules = self._policy().retention
        return Prunable(
            None if rules.results_s is None else self._remembered(rules.results_s),
            None if rules.journal_s is None else self._remembered(rules.journal_s),
            None if rules.audit_s is None else self._remembered(rules.audit_s),
        )

    async def next(self, which: Prunable) -> Batch:
        """What is to be dropped next. Journal rows come once no task is left to expire."""
        found, sessions = await self._tasks(which), await self._sessions(which)
        if found:
            return Batch(found)
        return Batch((), sessions, await self._store.old_journal(which, 0, ROWS))

    async def _named(self, which: Prunable, only: Only) -> Batch:
        """What may be dropped of what somebody has a copy of.

        By then more tasks may be old enough, which come first in `next`: those named go all
        the same, or who exports would be told that there is nothing left.
        """
        found, sessions = await self._tasks(which), await self._sessions(which)
        return only.of(Batch(found, sessions, await self._store.old_journal(which, 0, ROWS)))

    async def _tasks(self, which: Prunable) -> list[TaskRow]:
        found: list[TaskRow] = []
        if which.results is not None:
            needed, after_id = self._needed(), 0
            while len(found) < TASKS:
                page = await self._store.expirable(which.results, after_id, TASKS)
                found += [row for row in page if row.id not in needed]
                if len(page) < TASKS:
                    break
                after_id = page[-1].id
        return found[:TASKS]

    async def _sessions(self, which: Prunable) -> list[str]:
        return [] if which.results is None else await self._store.old_sessions(which.results, ROWS)

    async def drop(self, batch: Batch, told: Mapping[str, object]) -> Dropped:
        """Drop it in one transaction, on record. `told`: who asked for it, and how much."""

        def change(ledger: Ledger, now: Instant) -> Dropped:
            needed = self._needed()
            kept = [row for row in batch.tasks if row.id not in needed and row.id not in self._live]
            ledger.changes += [ExpireTask(row.id, row.program_hash, now) for row in kept]
            ledger.changes += [DropSession(one) for one in batch.sessions]
            ledger.changes += [DropJournal(n) for n in batch.journal]
            dropped = Dropped(len(kept), len(batch.sessions), len(batch.journal))
            counts = {
                "tasks": dropped.tasks,
                "sessions": dropped.sessions,
                "journal": dropped.journal,
            }
            ledger.record("Pruned", {**told, "what": "prune", **counts}, now)
            return dropped

        return await self._loop.run(change)

    async def prune(
        self, which: Prunable, caller: Caller, only: Only | None = None
    ) -> tuple[Dropped, bool]:
        """Drop one batch for an operator; and whether there may be more."""
        async with self.turns:
            batch = await (self.next(which) if only is None else self._named(which, only))
            if not batch:
                return Dropped(), False
            return await self.drop(batch, {**who_of(caller), **_bounds(which)}), True

    async def sweep(self) -> Dropped:
        """Drop all that has expired by the site's rules, while nothing else waits."""
        which = self.by_rules()
        told: dict[str, object] = {"who": "the manager", "how": "retention", **_bounds(which)}
        dropped = Dropped()
        while which != Prunable():
            if self._loop.waiting:
                await self._pause()
                continue
            async with self.turns:
                batch = await self.next(which)
                if not batch:
                    break
                dropped += await self.drop(batch, told)
            await self._pause()
        return dropped

    async def _run(self) -> None:
        while True:
            await self._clock.sleep_until(after(self._clock.now(), EVERY_S))
            try:
                dropped = await self.sweep()
            except QpuExecutorError as error:
                log.warning("what has expired couldn't be dropped, later again: %s", error)
                continue
            if dropped:
                log.info(
                    "expired: %d tasks, %d sessions, %d rows of the journal",
                    dropped.tasks,
                    dropped.sessions,
                    dropped.journal,
                )

    async def _pause(self) -> None:
        await self._clock.sleep_until(after(self._clock.now(), PAUSE_S))

    def _remembered(self, age_s: float) -> Instant:
        """That long ago, or as long as what was used then matters to shares and budgets.

        By the host's clock where the manager's is ahead of it: what is dropped doesn't come back
        once somebody finds out that a clock was wrong.
        """
        too_far_s = max(0.0, ahead_of_host_s(self._clock))
        return after(self._clock.now(), -too_far_s - max(age_s, self._policy().memory_s))

    def _needed(self) -> set[int]:
        """Tasks that live ones wait for, or waited for."""
        return {one.task_id for row in self._live.values() for one in row.wishes.depends_on}


def _bounds(which: Prunable) -> dict[str, object]:
    """Before which instants, as the record has them."""
    bounds = {
        "results_before": which.results,
        "journal_before": which.journal,
        "audit_before": which.audit,
    }
    return {name: at for name, at in bounds.items() if at is not None}
