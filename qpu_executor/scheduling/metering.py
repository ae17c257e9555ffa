"""What an ended chunk means for accounts and classes: usage, and minimum shares."""

from __future__ import annotations

from qpu_executor.model.values import Instant, TaskSpec
from qpu_executor.scheduling.admission import Limits
from qpu_executor.scheduling.charging import ChargingTable, Ended
from qpu_executor.scheduling.fair_share import UsageLedger
from qpu_executor.scheduling.minimum_share import MinimumShares
from qpu_executor.scheduling.queue import Queue
from qpu_executor.scheduling.state import Chunk, CoreState, Qpu, Task
from qpu_executor.scheduling.warm_hold import WarmHold


class Meter:
    """Applies the charging table to ended chunks, and tells the queue whose place has changed."""

    def __init__(
        self,
        table: ChargingTable,
        usage: UsageLedger,
        shares: MinimumShares,
        limits: Limits,
        queue: Queue,
        state: CoreState,
    ) -> None:
        self.table = table
        self._state = state
        self._usage = usage
        self._shares = shares
        self._limits = limits
        self._queue = queue

    def expected_s(self, spec: TaskSpec, shots: int) -> float:
        """Seconds that shots of a task are expected to be charged."""
        first = self._state.qpus.get(spec.qpus[0])
        return self.table.chunk_s(
            Ended.FINISHED,
            setup_s=0.0,
            device_s=shots * self._state.shot_s(spec.shot_s, spec.qpus),
            resumed=False,
            emulated=first is not None and first.spec.emulated,
        )

    def chunk_ended(
        self,
        task: Task,
        chunk: Chunk,
        qpu: Qpu,
        ended: Ended,
        *,
        setup_s: float,
        device_s: float,
        now: Instant,
    ) -> float:
        """Account for a chunk; returns the seconds that were charged for it."""
        taken_s = setup_s + device_s
        if taken_s <= 0.0:
            return 0.0
        bucket = task.bucket
        if self._shares.classes:
            self._share(bucket.job_class.name, qpu.spec.name, taken_s, now)
        charged_s = self.table.chunk_s(
            ended,
            setup_s=setup_s,
            device_s=device_s,
            resumed=chunk.resumed,
            emulated=qpu.spec.emulated,
        )
        if task.clock is not None and bucket.needs.one_epoch and ended is Ended.FINISHED:
            task.clock.charged_s += self.table.chunk_s(
                ended, setup_s=0.0, device_s=device_s, resumed=False, emulated=qpu.spec.emulated
            )
        if self._limits.active:
            self._limits.charge(task, charged_s, now)
        if self._usage.charge(bucket.user, charged_s, now):
            self._queue.refresh(now)
        return charged_s

    def _share(self, served: str, qpu: str, taken_s: float, now: Instant) -> None:
        """Credit the classes that wanted the QPU's seconds, and debit the one that had them."""
        wanting = [
            name
            for name in self._shares.classes
            if name != served and self._queue.first(qpu, now, (name,), look_only=True)
        ]
        self._shares.chunk_ended(served, wanting, taken_s)

    def discarded(self, task: Task, now: Instant) -> None:
        """Give back what the table doesn't charge for shots that were discarded."""
        if task.clock is None or not task.clock.charged_s:
            return
        back_s = self.table.discarded_s(task.clock.charged_s)
        task.clock.charged_s = 0.0
        self._limits.charge(task, -back_s, now)
        if self._usage.give_back(task.bucket.user, back_s, now):
            self._queue.refresh(now)

    def hold_ended(self, hold: WarmHold, qpu: Qpu, kept_s: float, now: Instant) -> float:
        """Account for a QPU that was kept for a session; returns the seconds charged."""
        charged_s = self.table.hold_s(kept_s, emulated=qpu.spec.emulated)
        self._limits.charge_hold(hold.account, charged_s, now)
        user = self._usage.standing(hold.account, hold.owner)
        if charged_s > 0.0 and self._usage.charge(user, charged_s, now):
            self._queue.refresh(now)
        return charged_s
