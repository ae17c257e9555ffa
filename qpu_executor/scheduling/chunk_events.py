"""What QPUs say about chunks, and what the end of one means for its task and its QPU."""

from __future__ import annotations

from qpu_executor.model.events import (
    ChunkFinished,
    ChunkLost,
    ChunkRefused,
    ChunkStarted,
    ChunkStopped,
    ChunkUnanswered,
)
from qpu_executor.model.states import ChunkState, TaskState
from qpu_executor.model.timing import Instant
from qpu_executor.model.values import ChunkId
from qpu_executor.scheduling.charging import how_it_ended
from qpu_executor.scheduling.holding import Holding
from qpu_executor.scheduling.metering import Meter
from qpu_executor.scheduling.placement import Placement
from qpu_executor.scheduling.queue import Queue
from qpu_executor.scheduling.recorder import Recorder
from qpu_executor.scheduling.same_kind import of_one_kind
from qpu_executor.scheduling.shot_times import note_chunk
from qpu_executor.scheduling.state import Chunk, CoreState, Qpu, Task
from qpu_executor.scheduling.timekeeper import Timekeeper


class ChunkEvents:
    """Takes in the fate of chunks. Events about chunks that have ended change nothing.

    `max_faults`: consecutive device faults after which a task is FAILED.
    """

    def __init__(
        self,
        state: CoreState,
        queue: Queue,
        recorder: Recorder,
        placement: Placement,
        time: Timekeeper,
        holding: Holding,
        meter: Meter,
        max_faults: int,
    ) -> None:
        self._state = state
        self._queue = queue
        self._recorder = recorder
        self._placement = placement
        self._time = time
        self._holding = holding
        self._meter = meter
        self._max_faults = max_faults

    def started(self, event: ChunkStarted, now: Instant) -> None:
        """The QPU has accepted it."""
        task = self._out(event.chunk)
        if task is None or task.chunk is None or task.chunk.state is ChunkState.RUNNING:
            return
        self._recorder.chunk(task.chunk, ChunkState.RUNNING)

    def unanswered(self, event: ChunkUnanswered, now: Instant) -> None:
        """The QPU doesn't say what became of it; it keeps its slot."""
        task = self._out(event.chunk)
        if task is None or task.chunk is None or task.chunk.state is ChunkState.UNKNOWN:
            return
        self._recorder.chunk(task.chunk, ChunkState.UNKNOWN, reason=event.reason)

    def finished(self, event: ChunkFinished, now: Instant) -> None:
        """It ended well; without a shot it counts as a fault of the device."""
        task = self._out(event.chunk)
        if task is None:
            return
        if event.shots > 0:
            self._count(task, ChunkState.FINISHED, event.shots, event.device_s, event.setup_s, now)
        else:
            reason = "the QPU ended the chunk without a shot"
            self._lose(task, reason, True, event.device_s, event.setup_s, now)

    def stopped(self, event: ChunkStopped, now: Instant) -> None:
        """It ended early, as it was asked to; what it gave counts."""
        task = self._out(event.chunk)
        if task is not None:
            self._count(task, ChunkState.STOPPED, event.shots, event.device_s, event.setup_s, now)

    def lost(self, event: ChunkLost, now: Instant) -> None:
        """Its shots don't count."""
        task = self._out(event.chunk)
        if task is not None:
            self._lose(task, event.reason, event.fault, event.device_s, event.setup_s, now)

    def refused(self, event: ChunkRefused, now: Instant) -> None:
        """The QPU will never take this program: the task is FAILED."""
        task = self._out(event.chunk)
        if task is None:
            return
        qpu, chunk = self._end_chunk(task, ChunkState.LOST, 0, event.reason, now)
        if task.cancel_asked or task.enough is not None:
            self._placement.go_on(task, qpu, chunk, now)
            return
        self._placement.end(task, now, TaskState.FAILED, error=event.reason, permanent=True)
        self._placement.fill((qpu.spec.name,), now)

    # -- inside -------------------------------------------------------------------------

    def _out(self, chunk: ChunkId) -> Task | None:
        """The task whose chunk is out under this id; None if that chunk has ended."""
        task = self._state.tasks.get(chunk.task_id)
        if task is None:
            return None
        if chunk.n >= task.next_n:
            raise self._recorder.story.error(f"chunk {chunk.n} was never sent", chunk.task_id)
        return task if task.chunk is not None and task.chunk.id.n == chunk.n else None

    def _count(
        self,
        task: Task,
        state: ChunkState,
        shots: int,
        device_s: float,
        setup_s: float,
        now: Instant,
    ) -> None:
        """The chunk delivered shots: those that the task still needs count, the rest is surplus."""
        remaining = task.remaining
        counted = min(max(shots, 0), remaining)
        qpu, chunk = self._end_chunk(
            task, state, counted, "", now, device_s=device_s, setup_s=setup_s
        )
        task.shots_done += counted
        note_chunk(task, qpu, shots, device_s)
        if counted:
            task.faults = 0
            self._keep_to_one_kind(task, qpu)
        self._time.chunk_ended(qpu, now)
        if qpu.lingers and (counted == remaining or task.enough is not None):
            self._holding.begin_linger(task, qpu, now)
        self._placement.go_on(task, qpu, chunk, now)

    def _keep_to_one_kind(self, task: Task, qpu: Qpu) -> None:
        """Its next shots come from hardware if these did, and else from an emulator."""
        names = task.bucket.needs.qpus
        same = of_one_kind(names, qpu.spec.emulated, self._is_emulated)
        if same != names:
            self._queue.narrow(task, same)

    def _is_emulated(self, name: str) -> bool | None:
        found = self._state.qpus.get(name)
        return found.spec.emulated if found is not None and found.registered else None

    def _lose(
        self,
        task: Task,
        reason: str,
        fault: bool,
        device_s: float,
        setup_s: float,
        now: Instant,
    ) -> None:
        """The chunk's shots don't count. Too many faults in a row end the task."""
        qpu, chunk = self._end_chunk(
            task, ChunkState.LOST, 0, reason, now, device_s=device_s, setup_s=setup_s, fault=fault
        )
        task.faults += fault
        if task.faults < self._max_faults or task.cancel_asked or task.enough is not None:
            self._placement.go_on(task, qpu, chunk, now)
            return
        error = f"{task.faults} device faults in a row on {qpu.spec.name}, the last one: {reason}"
        self._placement.end(task, now, TaskState.FAILED, error=error)
        self._placement.fill((qpu.spec.name,), now)

    def _end_chunk(
        self,
        task: Task,
        state: ChunkState,
        counted: int,
        reason: str,
        now: Instant,
        *,
        device_s: float = 0.0,
        setup_s: float = 0.0,
        fault: bool = False,
    ) -> tuple[Qpu, Chunk]:
        chunk = task.chunk
        assert chunk is not None
        qpu = self._state.qpus[chunk.qpu]
        ended = how_it_ended(state, fault=fault)
        charged_s = self._meter.chunk_ended(
            task, chunk, qpu, ended, setup_s=setup_s, device_s=device_s, now=now
        )
        note = f"{reason}; {chunk.note}" if reason and chunk.note else reason or chunk.note
        self._recorder.chunk(chunk, state, counted=counted, reason=note, charged_s=charged_s)
        task.chunk = None
        del qpu.running[task.task_id]
        if qpu.overhang:
            qpu.overhang = min(qpu.overhang, len(qpu.running))
        return qpu, chunk
