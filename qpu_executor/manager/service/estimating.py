"""What a task would need and how long it would wait, without submitting it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qpu_executor.errors import QpuExecutorError
from qpu_executor.manager.auth.caller import Caller
from qpu_executor.manager.service.forecast import Span, Usable, wait_for
from qpu_executor.manager.service.manager import Manager
from qpu_executor.manager.service.orders import NewTask
from qpu_executor.manager.store.records import TaskRow

MOST_LOOKED_AT = 50_000
"""Live tasks above which nobody waits for the sum of their work: the wait is unknown then."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """`qpu_s`: of QPU time, None where no rate is known. `wait`: None where nobody knows."""

    qpus: tuple[str, ...]
    qpu_s: float | None
    wait: Span | None
    refusal: QpuExecutorError | None
    explanation: tuple[str, ...]


def usable(manager: Manager, names: Iterable[str]) -> Usable:
    """Those of these QPUs that the core knows."""
    found = []
    for name in names:
        view, qpu = manager.scheduler.qpu(name), manager.fleet.find(name)
        if view is not None:
            found.append((view, None if qpu is None else qpu.spec().calibration))
    return found


async def estimate(manager: Manager, order: NewTask, caller: Caller) -> Estimate:
    """Check an order as a submission would, and look at the queue."""
    checked = await manager.check(order, caller)
    if isinstance(checked, QpuExecutorError):
        return Estimate((), None, None, checked, ())
    qpus = usable(manager, checked.qpus)
    rates = {view.name: view.rate_hz for view, _ in qpus}
    qpu_s = _needs_s(checked, rates)
    explanation = [
        f"{name}: {rate:.3g} shots a second" if rate else f"{name}: no rate is known"
        for name, rate in rates.items()
    ]
    wait = None
    if qpu_s is not None and len(manager.live) <= MOST_LOOKED_AT:
        classes = {one.name: one.priority for one in manager.policy.classes}
        mine = classes.get(checked.job_class, 0)
        higher_s = shorter_s = all_s = 0.0
        for row in manager.live.values():
            needs_s = _needs_s(row, rates)
            above = classes.get(row.job_class, 0) - mine
            if row.hold_asked or above < 0 or set(row.qpus).isdisjoint(checked.qpus):
                continue
            if needs_s is None:
                explanation.append(f"nobody knows how long task {_named(row, caller)} takes")
                all_s = -1.0
                break
            all_s += needs_s
            higher_s += needs_s if above else 0.0
            shorter_s += needs_s if above or needs_s <= qpu_s else 0.0
        if all_s >= 0.0:
            wait = wait_for(higher_s, shorter_s, all_s, qpus, manager.clock.now())
            explanation.append(
                "wait: at least for the classes above, likely for what is shorter in its own, "
                "at most for all of it, if nothing else is submitted"
            )
    return Estimate(checked.qpus, qpu_s, wait, None, tuple(explanation))


def _named(row: TaskRow, caller: Caller) -> str:
    return str(row.id) if row.owner == caller.name else "of another user"


def _needs_s(row: TaskRow, rates: dict[str, float | None]) -> float | None:
    """Seconds that a task's remaining shots take, by its hint or the rate of one of its QPUs."""
    shots = row.shots - row.shots_done
    if row.wishes.shot_s is not None:
        return shots * row.wishes.shot_s
    rate = next((rates[name] for name in row.qpus if rates.get(name)), None)
    return None if not rate else shots / rate
