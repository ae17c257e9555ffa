"""Plays the manager and the QPUs around one scheduling core, and its users.

The core gets the events that it gets in the service, in the same order, and
its commands are carried out by simulated QPUs. A rehearsal depends on its
arguments only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from qpu_executor.errors import InternalError
from qpu_executor.model.events import (
    CalibrationStarted,
    ChunkFinished,
    ChunkStarted,
    ChunkStopped,
    ClassesChanged,
    Event,
    QpuRegistered,
    WokenUp,
)
from qpu_executor.model.states import TaskState
from qpu_executor.model.timing import seconds_between
from qpu_executor.model.values import MICROSECONDS, Instant, JobClass, QpuSpec
from qpu_executor.scheduling.commands import (
    Command,
    SaveHold,
    SaveTask,
    StartCalibration,
    StartChunk,
    StopChunk,
)
from qpu_executor.simulation.calibrating import Calibrations
from qpu_executor.simulation.hybrid_players import HybridPlayers
from qpu_executor.simulation.players import Players
from qpu_executor.simulation.policy import Policy
from qpu_executor.simulation.qpu_model import (
    QpuTiming,
    RunningChunk,
    SimulatedQpu,
    calibration_random,
    instant,
    polling_random,
)
from qpu_executor.simulation.record import ChunkSent, RunRecord
from qpu_executor.simulation.recorded_players import RecordedPlayers
from qpu_executor.simulation.recording import Recording
from qpu_executor.simulation.stage import START_AT, Stage
from qpu_executor.simulation.workload import HybridJob


@dataclass(frozen=True, slots=True)
class SimulatedSite:
    """What a rehearsal needs of a site."""

    classes: tuple[JobClass, ...]
    qpus: tuple[QpuTiming, ...]

    @property
    def setup_s(self) -> float:
        """The set-up that a job alone would pay for each task: the first QPU's."""
        return self.qpus[0].setup_s

    def classes_for(self, policy: Policy) -> tuple[JobClass, ...]:
        """The classes as a policy knows them."""
        if policy.site_rules:
            return self.classes
        return tuple(JobClass(one.name, one.priority) for one in self.classes)


class Rehearsal:
    """One policy on one load: jobs, or a recording. `seed` is that of calibrations and polling.

    What the QPUs do is recorded up to `spans_until_s`, and with `record_chunks` the
    order in which chunks were sent.
    """

    def __init__(
        self,
        load: Sequence[HybridJob] | Recording,
        policy: Policy,
        site: SimulatedSite,
        seed: int,
        *,
        spans_until_s: float = 0.0,
        record_chunks: bool = False,
    ) -> None:
        self._policy = policy
        self._site = site
        self._record_chunks = record_chunks
        self._polling = polling_random(seed)
        self._woken_at: Instant = -1
        self._scheduler = policy.make_scheduler()
        self._qpus = {
            one.name: SimulatedQpu(one, calibration_random(seed, n))
            for n, one in enumerate(site.qpus)
        }
        slots = sum(one.slots for one in site.qpus)
        self.record = RunRecord(policy.name, seed, slots=slots)
        self._stage = Stage(policy, self.record, self._post, instant(spans_until_s))
        self._calibrations = Calibrations(self._stage)
        self._players = self._cast(load)

    def _cast(self, load: Sequence[HybridJob] | Recording) -> Players:
        parts = (self._stage, self._scheduler, self._site.setup_s)
        if isinstance(load, Recording):
            return RecordedPlayers(*parts, recording=load, before_a_round=self._use_qpus)
        qpus = tuple(self._qpus)
        return HybridPlayers(*parts, jobs=load, qpus=qpus, before_a_round=self._use_qpus)

    def run(self) -> RunRecord:
        """Play until the last job has ended.

        Raises InternalError if jobs are left over and nothing more can happen.
        """
        self._open_site()
        self._players.begin()
        while self._players.unfinished:
            self._step()
        now = self._stage.now
        self.record.makespan_s = now / MICROSECONDS
        for qpu in self._qpus.values():
            self._add_up(qpu, now)
        return self.record

    def _step(self) -> None:
        """The next thing that happens: the core wants to be woken, or something was planned."""
        stage = self._stage
        at, wake = stage.heap.next_at, self._scheduler.next_wakeup()
        wake_at = None if wake is None else max(wake - START_AT, stage.now)
        if wake_at is not None and wake_at != self._woken_at and (at is None or wake_at <= at):
            stage.now = self._woken_at = wake_at
            self._post(WokenUp())
            return
        if at is None:
            raise InternalError(
                f"nothing more can happen; {self._players.unfinished} jobs or tasks are unfinished",
                where=f"rehearsal of {self._policy.name}",
            )
        stage.now, action, argument = stage.heap.pop()
        action(argument)

    # -- the QPUs -------------------------------------------------------------------

    def _open_site(self) -> None:
        self._post(ClassesChanged(self._site.classes_for(self._policy)))
        for name, qpu in self._qpus.items():
            one = qpu.timing
            spec = QpuSpec(
                name,
                slots=one.slots,
                min_chunk_shots=one.min_chunk_shots,
                max_chunk_shots=one.max_chunk_shots,
                shot_rate_hz=one.shot_rate_hz,
                setup_s=max(one.setup_s, one.resume_s),
                max_linger_s=one.max_linger_s,
                max_run_s=one.max_run_s,
                max_run_idle_s=one.max_run_idle_s,
            )
            self._post(QpuRegistered(spec))
            self._calibrations.plan(qpu)
            self._calibrations.plan_closings(qpu)

    def _use_qpus(self) -> None:
        for qpu in self._qpus.values():
            qpu.used = True
            self._calibrations.start_if_due(qpu)

    def _add_up(self, qpu: SimulatedQpu, now: Instant) -> None:
        """A calibration that outlasts the last job counts up to its end only."""
        record, slots = self.record, qpu.timing.slots
        record.useful_s += qpu.useful_s
        record.overhead_s += qpu.overhead_s
        record.calibrations += qpu.calibrations
        rest_s = 0.0
        if qpu.calibrating_until is not None:
            rest_s = max(0, qpu.calibrating_until - now) / MICROSECONDS
        record.calibrating_s += (qpu.calibrating_s - rest_s) * slots

    # -- the manager's part -----------------------------------------------------------

    def _post(self, event: Event) -> None:
        """Let the core decide, and carry out what it says."""
        now = START_AT + self._stage.now
        events: deque[Event] = deque((event,))
        while events:
            self.record.decisions += 1
            for command in self._scheduler.handle(events.popleft(), now):
                answer = self._carry_out(command)
                if answer is not None:
                    events.append(answer)

    def _carry_out(self, command: Command) -> Event | None:
        if isinstance(command, StartChunk):
            self._start(command)
            return ChunkStarted(command.chunk)
        if isinstance(command, StopChunk):
            return self._stop(command)
        if isinstance(command, StartCalibration):
            self._calibrations.start_asked(self._qpus[command.qpu])
            return CalibrationStarted(command.qpu)
        if isinstance(command, SaveHold):
            self.record.kept_s += seconds_between(command.since_at, command.ended_at)
        if isinstance(command, SaveTask) and command.state.final:
            self._end_task(command)
        return None

    def _start(self, command: StartChunk) -> None:
        stage, task = self._stage, self._players.tasks[command.chunk.task_id]
        if task.started_at is None:
            task.started_at = stage.now
        qpu = self._qpus[command.qpu]
        chunk = qpu.begin_chunk(command.chunk, command.shots, task.rate_hz, stage.now)
        if self._record_chunks:
            self.record.chunks.append(ChunkSent(command.qpu, *command.chunk, command.shots))
        stage.heap.push(chunk.ends_at, self._chunk_ends, chunk)

    def _stop(self, command: StopChunk) -> Event | None:
        chunk = self._qpus[command.qpu].running.get(command.chunk)
        if chunk is None:
            return None
        now = self._stage.now
        shots = chunk.shots_by(now)
        setup_s = min(chunk.setup_s, (now - chunk.sent_at) / MICROSECONDS)
        return ChunkStopped(chunk.id, shots, self._free(chunk, shots), setup_s)

    def _chunk_ends(self, chunk: RunningChunk) -> None:
        """The shots are taken; where ends are polled for, a task's end is noticed later."""
        if chunk.gone:
            return
        task = self._players.tasks[chunk.id.task_id]
        if self._policy.poll_s and task.shots_left <= chunk.shots:
            self._players.note_outcome(task)
            late_s = self._polling.uniform(0.0, self._policy.poll_s)
            self._stage.later(late_s, self._end_is_noticed, chunk)
        else:
            self._end_is_noticed(chunk)

    def _end_is_noticed(self, chunk: RunningChunk) -> None:
        if chunk.gone:
            return
        device_s = self._free(chunk, chunk.shots)
        self._post(ChunkFinished(chunk.id, chunk.shots, device_s, chunk.setup_s))
        self._calibrations.start_if_due(chunk.qpu)

    def _free(self, chunk: RunningChunk, shots: int) -> float:
        """The chunk is over; returns the seconds that its shots took."""
        stage, task = self._stage, self._players.tasks[chunk.id.task_id]
        counted = min(shots, task.shots_left)
        task.shots_left -= counted
        self.record.shots_counted += counted
        self.record.shots_delivered += shots
        ends_at = min(stage.now, chunk.ends_at)
        stage.note_span(
            chunk.qpu.timing.name,
            chunk.sent_at,
            ends_at,
            task.spec.job_class,
            task_id=chunk.id.task_id,
            job_id=task.owner,
        )
        return chunk.qpu.end_chunk(chunk, shots)

    def _end_task(self, command: SaveTask) -> None:
        task_id, completed = command.task_id, command.state is TaskState.COMPLETED
        for qpu in self._qpus.values():
            qpu.forget(task_id)
        if completed and not self._policy.poll_s:
            self._players.note_outcome(self._players.tasks[task_id])
        self._players.task_ended(task_id, completed=completed)
