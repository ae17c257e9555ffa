"""Limits of users and accounts: what is refused at submission, and what is held back. Pure.

At submission: the tasks that a user has waiting in a class, and the QPU-seconds that
the class gives a user in a day and the site gives an account in a period. What is
charged already, what the live tasks are expected to cost and what is asked for must
fit together; otherwise the task is refused, with the numbers.

At the queue: the tasks that a user has running in a class; and a budget that was used
up all the same (expectations can be wrong) holds what waits until its next period. A
task that has a chunk out when that happens goes on for as long as it keeps its place.
Periods begin at whole multiples of their length since the epoch: days are UTC days.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from qpu_executor.model.states import TaskState, WaitReason
from qpu_executor.model.values import MICROSECONDS, Instant, JobClass
from qpu_executor.scheduling.boundaries import Blocked
from qpu_executor.scheduling.state import Bucket, Task

DAY_S = 86_400.0

_Place = tuple[str, str]
"""A class and a user."""


@dataclass(frozen=True, slots=True)
class Credit:
    """QPU-seconds that an account may be charged in every period of `period_s` seconds."""

    account: str
    qpu_s: float
    period_s: float = DAY_S


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a task isn't admitted. `what`: the limit in words; `limit`: its number; `used`:
    what counts against it already; `asked`: by this task. `until`: when it may be
    tried again (None: when others of the user's tasks have ended).
    """

    reason: WaitReason
    what: str
    limit: float
    used: float
    asked: float
    until: Instant | None = None

    def __str__(self) -> str:
        return f"{self.what}: {self.used:g} and {self.asked:g} more, {self.limit:g} are allowed"


@dataclass(slots=True)
class _Budget:
    """QPU-seconds a period. `expected`: what live tasks will still be charged, by task."""

    what: str
    reason: WaitReason
    qpu_s: float
    period_s: float
    period: int = -1
    charged_s: float = 0.0
    expected: dict[int, float] = field(default_factory=dict)
    expected_s: float = 0.0

    def used_s(self, now: Instant) -> float:
        """Charged in the period of `now`."""
        return self.charged_s if self._period(now) == self.period else 0.0

    def ends_at(self, now: Instant) -> Instant:
        """When the period of `now` is over."""
        return round((self._period(now) + 1) * self.period_s * MICROSECONDS)

    def charge(self, task_id: int | None, seconds: float, at: Instant) -> None:
        """Count what was charged for a task, and expect as much less of it."""
        period = self._period(at)
        if period > self.period:
            self.period, self.charged_s = period, 0.0
        if period == self.period:
            self.charged_s = max(0.0, self.charged_s + seconds)
        if task_id is not None and task_id in self.expected:
            self.expect(task_id, max(0.0, self.expected[task_id] - seconds))

    def expect(self, task_id: int, seconds: float | None) -> None:
        """What a task will still be charged; None: it has ended."""
        self.expected_s -= self.expected.pop(task_id, 0.0)
        if seconds is not None:
            self.expected[task_id] = seconds
            self.expected_s += seconds
        if not self.expected:
            self.expected_s = 0.0

    def _period(self, at: Instant) -> int:
        return int(at // round(self.period_s * MICROSECONDS))


class Limits:
    """Counts and budgets of users and accounts. `active`: something is limited at all.
    `freed`: see `take_freed`.

    What isn't limited isn't counted; a change of the classes counts anew.
    """

    def __init__(self, credits: Iterable[Credit] = ()) -> None:
        self._accounts = {
            one.account: _Budget(
                f"QPU-seconds of account {one.account!r} in a period of {one.period_s:g} s",
                WaitReason.QUOTA_EXCEEDED,
                one.qpu_s,
                one.period_s,
            )
            for one in credits
        }
        self.active = bool(self._accounts)
        self._classes: dict[str, JobClass] = {}
        self._days: dict[_Place, _Budget] = {}
        self._waiting: dict[_Place, int] = {}
        self._running: dict[_Place, int] = {}
        self._held_back: dict[_Place, dict[Bucket, None]] = {}
        self.freed: list[Bucket] = []

    def refusal(
        self, job_class: JobClass, account: str, owner: str, expected_s: float, now: Instant
    ) -> Refusal | None:
        """Why a task that is expected to be charged `expected_s` isn't admitted; None if it is."""
        waits = self._waiting.get((job_class.name, owner), 0)
        most = job_class.max_queued
        if most is not None and waits >= most:
            what = f"tasks of {owner} that wait in class {job_class.name!r}"
            return Refusal(WaitReason.CLASS_LIMIT, what, most, waits, 1)
        return _first_exceeded(self._budgets(job_class, account, owner), expected_s, now)

    def hold_refusal(self, account: str, expected_s: float, now: Instant) -> Refusal | None:
        """Why an account may not keep a QPU for what is charged `expected_s`; None if it may."""
        budget = self._accounts.get(account)
        return None if budget is None else _first_exceeded([budget], expected_s, now)

    def blocked(self, task: Task, now: Instant) -> Blocked | None:
        """Why a waiting task may not start although a QPU would take it."""
        bucket = task.bucket
        job_class = bucket.job_class
        if job_class.max_running is not None:
            place = (job_class.name, bucket.owner)
            runs = self._running.get(place, 0)
            if runs >= job_class.max_running:
                self._held_back.setdefault(place, {})[bucket] = None
                detail = f"{bucket.owner} has {runs} tasks running in class {job_class.name!r}"
                detail += f", {job_class.max_running} are allowed"
                return Blocked(WaitReason.CLASS_LIMIT, detail, None)
        if self._accounts or job_class.qpu_s_per_day is not None:
            for budget in self._budgets(job_class, bucket.account, bucket.owner):
                used_s = budget.used_s(now)
                if used_s >= budget.qpu_s:
                    detail = f"{budget.what}: {used_s:.0f} of {budget.qpu_s:.0f} are used"
                    return Blocked(budget.reason, detail, budget.ends_at(now))
        return None

    def define(self, classes: Iterable[JobClass], tasks: Iterable[Task]) -> None:
        """The site's classes are now these; `tasks`: all that are alive."""
        self._classes = {
            one.name: one
            for one in classes
            if (one.max_queued, one.max_running, one.qpu_s_per_day) != (None, None, None)
        }
        self.active = bool(self._classes or self._accounts)
        self._waiting.clear()
        self._running.clear()
        for task in tasks:
            if task.state is not None:
                self.moved(task, None, task.state)

    # -- what happens ---------------------------------------------------------------

    def expect(self, task: Task, seconds: float) -> None:
        """A task was admitted that is expected to be charged `seconds`."""
        bucket = task.bucket
        if self._accounts or bucket.job_class.qpu_s_per_day is not None:
            for budget in self._budgets(bucket.job_class, bucket.account, bucket.owner):
                budget.expect(task.task_id, seconds)

    def moved(self, task: Task, old: TaskState | None, new: TaskState) -> None:
        """A task changed its state (`old` None: it is new here)."""
        if old is new or not self.active:
            return
        place = (task.bucket.job_class.name, task.bucket.owner)
        if old is TaskState.RUNNING:
            _add(self._running, place, -1)
            if self._held_back:
                self.freed += self._held_back.pop(place, ())
        elif old is not None:
            _add(self._waiting, place, -1)
        if new is TaskState.RUNNING:
            _add(self._running, place, 1)
        elif not new.final:
            _add(self._waiting, place, 1)
        else:
            self._forget(task)

    def charge(self, task: Task, seconds: float, at: Instant) -> None:
        """A task was charged for a chunk."""
        bucket = task.bucket
        if self._accounts or bucket.job_class.qpu_s_per_day is not None:
            for budget in self._budgets(bucket.job_class, bucket.account, bucket.owner):
                budget.charge(task.task_id, seconds, at)

    def charge_hold(self, account: str, seconds: float, at: Instant) -> None:
        """An account was charged for a QPU that was kept for it."""
        budget = self._accounts.get(account)
        if budget is not None:
            budget.charge(None, seconds, at)

    def recall(
        self, job_class: JobClass, account: str, owner: str, seconds: float, at: Instant
    ) -> None:
        """Count what was charged before this memory began."""
        for budget in self._budgets(job_class, account, owner):
            budget.charge(None, seconds, at)

    def take_freed(self) -> list[Bucket]:
        """The buckets that were held back by running tasks, and may not be any more."""
        freed, self.freed = self.freed, []
        return freed

    # -- inside -----------------------------------------------------------------------

    def _budgets(self, job_class: JobClass, account: str, owner: str) -> list[_Budget]:
        found = []
        of_account = self._accounts.get(account)
        if of_account is not None:
            found.append(of_account)
        if job_class.qpu_s_per_day is not None:
            place = (job_class.name, owner)
            of_day = self._days.get(place)
            if of_day is None:
                what = f"QPU-seconds of {owner} in class {job_class.name!r} in a day"
                of_day = _Budget(what, WaitReason.CLASS_LIMIT, job_class.qpu_s_per_day, DAY_S)
                self._days[place] = of_day
            of_day.qpu_s = job_class.qpu_s_per_day
            found.append(of_day)
        return found

    def _forget(self, task: Task) -> None:
        bucket = task.bucket
        if self._accounts or bucket.job_class.qpu_s_per_day is not None:
            for budget in self._budgets(bucket.job_class, bucket.account, bucket.owner):
                budget.expect(task.task_id, None)


def _first_exceeded(budgets: Iterable[_Budget], expected_s: float, now: Instant) -> Refusal | None:
    for budget in budgets:
        used_s = budget.used_s(now) + budget.expected_s
        if used_s >= budget.qpu_s or used_s + expected_s > budget.qpu_s:
            return Refusal(
                budget.reason,
                budget.what,
                budget.qpu_s,
                round(used_s, 1),
                round(expected_s, 1),
                budget.ends_at(now),
            )
    return None


def _add(counts: dict[_Place, int], place: _Place, change: int) -> None:
    count = counts.get(place, 0) + change
    if count:
        counts[place] = count
    else:
        del counts[place]
