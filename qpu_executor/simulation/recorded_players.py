"""Users who do again what a recording says, as long after each other's ends as they did then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from qpu_executor.model.events import QpuDrained, QpuResumed, WindowsChanged
from qpu_executor.model.states import DependencyKind
from qpu_executor.model.timing import Window
from qpu_executor.model.values import TaskSpec
from qpu_executor.scheduling.scheduler import Scheduler
from qpu_executor.simulation.players import PlayedTask, Players
from qpu_executor.simulation.recording import RecordedTask, Recording, SiteAct, TaskEvent
from qpu_executor.simulation.stage import Stage

KIND = "recorded"


class RecordedPlayers(Players):
    """One player a recorded task, and the operators. `before_a_round` is called before a task
    comes; `change_windows` gives a QPU other windows.
    """

    def __init__(
        self,
        stage: Stage,
        scheduler: Scheduler,
        setup_s: float,
        *,
        recording: Recording,
        before_a_round: Callable[[], None],
        change_windows: Callable[[str, tuple[Window, ...]], None],
    ) -> None:
        super().__init__(stage, scheduler, setup_s)
        self._recording = recording
        self._before_a_round = before_a_round
        self._change_windows = change_windows
        self._followers: dict[int, list[RecordedTask]] = {}
        self._failed: set[int] = set()

    def begin(self) -> None:
        """Plan what came by itself; the rest follows from ends."""
        self.unfinished = len(self._recording.tasks)
        for act in self._recording.acts:
            self._stage.later(act.at_s, self._act, act)
        for task in self._recording.tasks:
            if task.after is None:
                self._stage.later(task.delay_s, self._submit, task)
            else:
                self._followers.setdefault(task.after, []).append(task)

    def task_ended(self, task_id: int, *, completed: bool) -> None:
        """A task is over; whoever needs its success will be refused."""
        if not completed:
            self._failed.add(task_id)
        super().task_ended(task_id, completed=completed)

    def _submit(self, task: RecordedTask) -> None:
        stage, spec = self._stage, self._spec(task)
        self._before_a_round()
        stage.record.shots_asked += spec.shots
        played = self._played(task, spec)
        if self._needs_a_failed_one(spec):
            stage.record.tasks_failed += 1
            self._failed.add(spec.task_id)
            self._is_over(played)
            return
        for one in task.asked:
            stage.later(one.after_s, self._ask, one.event)
        self._offer(played)

    def _spec(self, task: RecordedTask) -> TaskSpec:
        """As it was asked for then, but now."""
        spec, stage = task.spec, self._stage
        return replace(
            spec,
            submitted_at=stage.start_at + stage.now,
            divisible=spec.divisible and stage.policy.divisible,
        )

    def _played(self, task: RecordedTask, spec: TaskSpec) -> PlayedTask:
        """With the durations that were measured: the task's own, its QPU's, or the mean."""
        rates_hz = {
            name: 1.0 / shot_s
            for name in spec.qpus
            if (shot_s := task.shot_s.get(name, self._recording.qpus[name].shot_s))
        }
        now, rate_hz = self._stage.now, 1.0 / self._recording.shot_s
        return PlayedTask(spec, rate_hz, KIND, spec.task_id, now, spec.shots, rates_hz=rates_hz)

    def _needs_a_failed_one(self, spec: TaskSpec) -> bool:
        """True if a manager would have refused it, for what it depends on has failed."""
        needs = () if spec.timing is None else spec.timing.depends_on
        return any(
            one.kind is DependencyKind.AFTER_OK and one.task_id in self._failed for one in needs
        )

    def _ask(self, event: TaskEvent) -> None:
        """As somebody did then, if the task still is there."""
        if event.task_id in self.tasks:
            self._stage.post(event)

    def _act(self, act: SiteAct) -> None:
        event = act.event
        if isinstance(event, WindowsChanged):
            self._change_windows(event.qpu, event.windows)
        elif self._stage.policy.site_rules or isinstance(event, QpuDrained | QpuResumed):
            self._stage.post(event)

    def _is_over(self, task: PlayedTask) -> None:
        self.unfinished -= 1
        for follower in self._followers.pop(task.owner, ()):
            self._stage.later(follower.delay_s, self._submit, follower)
