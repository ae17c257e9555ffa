"""Laws of fairness under random loads in true time: minimum shares, giving way, charging."""

from __future__ import annotations

import heapq
from collections import defaultdict
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qpu_executor.model.events import (
    ChunkFinished,
    ChunkLost,
    ChunkStopped,
    ClassesChanged,
    QpuRegistered,
    TaskSubmitted,
    WokenUp,
)
from qpu_executor.model.states import TaskState
from qpu_executor.model.values import MICROSECONDS, ChunkId, JobClass, QpuSpec, TaskSpec
from qpu_executor.scheduling.charging import ChargingTable, Ended
from qpu_executor.scheduling.commands import SaveChunk, StartChunk
from qpu_executor.scheduling.fair_share import FairShareRules
from qpu_executor.scheduling.ordering import Ordering
from qpu_executor.scheduling.policies.banded import Banded
from qpu_executor.scheduling.policies.fairshare import FairShare
from qpu_executor.scheduling.policies.fifo import Fifo
from qpu_executor.scheduling.policies.priority import Priority
from qpu_executor.scheduling.policies.weighted import Weighted
from qpu_executor.scheduling.scheduler import Scheduler
from qpu_executor.testing.core_driver import CoreDriver

SHOT_S = 0.2
CHUNK_S = 10.0
HORIZON_S = 300.0
NAMES = ("production", "test", "development")
CLASS_FIRST: dict[str, Ordering] = {
    "banded": Banded(age_cap_s=2000.0),
    "fairshare": FairShare(),
    "priority": Priority(),
}
ANY: dict[str, Ordering] = {**CLASS_FIRST, "fifo": Fifo(), "weighted": Weighted()}


@dataclass(slots=True)
class Start:
    """A chunk that started. `after_idle`: the QPU had nothing to do before."""

    at: int
    start: StartChunk
    job_class: str
    after_idle: bool


@dataclass(slots=True)
class Play:
    """One QPU that takes 0.2 s a shot, fed from a list of arrivals (seconds, task)."""

    scheduler: Scheduler
    classes: tuple[JobClass, ...]
    driver: CoreDriver = field(init=False)
    ends: list[tuple[int, ChunkId]] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    waiting: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def run(self, arrivals: list[tuple[float, TaskSpec]]) -> None:
        self.driver = CoreDriver(self.scheduler, step=0)
        self.post(ClassesChanged(self.classes))
        self.post(QpuRegistered(QpuSpec("alpha", shot_rate_hz=1 / SHOT_S)))
        todo = [(round(at * MICROSECONDS), spec) for at, spec in arrivals]
        todo.sort(key=lambda one: one[0])
        while todo or self.ends:
            instants = [queue[0][0] for queue in (todo, self.ends) if queue]
            wakeup = self.scheduler.next_wakeup()
            if wakeup is not None and wakeup <= min(instants):
                self.driver.now = max(self.driver.now, wakeup)
                self.post(WokenUp())
            elif todo and todo[0][0] == min(instants):
                self.driver.now, spec = todo.pop(0)
                self.post(TaskSubmitted(spec))
            else:
                self.driver.now, chunk = heapq.heappop(self.ends)
                shots = self.driver.out[chunk].shots
                self.post(ChunkFinished(chunk, shots, shots * SHOT_S))

    def post(self, event: object) -> None:
        idle = not self.driver.out
        for command in self.driver.post(event):  # type: ignore[arg-type]
            if isinstance(command, StartChunk):
                ends = self.driver.now + round(command.shots * SHOT_S * MICROSECONDS)
                heapq.heappush(self.ends, (ends, command.chunk))
                book = self.driver.tasks[command.chunk.task_id]
                self.starts.append(Start(self.driver.now, command, book.spec.job_class, idle))
                waits = [
                    other.spec.job_class
                    for other in self.driver.tasks.values()
                    if other.state is TaskState.QUEUED
                ]
                self.waiting[len(self.starts) - 1] = tuple(waits)


@st.composite
def loads(draw: st.DrawFn) -> list[tuple[float, TaskSpec]]:
    """Bursts of tasks of all classes within twenty minutes, more than the QPU can take."""
    found = []
    for task_id in range(1, draw(st.integers(5, 30)) + 1):
        at = draw(st.integers(0, 3)) * 400.0 + draw(st.integers(0, 50))
        spec = TaskSpec(
            task_id=task_id,
            owner=draw(st.sampled_from(("ada", "bob"))),
            account=draw(st.sampled_from(("physics", "chemistry"))),
            job_class=draw(st.sampled_from(NAMES)),
            shots=draw(st.sampled_from((10, 120, 600))),
            qpus=("alpha",),
            submitted_at=round(at * MICROSECONDS),
        )
        found.append((at, spec))
    return found


@pytest.mark.parametrize("policy", sorted(ANY))
@settings(max_examples=40, deadline=None, derandomize=True)
@given(load=loads(), shares=st.tuples(*(st.sampled_from((0.0, 0.05, 0.2, 0.3)),) * 3))
def test_every_class_gets_its_minimum_share_while_it_has_work(
    policy: str, load: list[tuple[float, TaskSpec]], shares: tuple[float, ...]
) -> None:
    classes = tuple(
        JobClass(name, 30 - 10 * i, CHUNK_S, min_share=share)
        for i, (name, share) in enumerate(zip(NAMES, shares, strict=True))
    )
    play = Play(Scheduler(ordering=ANY[policy], share_horizon_s=HORIZON_S), classes)
    play.run(load)
    for one in classes:
        busy_since: int | None = None
        served_s = 0.0
        for i, start in enumerate(play.starts):
            has_work = one.name == start.job_class or one.name in play.waiting[i]
            if not has_work or start.after_idle:
                busy_since = None
            if not has_work:
                continue
            if busy_since is None:
                busy_since, served_s = start.at, 0.0
            if start.job_class == one.name:
                served_s += start.start.shots * SHOT_S
            open_s = (start.at - busy_since) / MICROSECONDS
            least_s = one.min_share * (open_s - HORIZON_S) - 3 * CHUNK_S
            assert served_s >= least_s, (one.name, open_s, served_s)


@pytest.mark.parametrize("policy", sorted(CLASS_FIRST))
@settings(max_examples=40, deadline=None, derandomize=True)
@given(load=loads())
def test_no_chunk_starts_while_a_more_urgent_class_waits(
    policy: str, load: list[tuple[float, TaskSpec]]
) -> None:
    classes = tuple(JobClass(name, 30 - 10 * i, CHUNK_S) for i, name in enumerate(NAMES))
    priority = {one.name: one.priority for one in classes}
    play = Play(Scheduler(ordering=CLASS_FIRST[policy]), classes)
    play.run(load)
    assert play.starts
    for i, start in enumerate(play.starts):
        mine = priority[start.job_class]
        assert all(priority[other] <= mine for other in play.waiting[i]), start
    assert all(book.state is TaskState.COMPLETED for book in play.driver.tasks.values())


TABLE = ChargingTable(
    shots=1.0, setup=0.5, preempted=0.25, stopped=0.75, lost=0.1, device_fault=0.2, emulator=0.4
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data(), emulated=st.booleans())
def test_charged_is_the_table_applied_to_the_device_seconds_of_ended_chunks(
    data: st.DataObject, emulated: bool
) -> None:
    rules = FairShareRules(half_life_s=1e15)
    scheduler = Scheduler(fair_share=rules, charging=TABLE, max_faults=100)
    driver = CoreDriver(scheduler)
    classes = (JobClass("production", 2, 10.0), JobClass("development", 1, 10.0))
    driver.post(ClassesChanged(classes))
    driver.post(QpuRegistered(QpuSpec("alpha", shot_rate_hz=5.0, emulated=emulated)))
    charged: dict[tuple[str, str], float] = defaultdict(float)
    started_before: dict[int, int] = {}
    order: list[int] = []
    saved = 0.0
    for step in range(data.draw(st.integers(5, 40))):
        if not driver.out or data.draw(st.booleans()):
            spec = TaskSpec(
                task_id=step + 1,
                owner=data.draw(st.sampled_from(("ada", "bob"))),
                account=data.draw(st.sampled_from(("physics", "chemistry"))),
                job_class=data.draw(st.sampled_from(("production", "development"))),
                shots=data.draw(st.sampled_from((20, 130))),
                qpus=("alpha",),
                submitted_at=step,
            )
            commands = driver.post(TaskSubmitted(spec))
        else:
            chunk, start = next(iter(driver.out.items()))
            how = data.draw(st.sampled_from(tuple(Ended)))
            setup_s, device_s = data.draw(st.sampled_from(((0.0, 4.0), (2.0, 9.0), (3.0, 0.0))))
            owner = driver.tasks[chunk.task_id].spec
            resumed = started_before.get(chunk.task_id, 0) > 0 and order[-2] != chunk.task_id
            factor = {
                Ended.FINISHED: (1.0, 0.25 if resumed else 0.5),
                Ended.STOPPED: (0.75, 0.25 if resumed else 0.5),
                Ended.LOST: (0.1, 0.1),
                Ended.FAULT: (0.2, 0.2),
            }[how]
            seconds = factor[0] * device_s + factor[1] * setup_s
            charged[owner.account, owner.owner] += seconds * (0.4 if emulated else 1.0)
            started_before[chunk.task_id] = started_before.get(chunk.task_id, 0) + 1
            if how is Ended.FINISHED:
                commands = driver.post(ChunkFinished(chunk, start.shots, device_s, setup_s))
            elif how is Ended.STOPPED:
                commands = driver.post(ChunkStopped(chunk, start.shots // 2, device_s, setup_s))
            else:
                fault = how is Ended.FAULT
                commands = driver.post(ChunkLost(chunk, "gone", fault, device_s, setup_s))
        for one in commands:
            if isinstance(one, SaveChunk):
                saved += one.charged_s
        order += [one.chunk.task_id for one in commands if isinstance(one, StartChunk)]
    found = {
        (line.account, line.user): line.usage_s
        for line in scheduler.shares()
        if line.user is not None
    }
    for name, seconds in charged.items():
        assert found[name] == pytest.approx(seconds), name
    assert saved == pytest.approx(sum(charged.values()))
