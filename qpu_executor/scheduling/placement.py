"""Which waiting task gets a QPU's room, and what a task does at the end of a chunk."""

from __future__ import annotations

from collections.abc import Iterable

from qpu_executor.model.states import TaskState
from qpu_executor.model.values import ChunkId, Instant
from qpu_executor.scheduling.chunking import chunk_shots
from qpu_executor.scheduling.queue import Queue
from qpu_executor.scheduling.recorder import Recorder
from qpu_executor.scheduling.state import Chunk, CoreState, Head, Qpu, Task


class Placement:
    """Moves tasks between the queue and the QPUs.

    Keeps this true between events: no QPU has room while a task waits that
    could go there. So only the QPUs that an event touched have to be filled.
    """

    def __init__(self, state: CoreState, queue: Queue, recorder: Recorder) -> None:
        self._state = state
        self._queue = queue
        self._recorder = recorder

    def make_ready(self, task: Task, now: Instant) -> None:
        """Let a new or released task wait, or start at once where there is room."""
        self._recorder.task(task, TaskState.QUEUED)
        self._queue.rank(task, now)
        self._queue.push(task, now)
        self.fill(task.bucket.needs.qpus, now)

    def stop_waiting(self, task: Task, now: Instant, state: TaskState) -> None:
        """Take a task that has no chunk out of the order: HELD or CANCELLED."""
        queued = task.state is TaskState.QUEUED
        self._recorder.task(task, state)
        task.entry = None
        if queued:
            self._queue.pull(task, now)

    def go_on(self, task: Task, qpu: Qpu, now: Instant) -> None:
        """A chunk boundary: the task ends, is held, takes the next chunk, or gives way."""
        recorder = self._recorder
        if task.cancel_asked:
            recorder.task(task, TaskState.CANCELLED)
            self._queue.forget(task)
        elif not task.remaining:
            recorder.task(task, TaskState.COMPLETED)
            self._queue.forget(task)
        elif task.hold_asked:
            task.hold_asked = False
            self.stop_waiting(task, now, TaskState.HELD)
        elif qpu.has_room and self._stays(task, qpu, now):
            recorder.task(task, TaskState.RUNNING)
            self._send(task, qpu)
            return
        else:
            recorder.task(task, TaskState.QUEUED)
            self._queue.push(task, now)
            self.fill((qpu.spec.name, *task.bucket.needs.qpus), now)
            return
        self.fill((qpu.spec.name,), now)

    def fill(self, names: Iterable[str], now: Instant) -> None:
        """Give the room of these QPUs to the waiting tasks that go first.

        A task that several of them could take goes to the one that it names first.
        """
        qpus = self._state.qpus
        free = [qpu for name in dict.fromkeys(names) if (qpu := qpus.get(name)) and qpu.has_room]
        while free:
            first: Head | None = None
            for qpu in free:
                head = self._queue.best(qpu.spec.name, now)
                if head is not None and (first is None or head < first):
                    first = head
            if first is None:
                return
            task = self._state.tasks[int(first[1][-1])]
            qpu = self._choose(task, free)
            self._recorder.task(task, TaskState.RUNNING)
            self._queue.pull(task, now)
            self._send(task, qpu)
            if not qpu.has_room:
                free.remove(qpu)

    def _choose(self, task: Task, free: list[Qpu]) -> Qpu:
        """The QPU that the task names first, of those with room (one of them can take it)."""
        if len(free) == 1:
            return free[0]
        by_name = {qpu.spec.name: qpu for qpu in free}
        return next(by_name[name] for name in task.bucket.needs.qpus if name in by_name)

    def _stays(self, task: Task, qpu: Qpu, now: Instant) -> bool:
        head = self._queue.best(qpu.spec.name, now)
        return head is None or self._queue.goes_before(task, head, now)

    def _send(self, task: Task, qpu: Qpu) -> None:
        if task.chunk is not None:
            raise self._recorder.story.error("a second chunk at once", task.task_id)
        shots = chunk_shots(
            task.remaining,
            divisible=task.divisible,
            chunk_s=task.bucket.job_class.chunk_s,
            rate_hz=qpu.rate_hz,
            qpu=qpu.spec,
        )
        chunk = Chunk(ChunkId(task.task_id, task.next_n), qpu.spec.name, task.shots_done, shots)
        task.next_n += 1
        task.chunk = chunk
        qpu.running[task.task_id] = chunk
        self._recorder.start(chunk)
