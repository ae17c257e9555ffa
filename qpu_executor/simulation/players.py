"""The users of a rehearsal: they submit tasks, and come again where a limit refuses one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

from qpu_executor.model.events import TaskSubmitted
from qpu_executor.model.values import MICROSECONDS, Instant, TaskSpec
from qpu_executor.scheduling.scheduler import Scheduler
from qpu_executor.simulation.qpu_model import instant
from qpu_executor.simulation.record import TaskOutcome
from qpu_executor.simulation.stage import Stage

RETRY_S = 60.0
"""Seconds after which a user offers a task again that a limit refused."""


@dataclass(slots=True, eq=False)
class PlayedTask:
    """A task that hasn't ended. `owner`: whose it is, by number (a job, a recorded task).

    `rate_hz`: shots a second that it really takes; `rates_hz`: on QPUs where it differs.
    `kind`: of job. `started_at`: when its first chunk was sent, to a QPU that takes `setup_s`
    before a task.
    """

    spec: TaskSpec
    rate_hz: float
    kind: str
    owner: int
    ready_at: Instant
    shots_left: int
    started_at: Instant | None = None
    setup_s: float = 0.0
    rates_hz: Mapping[str, float] = field(default_factory=dict)


class Players(ABC):
    """Everybody who submits. `unfinished`: how many jobs or tasks are still to end.

    `tasks`: those that were accepted and haven't ended, by id.
    """

    def __init__(self, stage: Stage, scheduler: Scheduler, setup_s: float) -> None:
        self.tasks: dict[int, PlayedTask] = {}
        self.unfinished = 0
        self._stage = stage
        self._scheduler = scheduler
        self._setup_s = setup_s

    @abstractmethod
    def begin(self) -> None:
        """Let everything arrive in its time."""

    @abstractmethod
    def _is_over(self, task: PlayedTask) -> None:
        """A task has ended, well or not, or was refused for good."""

    def task_ended(self, task_id: int, *, completed: bool) -> None:
        """A task is over; its outcome was noted before if it `completed`."""
        self._stage.record.tasks_failed += not completed
        self._is_over(self.tasks.pop(task_id))

    def note_outcome(self, task: PlayedTask) -> None:
        """The last shots of a task were taken just now."""
        assert task.started_at is not None
        spec, now = task.spec, self._stage.now
        quantum_s = spec.shots / task.rate_hz
        wait_s = (task.started_at - task.ready_at) / MICROSECONDS
        delay_s = (now - task.ready_at) / MICROSECONDS - quantum_s - task.setup_s
        self._stage.record.tasks.append(
            TaskOutcome(
                spec.job_class,
                spec.account,
                task.kind,
                wait_s,
                delay_s,
                quantum_s,
                asked=spec.session_id is not None,
            )
        )

    def _offer(self, task: PlayedTask) -> None:
        """Submit a task; one that a limit refuses is offered again later, as its user would."""
        stage, spec = self._stage, task.spec
        refusal = self._scheduler.refusal(spec) if stage.policy.site_rules else None
        if refusal is None:
            self.tasks[spec.task_id] = task
            stage.post(TaskSubmitted(spec))
            return
        stage.record.refusals += 1
        if refusal.asked > refusal.limit:
            stage.record.tasks_failed += 1
            self._is_over(task)
            return
        again_at = stage.now + instant(RETRY_S)
        if refusal.until is not None:
            again_at = max(again_at, refusal.until - stage.start_at)
        stage.heap.push(again_at, self._offer, task)
