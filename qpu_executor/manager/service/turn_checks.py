"""May an admitted task enter now? Asked within the turn that saves it, of the core and its rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from qpu_executor.errors import RequestRefused
from qpu_executor.manager.service.submission import spec_of
from qpu_executor.manager.store.records import TaskRow
from qpu_executor.manager.store.wishes import Wishes
from qpu_executor.model.states import DependencyKind, TaskState
from qpu_executor.model.values import MICROSECONDS, TaskSpec
from qpu_executor.scheduling.admission import Refusal
from qpu_executor.scheduling.scheduler import Scheduler

Find = Callable[[int], TaskRow | None]
"""Any task by its id, as this turn sees it."""


def refusal_now(scheduler: Scheduler, row: TaskRow, find: Find) -> RequestRefused | None:
    """What keeps a task out at this moment: its wishes, limits and budgets; None: nothing."""
    refusal = dependency_refusal(row.wishes, row.owner, find)
    if refusal is not None:
        return refusal
    spec = spec_of(row)
    if spec.timing is not None and _knows_rate(scheduler, spec):
        impossible = scheduler.timing_refusal(spec)
        if impossible is not None:
            return RequestRefused(
                impossible,
                where="session" if "session's allocation" in impossible else "shots",
                next_step="ask for fewer shots, or wish for less",
            )
    limit = scheduler.refusal(spec)
    return None if limit is None else refused(limit)


def _knows_rate(scheduler: Scheduler, spec: TaskSpec) -> bool:
    """Whether the task's duration is more than a guess: nothing is refused for a guess."""
    views = (scheduler.qpu(name) for name in spec.qpus)
    return spec.shot_s is not None or all(view is not None and view.rate_hz for view in views)


def dependency_refusal(wishes: Wishes, owner: str, find: Find) -> RequestRefused | None:
    """Why a task can't depend on these tasks; None if it can."""
    for one in wishes.depends_on:
        row = find(one.task_id)
        if row is None or row.owner != owner:
            return RequestRefused(
                f"there is no task {one.task_id} of {owner}",
                where="depends_on",
                expected="ids of your own tasks, submitted before",
                next_step="see `qpu queue --all`",
            )
        lost = row.state.final and row.state is not TaskState.COMPLETED
        if lost and one.kind is DependencyKind.AFTER_OK:
            return RequestRefused(
                f"it would wait for task {row.id} to be COMPLETED, which is {row.state}",
                where="depends_on",
                next_step="submit that one again, or wait for any end (afterany)",
            )
    return None


def refused(refusal: Refusal) -> RequestRefused:
    """The core's refusal, as its caller reads it."""
    when = "when some of them have ended"
    if refusal.until is not None:
        at = datetime.fromtimestamp(refusal.until / MICROSECONDS, tz=UTC)
        when = f"after {at:%Y-%m-%d %H:%M} UTC, or with fewer shots"
    return RequestRefused(
        str(refusal),
        where=str(refusal.reason),
        expected=f"at most {refusal.limit:g}",
        next_step=f"try again {when}; see `qpu share`",
    )
