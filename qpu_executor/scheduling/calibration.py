"""What is known of a QPU's calibration, and what follows from its plan. Pure.

`due_at` is a boundary like the start of a window: nothing is planned across it.
Once it has come the QPU takes nothing until `CalibrationEnded`. A manager's
calibration is asked for as soon as the QPU is idle. One that an operator or the
device starts is waited for during the plan's grace; after that tasks run again
and the calibration is overdue. A device may have done it without a word, so the
epoch is then unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

from qpu_executor.model.states import CalibrationStarter
from qpu_executor.model.timing import CalibrationPlan, Instant, after


@dataclass(slots=True)
class Calibration:
    """A QPU's calibration. Only the core changes it.

    `plan`: the one that `due_at` follows. `epoch`: id of the current epoch, None:
    unknown. `epoch_n`: how many epochs have begun under this core's eyes, known ids or
    not. `ended_at`: when the last calibration ended, None: unknown. `counted_from`:
    where the period starts (the end of the last one, or when the QPU joined).
    `foreseen`: `due_at` was known before it came, so that no chunk was planned across
    it. `asked`: StartCalibration was sent. `overdue`: the grace has passed without a
    report. `quality`: the latest value of the metric of that name.
    """

    plan: CalibrationPlan | None = None
    epoch: str | None = None
    epoch_n: int = 0
    ended_at: Instant | None = None
    counted_from: Instant | None = None
    due_at: Instant | None = None
    due_reason: str = ""
    foreseen: bool = True
    running: bool = False
    asked: bool = False
    overdue: bool = False
    quality: float | None = None

    @property
    def concerns_planning(self) -> bool:
        """True if a boundary follows from it."""
        return self.running or (self.due_at is not None and not self.overdue)

    def closes(self, now: Instant) -> bool:
        """True if the QPU takes no chunk: it is being calibrated, or kept free for that."""
        return self.running or (self.due_at is not None and self.due_at <= now and not self.overdue)


def join(state: Calibration, plan: CalibrationPlan | None, now: Instant) -> None:
    """The QPU joined or its plan changed: find out anew when its calibration is due."""
    known = state.counted_from is not None
    if known and plan == state.plan:
        return
    state.plan = plan
    if not known:
        state.counted_from = now
    if state.foreseen or state.overdue:
        _plan_next(state, plan)


def ask(state: Calibration, now: Instant, reason: str, due_at: Instant | None) -> None:
    """Somebody wants a calibration, at an instant to come or (None) before the next chunk."""
    if state.closes(now):
        return
    at = now if due_at is None else max(due_at, now)
    state.due_at, state.due_reason = at, reason
    state.foreseen = at > now
    state.overdue = state.asked = False


def started(state: Calibration) -> None:
    """The QPU is being calibrated."""
    state.running = True


def ended(
    state: Calibration,
    plan: CalibrationPlan | None,
    now: Instant,
    *,
    epoch: str | None,
    ended_at: Instant | None,
    quality: float | None,
    worked: bool,
) -> None:
    """The calibration is over. One that didn't work is tried again after the grace."""
    state.running = state.asked = state.overdue = False
    state.foreseen = True
    if not worked:
        pause_s = 0.0 if plan is None else plan.grace_s
        state.due_at, state.due_reason = after(now, pause_s), "the last one didn't work"
        if plan is None:
            state.due_at = None
        return
    state.epoch = epoch
    state.epoch_n += 1
    state.ended_at = state.counted_from = now if ended_at is None else min(ended_at, now)
    state.quality = quality
    _plan_next(state, plan)


def grace_ends_at(state: Calibration, plan: CalibrationPlan | None) -> Instant | None:
    """When a calibration that others start counts as overdue; None: never."""
    if plan is None or plan.starter is CalibrationStarter.MANAGER or state.due_at is None:
        return None
    return after(state.due_at, plan.grace_s)


def give_up_waiting(state: Calibration, plan: CalibrationPlan | None, now: Instant) -> bool:
    """Note that the grace has passed, if it just has. True: the QPU is open again."""
    if state.running or state.overdue:
        return False
    end = grace_ends_at(state, plan)
    if end is None or now < end:
        return False
    state.overdue = True
    if plan is not None and plan.starter is CalibrationStarter.DEVICE:
        state.epoch = state.ended_at = None
    return True


def wants_start(state: Calibration, plan: CalibrationPlan | None, now: Instant) -> bool:
    """True if the manager has to ask an idle QPU for its calibration now."""
    by_manager = plan is None or plan.starter is CalibrationStarter.MANAGER
    return by_manager and state.closes(now) and not state.running and not state.asked


def _plan_next(state: Calibration, plan: CalibrationPlan | None) -> None:
    state.due_at, state.foreseen, state.overdue = None, True, False
    if plan is not None and plan.period_s is not None and state.counted_from is not None:
        state.due_at = after(state.counted_from, plan.period_s)
        state.due_reason = "the plan's period is over"
