"""Jobs that think, submit a round of tasks, wait for the last of them, and think again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qpu_executor.model.events import WarmHoldAsked
from qpu_executor.model.timing import after
from qpu_executor.model.values import MICROSECONDS, TaskSpec
from qpu_executor.scheduling.scheduler import Scheduler
from qpu_executor.simulation.players import PlayedTask, Players
from qpu_executor.simulation.record import JobOutcome
from qpu_executor.simulation.stage import Stage
from qpu_executor.simulation.workload import DAY_S, HybridJob, Keep


@dataclass(slots=True, eq=False)
class _Job:
    """A job on its way. `waiting_for`: tasks of its round that haven't ended."""

    job: HybridJob
    number: int
    round: int = 0
    waiting_for: int = 0


class HybridPlayers(Players):
    """One player a job. `before_a_round` is called before the tasks of a round come."""

    def __init__(
        self,
        stage: Stage,
        scheduler: Scheduler,
        setup_s: float,
        *,
        jobs: Sequence[HybridJob],
        qpus: tuple[str, ...],
        before_a_round: Callable[[], None],
    ) -> None:
        super().__init__(stage, scheduler, setup_s)
        self._jobs = [_Job(job, number) for number, job in enumerate(jobs)]
        self._qpus = qpus
        self._before_a_round = before_a_round
        self._queue: deque[_Job] = deque()
        self._admitted = 0
        self._next_id = 1

    def begin(self) -> None:
        """Let every job arrive in its time."""
        self.unfinished = len(self._jobs)
        for job in self._jobs:
            self._stage.later(job.job.arrives_s, self._job_arrives, job)

    def _job_arrives(self, job: _Job) -> None:
        self._queue.append(job)
        self._admit_jobs()

    def _admit_jobs(self) -> None:
        limit = self._stage.policy.jobs_at_once
        while self._queue and (limit is None or self._admitted < limit):
            self._admitted += 1
            self._think(self._queue.popleft())

    def _think(self, job: _Job) -> None:
        self._stage.later(job.job.rounds[job.round].think_s, self._submit_round, job)

    def _submit_round(self, job: _Job) -> None:
        one, mine = job.job.rounds[job.round], job.job
        job.waiting_for = one.width
        if mine.keep is not None:
            self._keep_qpus(job, mine.keep)
        self._before_a_round()
        for _ in range(one.width):
            self._stage.record.shots_asked += one.shots
            spec = self._spec(job, one.shots)
            now = self._stage.now
            self._offer(PlayedTask(spec, mine.rate_hz, mine.kind, job.number, now, one.shots))

    def _keep_qpus(self, job: _Job, keep: Keep) -> None:
        """Ask for a linger once, and for a run whenever none is on."""
        for name in self._qpus[:1] if keep.contiguous else self._qpus:
            view = self._scheduler.qpu(name)
            run_is_on = view is not None and view.hold is not None and view.hold.contiguous
            if (keep.contiguous and not run_is_on) or (not keep.contiguous and job.round == 0):
                self._ask(job, name, keep.seconds, contiguous=keep.contiguous)

    def _ask(self, job: _Job, qpu: str, seconds: float, *, contiguous: bool) -> None:
        now, mine = self._stage.start_at + self._stage.now, job.job
        until_s = seconds if contiguous else DAY_S * 365 * bool(seconds)
        self._stage.post(
            WarmHoldAsked(
                _session_of(job),
                qpu,
                mine.account,
                _user_of(mine),
                0.0 if contiguous else seconds,
                after(now, until_s),
                contiguous,
            )
        )

    def _spec(self, job: _Job, shots: int) -> TaskSpec:
        task_id, mine = self._next_id, job.job
        self._next_id += 1
        return TaskSpec(
            task_id,
            owner=_user_of(mine),
            account=mine.account,
            job_class=mine.job_class,
            shots=shots,
            qpus=self._qpus,
            submitted_at=self._stage.start_at + self._stage.now,
            divisible=self._stage.policy.divisible,
            shot_s=1.0 / mine.rate_hz,
            layout=mine.layout,
            session_id=None if mine.keep is None else _session_of(job),
            path_s=None
            if mine.path_factor is None
            else mine.path_factor * mine.path_s(job.round, self._setup_s),
        )

    def _is_over(self, task: PlayedTask) -> None:
        job = self._jobs[task.owner]
        job.waiting_for -= 1
        if job.waiting_for:
            return
        job.round += 1
        if job.round < len(job.job.rounds):
            self._think(job)
            return
        if job.job.keep is not None:
            for name in self._qpus:
                self._ask(job, name, 0.0, contiguous=False)
        self._job_ends(job.job)

    def _job_ends(self, job: HybridJob) -> None:
        turnaround_s = self._stage.now / MICROSECONDS - job.arrives_s
        alone_s = job.alone_s(self._setup_s)
        self._stage.record.jobs.append(
            JobOutcome(
                job.job_class,
                job.account,
                job.kind,
                turnaround_s,
                alone_s,
                asked=job.keep is not None,
            )
        )
        self.unfinished -= 1
        self._admitted -= 1
        self._admit_jobs()


def _session_of(job: _Job) -> str:
    return f"job {job.number}"


def _user_of(job: HybridJob) -> str:
    return f"user of {job.account}"
