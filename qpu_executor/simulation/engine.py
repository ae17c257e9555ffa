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
    ChunkLost,
    ChunkStarted,
    ChunkStopped,
    ClassesChanged,
    Event,
    QpuRegistered,
    WokenUp,
)
from qpu_executor.model.states import TaskState
from qpu_executor.model.timing import seconds_between
from qpu_executor.model.values import MICROSECONDS, Instant, JobClass
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
from qpu_executor.simulation.outages import Outages
from qpu_executor.simulation.players import Players
from qpu_executor.simulation.policy import Policy
from qpu_executor.simulation.qpu_model import (
    QpuTiming,
    RunningChunk,
    SimulatedQpu,
    breakdown_random,
    calibration_random,
    instant,
    polling_random,
    total_s,
)
from qpu_executor.simulation.record import ChunkSent, RunRecord
from qpu_executor.simulation.recorded_players import RecordedPlayers
from qpu_executor.simulation.recording import Effect, Recording
from qpu_executor.simulation.stage import START_AT, Stage
from qpu_executor.simulation.workload import HybridJob

PATIENCE_S = 60 * 86_400.0
"""A rehearsal ends when for so long nothing has happened but calibrations and the like."""


@dataclass(frozen=True, slots=True)
class SimulatedSite:
    """What a rehearsal needs of a site. `start_at`: the core's time when it starts."""

    classes: tuple[JobClass, ...]
    qpus: tuple[QpuTiming, ...]
    start_at: Instant = START_AT

    @property
    def setup_s(self) -> float:
        """The set-up that a job alone would pay for each task: the first QPU's."""
        return self.qpus[0].first_setup_s

    def classes_for(self, policy: Policy) -> tuple[JobClass, ...]:
        """The classes as a policy knows them."""
        if policy.site_rules:
            return self.classes
        return tuple(JobClass(one.name, one.priority) for one in self.classes)


class Rehearsal:
    """One policy on one load: jobs, or a recording. `seed`: of calibrations, breakdowns, polling.

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
        self._stage = Stage(policy, self.record, self._post, instant(spans_until_s), site.start_at)
        self._calibrations = Calibrations(self._stage)
        self._outages = Outages(self._stage, self._break_off)
        self._busy_at: Instant = 0
        self._may_leave = isinstance(load, Recording)
        self._players = self._cast(load)

    def _cast(self, load: Sequence[HybridJob] | Recording) -> Players:
        parts = (self._stage, self._scheduler, self._site.setup_s)
        if isinstance(load, Recording):
            return RecordedPlayers(
                *parts,
                recording=load,
                before_a_round=self._use_qpus,
                change_windows=self._outages.windows,
            )
        qpus = tuple(self._qpus)
        return HybridPlayers(*parts, jobs=load, qpus=qpus, before_a_round=self._use_qpus)

    def run(self) -> RunRecord:
        """Play until the last job has ended.

        A recording may leave tasks over (held for good, say): they are counted. Raises
        InternalError if jobs are left over and nothing more can happen.
        """
        self._open_site()
        self._players.begin()
        while self._players.unfinished and self._goes_on():
            self._step()
        now = self._stage.now if not self._players.unfinished else self._busy_at
        self.record.tasks_left = self._players.unfinished
        self.record.makespan_s = now / MICROSECONDS
        for qpu in self._qpus.values():
            self._add_up(qpu, now)
        return self.record

    def _goes_on(self) -> bool:
        """False once nothing can happen that would bring a user's task forward."""
        stage = self._stage
        if stage.heap.foreground:
            return True
        idle = not len(stage.heap) and self._wake_at() is None
        if not idle and stage.now - self._busy_at < instant(PATIENCE_S):
            return True
        if self._may_leave:
            return False
        raise InternalError(
            f"nothing more can happen; {self._players.unfinished} jobs or tasks are unfinished",
            where=f"rehearsal of {self._policy.name}",
        )

    def _wake_at(self) -> Instant | None:
        """When the core wants to be woken, unless it just was."""
        wake = self._scheduler.next_wakeup()
        wake_at = None if wake is None else max(wake - self._stage.start_at, self._stage.now)
        return None if wake_at == self._woken_at else wake_at

    def _step(self) -> None:
        """The next thing that happens: the core wants to be woken, or something was planned."""
        stage = self._stage
        at, wake_at = stage.heap.next_at, self._wake_at()
        if wake_at is not None and (at is None or wake_at <= at):
            stage.now = self._woken_at = wake_at
            self._post(WokenUp())
            return
        waiting = stage.heap.foreground
        stage.now, action, argument = stage.heap.pop()
        if stage.heap.foreground < waiting:
            self._busy_at = stage.now
        action(argument)

    # -- the QPUs -------------------------------------------------------------------

    def _open_site(self) -> None:
        self._post(ClassesChanged(self._site.classes_for(self._policy)))
        for n, qpu in enumerate(self._qpus.values()):
            self._post(QpuRegistered(qpu.timing.spec(site_rules=self._policy.site_rules)))
            self._calibrations.begin(qpu)
            self._outages.begin(qpu, breakdown_random(self.record.seed, n))

    def _use_qpus(self) -> None:
        for qpu in self._qpus.values():
            qpu.used = True
            self._calibrations.start_if_due(qpu)

    def _add_up(self, qpu: SimulatedQpu, now: Instant) -> None:
        """What closes the QPU beyond the last job's end doesn't count."""
        record, slots = self.record, qpu.timing.slots
        record.useful_s += qpu.useful_s
        record.overhead_s += qpu.overhead_s
        record.calibrations += qpu.calibrations
        record.calibrating_s += slots * total_s(qpu.calibrated, now)
        record.closed_s += slots * total_s([*qpu.calibrated, *qpu.closed], now)

    # -- the manager's part -----------------------------------------------------------

    def _post(self, event: Event) -> None:
        """Let the core decide, and carry out what it says."""
        now = self._stage.start_at + self._stage.now
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
        qpu = self._qpus[command.qpu]
        rate_hz = task.rates_hz.get(command.qpu, task.rate_hz)
        if task.started_at is None:
            task.started_at, task.rate_hz = stage.now, rate_hz
            task.setup_s = qpu.timing.first_setup_s
        chunk = qpu.begin_chunk(command.chunk, command.shots, rate_hz, stage.now, task.spec.layout)
        if self._record_chunks:
            sent = ChunkSent(command.qpu, *command.chunk, command.shots, command.first_shot)
            self.record.chunks.append(sent)
        stage.heap.push(chunk.ends_at, self._chunk_ends, chunk)

    def _stop(self, command: StopChunk) -> Event | None:
        chunk = self._qpus[command.qpu].running.get(command.chunk)
        return None if chunk is None else self._stopped(chunk)

    def _stopped(self, chunk: RunningChunk) -> Event:
        now = self._stage.now
        shots = chunk.shots_by(now) if chunk.qpu.timing.partial_results else 0
        return ChunkStopped(chunk.id, shots, self._free(chunk, shots), chunk.setup_by(now))

    def _break_off(self, chunk: RunningChunk, effect: Effect) -> None:
        """The QPU closes at once: the chunk is stopped, or its shots are lost."""
        if effect is Effect.STOPS:
            self._post(self._stopped(chunk))
            return
        now = self._stage.now
        self.record.shots_delivered += chunk.shots_by(now)
        device_s = self._free(chunk, 0)
        lost = ChunkLost(chunk.id, "the QPU broke down", True, device_s, chunk.setup_by(now))
        self._post(lost)

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
        return chunk.qpu.end_chunk(chunk, shots, stage.now)

    def _end_task(self, command: SaveTask) -> None:
        task_id, completed = command.task_id, command.state is TaskState.COMPLETED
        for qpu in self._qpus.values():
            qpu.forget(task_id)
        if completed and not self._policy.poll_s:
            self._players.note_outcome(self._players.tasks[task_id])
        self._players.task_ended(task_id, completed=completed)
