"""Which waiting task gets a QPU's room, and what a task does at the end of a chunk."""

from __future__ import annotations

from collections.abc import Iterable

from qpu_executor.model.states import OnRecalibration, TaskState
from qpu_executor.model.timing import after, seconds_between
from qpu_executor.model.values import ChunkId, Instant
from qpu_executor.scheduling.admission import Limits
from qpu_executor.scheduling.agenda import Agenda
from qpu_executor.scheduling.boundaries import Blocked, next_boundary, room
from qpu_executor.scheduling.chunking import chunk_shots, shots_to_judgement
from qpu_executor.scheduling.finishing import best_of
from qpu_executor.scheduling.gates import Gates
from qpu_executor.scheduling.minimum_share import MinimumShares
from qpu_executor.scheduling.queue import Queue
from qpu_executor.scheduling.recorder import Recorder
from qpu_executor.scheduling.shot_times import cutting_rate_hz
from qpu_executor.scheduling.state import Chunk, CoreState, Head, Passed, Qpu, Task, TaskClock


class Placement:
    """Moves tasks between the queue and the QPUs.

    Keeps this true between events: no QPU has room while a task waits that
    could go there. So only the QPUs that an event touched have to be filled.
    `touched`: QPUs that have to be filled besides, before the event is over.
    """

    def __init__(
        self,
        state: CoreState,
        queue: Queue,
        recorder: Recorder,
        shares: MinimumShares,
        gates: Gates,
        agenda: Agenda,
        limits: Limits,
    ) -> None:
        self._limits = limits
        self.touched: dict[str, None] = {}
        self._gates = gates
        self._agenda = agenda
        self._state = state
        self._queue = queue
        self._recorder = recorder
        self._shares = shares

    def make_ready(self, task: Task, now: Instant) -> None:
        """Let a new or released task wait, or start at once where there is room."""
        self._recorder.task(task, TaskState.QUEUED)
        if not self._gates.keeps(task, now):
            self.line_up(task, now)
            self.fill(task.bucket.needs.qpus, now)

    def line_up(self, task: Task, now: Instant) -> None:
        """Let a queued task take part in the order."""
        task.work_s = self._state.expected_s(task)
        self._queue.rank(task, now)
        self._queue.push(task, now)

    def stop_waiting(self, task: Task, now: Instant, state: TaskState) -> None:
        """Take a task that has no chunk out of the order, and hold it."""
        lined_up = task.state is TaskState.QUEUED and task.entry is not None
        self._recorder.task(task, state)
        self._leave_order(task, now, lined_up=lined_up)

    def end(
        self,
        task: Task,
        now: Instant,
        state: TaskState,
        *,
        error: str | None = None,
        permanent: bool = False,
        stopped_early: str | None = None,
    ) -> None:
        """End a task that has no chunk out, and see to those that depend on it."""
        todo = [(task, state, error, permanent)]
        while todo:
            ending, final, why, for_good = todo.pop()
            if ending.task_id not in self._state.tasks:
                continue
            lined_up = ending.state is TaskState.QUEUED and ending.entry is not None
            early = stopped_early if ending is task else None
            self._recorder.task(ending, final, error=why, permanent=for_good, stopped_early=early)
            self._leave_order(ending, now, lined_up=lined_up)
            clock = ending.clock
            if clock is not None and clock.epoch is not None:
                self._state.qpus[clock.epoch[0]].one_epoch.pop(ending.task_id, None)
            self._queue.forget(ending)
            freed, doomed = self._gates.ended(ending, final)
            for other in freed:
                self.look_again(other, now)
            if doomed:
                todo += [(other, TaskState.FAILED, reason, True) for other, reason in doomed]

    def look_again(self, task: Task, now: Instant) -> None:
        """Let a deferred task line up, if nothing keeps it any more."""
        if task.state is TaskState.QUEUED and not self._gates.keeps(task, now):
            self.line_up(task, now)
            self.touched.update(dict.fromkeys(task.bucket.needs.qpus))

    def go_on(self, task: Task, qpu: Qpu, ended: Chunk, now: Instant) -> None:
        """A chunk boundary: the task ends, is held, takes the next chunk, or gives way."""
        recorder = self._recorder
        if task.cancel_asked:
            self.end(task, now, TaskState.CANCELLED)
        elif not task.remaining:
            self.end(task, now, TaskState.COMPLETED)
        elif (enough := task.enough) is not None:
            self.end(task, now, TaskState.COMPLETED, stopped_early=enough)
        elif ended.fails is not None:
            self.end(task, now, TaskState.FAILED, error=ended.fails)
        elif (why := self.leave_epoch(task, ended.epoch_n, qpu)) is not None:
            self.end(task, now, TaskState.FAILED, error=why)
        elif task.hold_asked:
            task.hold_asked = False
            self.stop_waiting(task, now, TaskState.HELD)
        elif qpu.has_room and not ended.requeues and self._stays(task, qpu, now):
            recorder.task(task, TaskState.RUNNING)
            self._send(task, qpu, now)
            return
        else:
            recorder.task(task, TaskState.QUEUED)
            self._queue.push(task, now)
            self.fill((qpu.spec.name, *task.bucket.needs.qpus), now)
            return
        self.fill((qpu.spec.name,), now)

    def leave_epoch(self, task: Task, epoch_n: int, qpu: Qpu) -> str | None:
        """Discard shots that the task can't use in the QPU's current epoch.

        `epoch_n`: of its latest shots. Returns why it can't go on at all, where it can't.
        """
        clock = task.clock
        if clock is None or not task.bucket.needs.one_epoch or not task.shots_done:
            return None
        if epoch_n == qpu.calibration.epoch_n:
            clock.epoch = (qpu.spec.name, epoch_n)
            qpu.one_epoch[task.task_id] = None
            return None
        clock.epoch = None
        qpu.one_epoch.pop(task.task_id, None)
        if clock.timing.on_recalibration is OnRecalibration.FAIL:
            return (
                f"{qpu.spec.name} was recalibrated after {task.shots_done} of "
                f"{task.shots} shots (on_recalibration: fail)"
            )
        self._recorder.discard(task, f"{qpu.spec.name} was recalibrated")
        return None

    def fill(self, names: Iterable[str], now: Instant) -> None:
        """Give the room of these QPUs to the waiting tasks that go first.

        A task that several of them could take goes to the one where it is expected to be
        done first.
        """
        qpus = self._state.qpus
        if self._limits.freed:
            self._show_freed(now)
        free = [qpu for name in dict.fromkeys(names) if (qpu := qpus.get(name)) and qpu.has_room]
        while free:
            first: tuple[bool, Head] | None = None
            for qpu in free:
                head = self._next(qpu, now)
                if head is not None and (first is None or head < first):
                    first = head
            if first is None:
                return
            task = self._state.tasks[int(first[1][1][-1])]
            qpu = free[0] if len(free) == 1 else self._choose(task, free, now)
            self._recorder.task(task, TaskState.RUNNING)
            self._queue.pull(task, now)
            self._send(task, qpu, now)
            if not qpu.has_room:
                free.remove(qpu)

    def _show_freed(self, now: Instant) -> None:
        """Buckets that a limit held back may go on."""
        for bucket in self._limits.take_freed():
            self._queue.show(bucket, now)
            self.touched.update(dict.fromkeys(bucket.needs.qpus))

    def _choose(self, task: Task, free: list[Qpu], now: Instant) -> Qpu:
        """Where the task is expected to be done first, of the QPUs with room that may take it."""
        names = task.bucket.needs.qpus
        may_take = [
            qpu
            for qpu in free
            if qpu.spec.name in names and self._queue.blocked(task, qpu.spec.name, now) is None
        ]
        return may_take[0] if len(may_take) == 1 else best_of(task, may_take, now)

    def _leave_order(self, task: Task, now: Instant, *, lined_up: bool) -> None:
        task.entry = None
        if task.clock is not None:
            task.clock.deferred = False
        if lined_up:
            self._queue.pull(task, now)

    def _next(self, qpu: Qpu, now: Instant) -> tuple[bool, Head] | None:
        """The head that goes first on a QPU: that of a class that is owed its minimum
        share (False), or else the first in the policy's order (True)."""
        name = qpu.spec.name
        for owed in self._shares.all_owed:
            head = self._queue.first(name, now, (owed,))
            if head is not None:
                return False, head
        head = self._queue.first(name, now)
        if head is not None and qpu.layout is not None:
            head = self._grouped(qpu, head, qpu.layout, now)
        return None if head is None else (True, head)

    def _grouped(self, qpu: Qpu, head: Head, layout: str, now: Instant) -> Head:
        """An equal of the next in line that needs no change of layout, while it may pass."""
        if not self._may_be_passed(qpu, head, now):
            return head
        return self._queue.equal_with_layout(qpu.spec.name, head, layout, now) or head

    def _may_be_passed(self, qpu: Qpu, head: Head, now: Instant) -> bool:
        """True if the QPU would have to change its layout, and the bound isn't reached."""
        spec, layout = qpu.spec, head[2].needs.layout
        if not spec.group_tasks or layout is None or layout == qpu.layout:
            return False
        task_id, passed = int(head[1][-1]), qpu.passed
        if passed is None or passed.task_id != task_id:
            passed = qpu.passed = Passed(task_id, now)
        waited_s = seconds_between(passed.since_at, now)
        return passed.chunks < spec.group_tasks and waited_s < spec.group_s

    def _keeps_layout(self, task: Task, qpu: Qpu, head: Head, now: Instant) -> bool:
        """True if a running task stays before an equal, for the sake of its layout."""
        equal = self._queue.key(task.bucket, now) == head[0]
        return equal and task.layout == qpu.layout and self._may_be_passed(qpu, head, now)

    def _stays(self, task: Task, qpu: Qpu, now: Instant) -> bool:
        """Whether a task keeps its place at the end of a chunk.

        Within its class, whoever goes first does. For another class it gives way if it is
        preemptible and the other may preempt, or if that class is owed its minimum share.
        Nobody stays where no chunk may start.
        """
        if isinstance(room(task, qpu, now), Blocked):
            return False
        name, own = qpu.spec.name, task.bucket.job_class
        rivals = [own.name]
        for owed in self._shares.all_owed:
            if owed == own.name:
                break
            if self._queue.first(name, now, (owed,)) is not None:
                return False
        else:
            if own.preemptible:
                others = self._queue.classes(name)
                rivals += [one.name for one in others if one.may_preempt and one is not own]
        head = self._queue.first(name, now, rivals)
        if head is None or self._queue.goes_before(task, head, now):
            return True
        if not qpu.spec.group_tasks:
            return False
        heads = [self._queue.first(name, now, (rival,)) for rival in rivals]
        return all(
            head is None
            or self._queue.goes_before(task, head, now)
            or self._keeps_layout(task, qpu, head, now)
            for head in heads
        )

    def _send(self, task: Task, qpu: Qpu, now: Instant) -> None:
        if task.chunk is not None:
            raise self._recorder.story.error("a second chunk at once", task.task_id)
        fits = room(task, qpu, now)
        assert not isinstance(fits, Blocked), fits
        stop = task.early_stop
        shots = chunk_shots(
            task.remaining,
            divisible=task.divisible,
            chunk_s=task.bucket.job_class.chunk_s,
            rate_hz=cutting_rate_hz(task, qpu),
            qpu=qpu.spec,
            fits=fits,
            judged=None if stop is None else shots_to_judgement(task.shots_done, stop.min_shots),
        )
        name = qpu.spec.name
        chunk = Chunk(ChunkId(task.task_id, task.next_n), name, task.shots_done, shots)
        chunk.resumed = task.next_n > 0 and qpu.last_task != task.task_id
        chunk.epoch_n = qpu.calibration.epoch_n
        task.next_n += 1
        task.chunk = chunk
        qpu.running[task.task_id] = chunk
        if qpu.passed is not None and qpu.passed.task_id != task.task_id:
            qpu.passed.chunks += 1
        qpu.last_task = task.task_id
        qpu.layout = task.layout or qpu.layout
        self._recorder.start(chunk, qpu.calibration.epoch)
        if fits is not None and (edge := next_boundary(qpu, task.bucket, now)) is not None:
            self._agenda.add(edge.at, name)
        if task.clock is not None:
            self._start_limit(task, task.clock, now)

    def _start_limit(self, task: Task, clock: TaskClock, now: Instant) -> None:
        """A task's time limit counts from its first chunk."""
        limit_s = clock.timing.time_limit_s
        if limit_s is not None and clock.limit_at is None:
            clock.limit_at = after(now, limit_s)
            self._agenda.add(clock.limit_at, task.task_id)
