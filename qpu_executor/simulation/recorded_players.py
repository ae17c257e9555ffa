"""Users who do again what a recording says, as long after each other's ends as they did then."""

from __future__ import annotations

from collections.abc import Callable

from qpu_executor.model.events import TaskCancelAsked
from qpu_executor.model.values import TaskSpec
from qpu_executor.scheduling.scheduler import Scheduler
from qpu_executor.simulation.players import PlayedTask, Players
from qpu_executor.simulation.recording import RecordedTask, Recording
from qpu_executor.simulation.stage import START_AT, Stage

KIND = "recorded"


class RecordedPlayers(Players):
    """One player a recorded task. `before_a_round` is called before a task comes."""

    def __init__(
        self,
        stage: Stage,
        scheduler: Scheduler,
        setup_s: float,
        *,
        recording: Recording,
        before_a_round: Callable[[], None],
    ) -> None:
        super().__init__(stage, scheduler, setup_s)
        self._recording = recording
        self._before_a_round = before_a_round
        self._followers: dict[int, list[RecordedTask]] = {}

    def begin(self) -> None:
        """Plan what came by itself; the rest follows from ends."""
        self.unfinished = len(self._recording.tasks)
        for task in self._recording.tasks:
            if task.after is None:
                self._stage.later(task.delay_s, self._submit, task)
            else:
                self._followers.setdefault(task.after, []).append(task)

    def _submit(self, task: RecordedTask) -> None:
        stage = self._stage
        self._before_a_round()
        shot_s = self._recording.shot_s if task.shot_s is None else task.shot_s
        spec = TaskSpec(
            task.task_id,
            owner=task.owner,
            account=task.account,
            job_class=task.job_class,
            shots=task.shots,
            qpus=task.qpus,
            submitted_at=START_AT + stage.now,
            priority=task.priority,
            divisible=task.divisible and stage.policy.divisible,
            shot_s=shot_s,
        )
        stage.record.shots_asked += task.shots
        if task.cancel_after_s is not None:
            stage.later(task.cancel_after_s, self._cancel, task.task_id)
        self._offer(PlayedTask(spec, 1.0 / shot_s, KIND, task.task_id, stage.now, task.shots))

    def _cancel(self, task_id: int) -> None:
        """As its user did then, if it still is there."""
        if task_id in self.tasks:
            self._stage.post(TaskCancelAsked(task_id))

    def _is_over(self, task: PlayedTask) -> None:
        self.unfinished -= 1
        for follower in self._followers.pop(task.owner, ()):
            self._stage.later(follower.delay_s, self._submit, follower)
