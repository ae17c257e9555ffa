"""Handing a plan to an engine, and collecting what comes back.

The whole graph goes to the engine at once; order, placement and retries are the
engine's. Results are kept in the run's directory as they come, so that a resumed run
takes them over; a task with a kept result isn't handed to the engine at all.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from qpu_executor.errors import QpuExecutorError
from qpu_executor.pipelines.engines.base import Engine, Handle
from qpu_executor.pipelines.packing import Kept, find_kept, keep, pack, unpack
from qpu_executor.pipelines.plan import Plan, StepPlan
from qpu_executor.pipelines.references import fill
from qpu_executor.pipelines.tracker import StepState, Tracker
from qpu_executor.pipelines.work import FanOut, RunFacts, Shape, Work, make_lookup

logger = logging.getLogger(__name__)


class Execution:
    """One attempt at a plan. Use: submit, wait, answer, close."""

    def __init__(self, plan: Plan, facts: RunFacts, engine: Engine, tracker: Tracker) -> None:
        self._plan = plan
        self._facts = facts
        self._engine = engine
        self._tracker = tracker
        self._handles: dict[str, list[Handle] | Handle] = {}
        self._keeper = ThreadPoolExecutor(1, thread_name_prefix="keep-results")

    def submit(self) -> None:
        """Hand every step to the engine."""
        for step in self._plan.steps:
            shape, dependencies = self._gather(step.needs)
            if step.task_count is None:
                fan_out = FanOut(self._facts, step, shape)
                handle = self._engine.expand(fan_out, dependencies, self._on_work)
                self._handles[step.name] = handle
                self._engine.watch(handle, partial(self._on_fan_out, step))
                continue
            items = step.items if step.fans_out and step.items is not None else (None,)
            works = [Work(self._facts, step, i, item, shape) for i, item in enumerate(items)]
            handles = [self._submit(work, dependencies) for work in works]
            self._handles[step.name] = handles if step.fans_out else handles[0]

    def wait(self) -> None:
        """Return when every step has ended and what was found is on disk."""
        self._tracker.wait()
        self._keeper.shutdown(wait=True)

    def answer(self) -> Any:
        """The answer's value, or None where a step that it needs has no result.

        Raises ConfigError where it refers to something that a result doesn't have.
        """
        states = {view.name: view.state for view in self._tracker.view()}
        needs = self._plan.answer_needs
        if any(states[name] is not StepState.DONE for name in needs):
            return None
        shape, handles = self._gather(needs)
        values = [self._value(handle) for handle in handles]
        return fill(self._plan.answer, make_lookup(self._facts, shape, values, None))

    def close(self) -> None:
        """Write what is waiting to be kept. May be called twice."""
        self._keeper.shutdown(wait=True)

    def _value(self, handle: Handle) -> Any:
        return handle if isinstance(handle, Kept) else self._engine.value(handle)

    def _gather(self, names: tuple[str, ...]) -> tuple[Shape, list[Handle]]:
        """Handles of these steps one after the other, and how many belong to which."""
        shape: list[tuple[str, int | None]] = []
        flat: list[Handle] = []
        for name in names:
            handles = self._handles[name]
            if isinstance(handles, list):
                shape.append((name, len(handles)))
                flat += handles
            else:
                shape.append((name, None))
                flat.append(handles)
        return tuple(shape), flat

    def _submit(self, work: Work, dependencies: list[Handle]) -> Handle:
        kept = find_kept(work.result_file, work.key)
        if kept is not None:
            self._tracker.task_done(work.step.name, kept=True)
            return kept
        handle = self._engine.submit(work, dependencies)
        self._engine.watch(handle, partial(self._on_task, work))
        return handle

    def _on_work(self, work: Work, handle: Handle) -> None:
        self._tracker.task_known(work.step.name)
        if isinstance(handle, Kept):
            self._tracker.task_done(work.step.name, kept=True)
        else:
            self._engine.watch(handle, partial(self._on_task, work))

    def _on_task(self, work: Work, handle: Handle, error: BaseException | None) -> None:
        if error is not None:
            logger.info("task %s ended: %s", work.name, error)
            self._tracker.task_failed(work.step.name, work.name, error)
            return
        if work.step.kind == "quantum":
            self._keeper.submit(self._keep, work, handle)
        self._tracker.task_done(work.step.name)

    def _on_fan_out(self, step: StepPlan, handle: Handle, error: BaseException | None) -> None:
        count = None
        try:
            count = len(self._engine.value(handle)) if error is None else None
        except Exception as failure:  # whoever waits for the run must hear of it
            error = failure
        self._tracker.fan_out_ended(step.name, count, error)

    def _keep(self, work: Work, handle: Handle) -> None:
        """Keep a quantum result (its shots are safe at the manager in any case)."""
        try:
            value = unpack(self._engine.value(handle))
            keep(work.result_file, pack(value, f"step {work.name}"), work.key)
        except (OSError, QpuExecutorError) as error:
            logger.warning("the result of %s wasn't kept: %s", work.name, error)
