"""The core's parts: chunk lengths, moves, memory, explanations, restoring, the self-check."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from qpu_executor.errors import InternalError
from qpu_executor.model.events import (
    ChunkFinished,
    ClassesChanged,
    QpuRegistered,
    QpuReported,
    TaskCancelAsked,
    TaskSubmitted,
    WokenUp,
)
from qpu_executor.model.states import ChunkState, QpuState, TaskState, WaitReason
from qpu_executor.model.values import ChunkId, Instant, JobClass, QpuSpec
from qpu_executor.scheduling.admission import Limits
from qpu_executor.scheduling.buckets import Buckets
from qpu_executor.scheduling.chunking import chunk_shots
from qpu_executor.scheduling.commands import StartChunk
from qpu_executor.scheduling.explain import Waiting
from qpu_executor.scheduling.fair_share import FairShareRules, UsageLedger
from qpu_executor.scheduling.ordering import Priority
from qpu_executor.scheduling.recorder import Recorder
from qpu_executor.scheduling.restore import StoredChunk
from qpu_executor.scheduling.scheduler import Scheduler
from qpu_executor.scheduling.shot_times import measured_shot_s
from qpu_executor.scheduling.state import Bucket, Chunk, Key, Task
from qpu_executor.scheduling.transitions import CHUNK_MOVES, TASK_MOVES, state_diagram
from qpu_executor.testing.core_driver import CoreDriver, task_spec

ALPHA = QpuRegistered(QpuSpec("alpha", shot_rate_hz=5.0))

# -- chunking ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("remaining", "rate_hz", "least", "most", "expected"),
    [
        (1000, 5.0, 1, None, 50),
        (1000, 0.01, 1, None, 1),
        (30, 5.0, 1, None, 30),
        (1000, 5.0, 1, 20, 20),
        (1000, None, 1, None, 1000),
        (1000, None, 1, 300, 300),
        (1000, 5.0, 100, None, 100),
        (30, 5.0, 100, None, 100),
        (30, 5.0, 100, 100, 100),
        (60, 5.0, 20, None, 60),
        (60, 5.0, 20, 50, 40),
    ],
)
def test_chunk_shots_within_the_limits_of_the_qpu(
    remaining: int, rate_hz: float | None, least: int, most: int | None, expected: int
) -> None:
    qpu = QpuSpec("alpha", min_chunk_shots=least, max_chunk_shots=most)
    shots = chunk_shots(remaining, divisible=True, chunk_s=10.0, rate_hz=rate_hz, qpu=qpu)
    assert shots == expected


def test_chunk_shots_of_an_indivisible_task_are_all_whatever_the_limits() -> None:
    qpu = QpuSpec("alpha", max_chunk_shots=10)
    assert chunk_shots(500, divisible=False, chunk_s=1.0, rate_hz=1.0, qpu=qpu) == 500


def test_measured_shot_s_moves_by_three_tenths_towards_the_newest() -> None:
    assert measured_shot_s(None, 10, 5.0) == 0.5
    assert measured_shot_s(0.5, 10, 15.0) == pytest.approx(0.8)


@pytest.mark.parametrize(("shots", "device_s"), [(0, 3.0), (10, 0.0)])
def test_measured_shot_s_without_shots_or_duration_stays(shots: int, device_s: float) -> None:
    assert measured_shot_s(0.5, shots, device_s) == 0.5


# -- moves ---------------------------------------------------------------------------


def test_tables_of_moves_know_every_state_and_end_in_the_final_ones() -> None:
    assert set(TASK_MOVES) == {None, *TaskState}
    assert set(CHUNK_MOVES) == {None, *ChunkState}
    assert {state for state in TaskState if not TASK_MOVES[state]} == {
        state for state in TaskState if state.final
    }
    assert {state for state in ChunkState if not CHUNK_MOVES[state]} == {
        state for state in ChunkState if state.ended
    }


@pytest.fixture
def recorder() -> Recorder:
    made = Recorder(Limits())
    made.begin()
    return made


def two_tasks() -> list[Task]:
    buckets = Buckets({}, UsageLedger(FairShareRules()))
    job_class = JobClass("development", 1)
    return [buckets.admit(task_spec(task_id), job_class) for task_id in (7, 8)]


def test_illegal_move_raises_with_the_story_of_that_task_only(recorder: Recorder) -> None:
    first, second = two_tasks()
    recorder.task(first, TaskState.QUEUED)
    recorder.task(second, TaskState.HELD)
    with pytest.raises(InternalError, match="illegal move QUEUED -> QUEUED") as caught:
        recorder.task(first, TaskState.QUEUED)
    assert "#1 QUEUED" in str(caught.value)
    assert "HELD" not in str(caught.value)
    assert first.state is TaskState.QUEUED


def test_illegal_move_of_a_chunk_raises(recorder: Recorder) -> None:
    ended = Chunk(ChunkId(7, 0), "alpha", 0, 10, ChunkState.FINISHED)
    with pytest.raises(InternalError, match="chunk 0: illegal move FINISHED -> RUNNING"):
        recorder.chunk(ended, ChunkState.RUNNING)


def test_state_diagram_shows_every_move() -> None:
    lines = state_diagram(TASK_MOVES).splitlines()
    assert lines[0] == "stateDiagram-v2"
    assert "    [*] --> QUEUED: submitted" in lines
    assert "    RUNNING --> QUEUED: gives way, shots kept" in lines
    assert "    COMPLETED --> [*]" in lines
    assert len(lines) == 1 + sum(len(targets) or 1 for targets in TASK_MOVES.values())


# -- memory --------------------------------------------------------------------------


def test_cancelled_tasks_leave_nothing_behind() -> None:
    scheduler = Scheduler()
    scheduler.handle(ALPHA, 0)
    for task_id in range(1, 2001):
        scheduler.handle(TaskSubmitted(task_spec(task_id, owner=f"user-{task_id % 7}")), task_id)
    for task_id in range(2000, 10, -1):
        scheduler.handle(TaskCancelAsked(task_id), 3000)
    scheduler.check()  # bounds the garbage in every heap
    for task_id in range(10, 0, -1):
        scheduler.handle(TaskCancelAsked(task_id), 3000)
    scheduler.handle(ChunkFinished(ChunkId(1, 0), 50, 10.0), 3001)
    scheduler.check()
    assert not scheduler._state.tasks
    assert not list(scheduler._queue.buckets())


def test_finished_tasks_leave_nothing_behind() -> None:
    scheduler = Scheduler()
    scheduler.handle(ALPHA, 0)
    for task_id in range(1, 501):
        spec = task_spec(task_id, shots=1, account=f"account-{task_id}")
        scheduler.handle(TaskSubmitted(spec), task_id)
        scheduler.handle(ChunkFinished(ChunkId(task_id, 0), 1, 1.0), task_id)
        scheduler.check()  # bounds the stale heads in the QPU's index
    assert not scheduler._state.tasks
    assert not list(scheduler._queue.buckets())


# -- policies ------------------------------------------------------------------------


@dataclass
class Throttled(Priority):
    """A policy whose bucket keys move: accounts in `over` go last, until `until`."""

    over: set[str]
    until: Instant | None = None

    def bucket_key(self, bucket: Bucket, now: Instant) -> Key:
        over = bucket.account in self.over and (self.until is None or now < self.until)
        return (-bucket.job_class.priority, over)

    def next_change(self, now: Instant) -> Instant | None:
        return self.until if self.until is not None and now < self.until else None


def started(driver: CoreDriver, task_id: int) -> int:
    """The task that starts when this one ends."""
    commands = driver.post(ChunkFinished(ChunkId(task_id, 0), 1, 1.0))
    (start,) = [c for c in commands if isinstance(c, StartChunk)]
    return start.chunk.task_id


def test_bucket_key_that_grew_is_noticed_at_the_next_decision() -> None:
    policy = Throttled(set())
    driver = CoreDriver(Scheduler(ordering=policy))
    driver.post(ALPHA, *(TaskSubmitted(task_spec(i, shots=1, account=f"a{i}")) for i in (1, 2, 3)))
    policy.over.add("a2")
    assert started(driver, 1) == 3


def test_bucket_key_that_shrinks_with_time_is_noticed_at_the_wake_up() -> None:
    policy = Throttled({"a2"}, until=50_000)
    driver = CoreDriver(Scheduler(ordering=policy))
    driver.post(ALPHA, *(TaskSubmitted(task_spec(i, shots=1, account=f"a{i}")) for i in (1, 2, 3)))
    assert driver.scheduler.next_wakeup() == 50_000
    driver.now = 50_000
    driver.post(WokenUp())
    assert driver.scheduler.next_wakeup() is None
    assert started(driver, 1) == 2


# -- why a task waits ----------------------------------------------------------------


@pytest.fixture
def queue() -> CoreDriver:
    """Task 1 runs on "alpha"; 2 (production), 3 and 4 wait."""
    driver = CoreDriver()
    driver.post(ClassesChanged((JobClass("production", 9), JobClass("development", 1))), ALPHA)
    driver.post(TaskSubmitted(task_spec(1)), TaskSubmitted(task_spec(3)))
    driver.post(TaskSubmitted(task_spec(4, owner="bob")))
    driver.post(TaskSubmitted(task_spec(2, job_class="production")))
    return driver


def test_waiting_behind_others_is_priority_with_the_position(queue: CoreDriver) -> None:
    assert queue.scheduler.waiting(2) == Waiting(WaitReason.RESOURCES, 0)
    assert queue.scheduler.waiting(3) == Waiting(WaitReason.PRIORITY, 2)
    assert queue.scheduler.waiting(4) == Waiting(WaitReason.PRIORITY, 3)


def test_position_counts_only_tasks_that_want_the_same_qpus(queue: CoreDriver) -> None:
    queue.post(QpuRegistered(QpuSpec("beta", state=QpuState.DOWN, reason="cooling")))
    queue.post(TaskSubmitted(task_spec(5, qpus=("beta",))))
    assert queue.scheduler.waiting(5) == Waiting(WaitReason.QPU_DOWN, 0, "beta: cooling")


def test_running_and_ended_tasks_have_no_wait_reason(queue: CoreDriver) -> None:
    assert queue.scheduler.waiting(1) is None
    assert queue.scheduler.waiting(99) is None


def test_held_task_waits_for_its_release(queue: CoreDriver) -> None:
    queue.post(TaskSubmitted(task_spec(5, held=True)))
    assert queue.scheduler.waiting(5) == Waiting(WaitReason.JOB_HELD, None)


def test_draining_qpu_is_the_reason(queue: CoreDriver) -> None:
    queue.post(QpuReported("alpha", QpuState.DRAINING, "service at noon"))
    assert queue.scheduler.waiting(2) == Waiting(
        WaitReason.QPU_DRAINING, 0, "alpha: service at noon"
    )


def test_task_of_a_qpu_that_never_joined_has_no_compatible_qpu(queue: CoreDriver) -> None:
    queue.post(TaskSubmitted(task_spec(5, qpus=("ghost",))))
    why = queue.scheduler.waiting(5)
    assert why is not None
    assert why.reason is WaitReason.NO_COMPATIBLE_QPU


def test_view_of_a_qpu_counts_what_runs_and_waits(queue: CoreDriver) -> None:
    view = queue.scheduler.qpu("alpha")
    assert view is not None
    assert (view.running, view.waiting, view.slots, view.rate_hz) == ((1,), 3, 1, 5.0)
    assert queue.scheduler.qpu("ghost") is None


# -- restoring -----------------------------------------------------------------------


def test_restored_tasks_go_on_with_the_next_event() -> None:
    scheduler = Scheduler()
    chunk = StoredChunk(ChunkId(1, 2), "alpha", 50, 100, ChunkState.SENT)
    scheduler.restore(
        task_spec(1, shots=150),
        TaskState.RUNNING,
        shots_done=100,
        faults=0,
        chunk=chunk,
        next_chunk_n=3,
    )
    scheduler.restore(
        task_spec(2), TaskState.QUEUED, shots_done=20, faults=0, chunk=None, next_chunk_n=1
    )
    scheduler.check()
    assert scheduler.handle(ALPHA, 10) == []
    commands = scheduler.handle(ChunkFinished(ChunkId(1, 2), 50, 10.0), 20)
    assert commands[-1] == StartChunk(2, ChunkId(2, 1), "alpha", first_shot=20, shots=50)
    scheduler.check()


def test_restored_task_on_a_free_qpu_starts_with_any_event() -> None:
    scheduler = Scheduler()
    scheduler.handle(ALPHA, 0)
    scheduler.restore(
        task_spec(2), TaskState.QUEUED, shots_done=0, faults=0, chunk=None, next_chunk_n=0
    )
    assert isinstance(scheduler.handle(WokenUp(), 1)[-1], StartChunk)


def test_restored_faults_go_on_counting() -> None:
    driver = CoreDriver(Scheduler(max_faults=2))
    driver.scheduler.handle(ALPHA, 0)
    driver.scheduler.restore(
        task_spec(2), TaskState.QUEUED, shots_done=0, faults=1, chunk=None, next_chunk_n=1
    )
    driver.scheduler.handle(WokenUp(), 1)
    last = driver.scheduler.handle(ChunkFinished(ChunkId(2, 1), 0, 0.0), 2)[-1]
    assert getattr(last, "state", None) is TaskState.FAILED


@pytest.mark.parametrize(
    ("state", "shots_done", "chunk"),
    [
        (TaskState.COMPLETED, 0, None),
        (TaskState.QUEUED, 100, None),
        (TaskState.RUNNING, 0, None),
        (TaskState.QUEUED, 0, StoredChunk(ChunkId(1, 0), "alpha", 9, 0, ChunkState.SENT)),
        (TaskState.RUNNING, 0, StoredChunk(ChunkId(1, 0), "alpha", 9, 0, ChunkState.LOST)),
        (TaskState.RUNNING, 0, StoredChunk(ChunkId(1, 0), "beta", 9, 0, ChunkState.SENT)),
        (TaskState.RUNNING, 5, StoredChunk(ChunkId(1, 0), "alpha", 9, 0, ChunkState.SENT)),
    ],
)
def test_restoring_what_cannot_have_been_stored_is_an_internal_error(
    state: TaskState, shots_done: int, chunk: StoredChunk | None
) -> None:
    scheduler = Scheduler()
    with pytest.raises(InternalError, match="can't be taken back"):
        scheduler.restore(
            task_spec(1), state, shots_done=shots_done, faults=0, chunk=chunk, next_chunk_n=1
        )
    scheduler.check()


# -- the self-check ------------------------------------------------------------------


def test_self_check_notices_shots_that_were_counted_twice(queue: CoreDriver) -> None:
    queue.scheduler._state.tasks[1].shots_done += 50
    with pytest.raises(InternalError, match="the chunk starts elsewhere"):
        queue.scheduler.check()


def test_self_check_notices_a_second_chunk_in_a_slot(queue: CoreDriver) -> None:
    qpu = queue.scheduler._state.qpus["alpha"]
    qpu.running[2] = qpu.running[1]
    with pytest.raises(InternalError, match="2 chunks at once"):
        queue.scheduler.check()
