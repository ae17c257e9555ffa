"""How far a run is: what ended, what failed and why, what the QPU did. Thread-safe.

Engines report the end of tasks in any order, so states aren't stored: they are
derived from what ended when somebody asks. A step whose tasks failed behind a failed
step counts as not run.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from qpu_executor.pipelines.plan import Plan, StepPlan
from qpu_executor.wire.site import EventOut
from qpu_executor.wire.tasks import TaskOut

_STEP_OF_NAME = re.compile(r"[A-Za-z_][\w-]*")


class StepState(StrEnum):
    """Where a step is."""

    WAITING = "waiting"
    """For the steps that it needs."""
    RUNNING = "running"
    """At the engine, or at the manager."""
    DONE = "done"
    """Every task has a result."""
    FAILED = "failed"
    """One of its tasks failed for a reason of its own."""
    NOT_RUN = "not run"
    """A step that it needs failed."""
    CANCELLED = "cancelled"
    """The run was interrupted before the step was done."""


ENDED = frozenset({StepState.DONE, StepState.FAILED, StepState.NOT_RUN, StepState.CANCELLED})


@dataclass(frozen=True)
class StepView:
    """A step at one moment. `tasks` None: not known yet; `kept`: of those done, from an
    earlier attempt; `shots` and `shots_done`: of its tasks at the manager; `shots_saved`:
    asked for, and not needed."""

    name: str
    kind: str
    state: StepState
    tasks: int | None
    done: int
    kept: int
    shots: int
    shots_done: int
    needs_failed: str | None
    errors: tuple[tuple[str, BaseException], ...]
    shots_saved: int = 0


@dataclass
class _StepRecord:
    plan: StepPlan
    total: int | None
    done: int = 0
    kept: int = 0
    joined: bool = False
    errors: list[tuple[str, BaseException]] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        if self.plan.task_count is None:
            return self.joined
        return self.done + len(self.errors) >= (self.total or 0)


@dataclass
class _TaskRecord:
    step: str
    shots: int
    shots_done: int
    state: str
    saved: int = 0


class Tracker:
    """The progress of one run."""

    def __init__(self, plan: Plan) -> None:
        self._steps = {step.name: _StepRecord(step, step.task_count) for step in plan.steps}
        self._tasks: dict[int, _TaskRecord] = {}
        self._strangers: set[int] = set()
        self._interrupted = False
        self._lost: BaseException | None = None
        self._changed = threading.Condition()

    def task_known(self, step: str) -> None:
        """One more task of a fan-out that grows while the run goes on."""
        with self._changed:
            record = self._steps[step]
            record.total = (record.total or 0) + 1

    def task_done(self, step: str, *, kept: bool = False) -> None:
        """One task of the step has its result."""
        with self._changed:
            record = self._steps[step]
            record.done += 1
            record.kept += kept
            self._changed.notify_all()

    def task_failed(self, step: str, name: str, error: BaseException) -> None:
        """One task of the step failed, or was given up because of one before it."""
        with self._changed:
            self._steps[step].errors.append((name, error))
            self._changed.notify_all()

    def fan_out_ended(self, step: str, tasks: int | None, error: BaseException | None) -> None:
        """A fan-out whose length was unknown has ended: `tasks` results, or an error."""
        with self._changed:
            record = self._steps[step]
            record.joined = True
            if tasks is not None:
                record.total = record.done = tasks
            elif error is not None and not record.errors:
                record.errors.append((step, error))
            self._changed.notify_all()

    def interrupted(self) -> None:
        """The run was interrupted: what hasn't ended won't."""
        with self._changed:
            self._interrupted = True
            self._changed.notify_all()

    def manager_lost(self, error: BaseException) -> None:
        """The manager is gone for good: steps that need a QPU can't end any more."""
        with self._changed:
            self._lost = error
            self._changed.notify_all()

    def wait(self) -> None:
        """Return when every step has ended. Raises the loss of the manager where one can't."""
        with self._changed:
            self._changed.wait_for(self._over)
            if self._lost is not None and self._needs_qpu():
                raise self._lost

    def _over(self) -> bool:
        if self._lost is not None and self._needs_qpu():
            return True
        return all(record.ended for record in self._steps.values())

    def _needs_qpu(self) -> bool:
        return any(r.plan.kind != "call" and not r.ended for r in self._steps.values())

    def learn(self, tasks: Iterable[TaskOut]) -> None:
        """Take over what the manager says about tasks (their names tell the step)."""
        with self._changed:
            for task in tasks:
                match = _STEP_OF_NAME.match(task.name)
                if match is None or match[0] not in self._steps:
                    self._strangers.add(task.id)
                    continue
                known = self._tasks.get(task.id)
                done = max(task.shots_done, known.shots_done if known else 0)
                self._tasks[task.id] = _TaskRecord(
                    match[0], task.shots, done, task.state.value, task.shots_saved
                )

    def event(self, event: EventOut) -> bool:
        """Take over an event of the manager. False if its task isn't known yet."""
        if event.task is None:
            return True
        with self._changed:
            task = self._tasks.get(event.task)
            if task is None:
                return event.task in self._strangers
            if event.shots_done is not None:
                task.shots_done = event.shots_done
            if event.state is not None:
                task.state = event.state.value
                if task.state == "COMPLETED":
                    done = event.shots_done
                    task.shots_done = task.shots if done is None else done
                    task.saved = max(0, task.shots - task.shots_done)
            return True

    def task_states(self) -> Mapping[str, int]:
        """How many of the run's quantum tasks are in each state."""
        with self._changed:
            counts: dict[str, int] = {}
            for task in self._tasks.values():
                counts[task.state] = counts.get(task.state, 0) + 1
            return counts

    def view(self) -> list[StepView]:
        """Every step, in the order of the plan."""
        with self._changed:
            views: dict[str, StepView] = {}
            for name, record in self._steps.items():
                views[name] = self._view(record, views)
            return list(views.values())

    def _view(self, record: _StepRecord, before: Mapping[str, StepView]) -> StepView:
        plan = record.plan
        broken = [n for n in plan.needs if before[n].state in (StepState.FAILED, StepState.NOT_RUN)]
        ready = all(before[n].state is StepState.DONE for n in plan.needs)
        if record.errors:
            state = StepState.NOT_RUN if broken else StepState.FAILED
        elif record.ended:
            state = StepState.DONE
        elif self._interrupted:
            state = StepState.CANCELLED
        else:
            state = StepState.RUNNING if ready else StepState.WAITING
        mine = [task for task in self._tasks.values() if task.step == plan.name]
        return StepView(
            name=plan.name,
            kind=plan.kind,
            state=state,
            tasks=record.total,
            done=record.done,
            kept=record.kept,
            shots=max(sum(task.shots for task in mine), _planned_shots(record)),
            shots_done=sum(task.shots_done for task in mine),
            needs_failed=broken[0] if state is StepState.NOT_RUN else None,
            errors=tuple(record.errors) if state is StepState.FAILED else (),
            shots_saved=sum(task.saved for task in mine),
        )


def _planned_shots(record: _StepRecord) -> int:
    if record.plan.kind != "quantum" or record.plan.shots is None:
        return 0
    return record.plan.shots * (record.total or 0)
