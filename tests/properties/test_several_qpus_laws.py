"""Laws of placement on several QPUs, under random fleets, loads and outages.

Whatever the state of the core: no QPU that is open and has room idles while a task waits
that may go there, unless a named rule keeps it. A task's counted shots come from hardware
alone or from emulators alone. And a task that finds several free QPUs gets the one on
which it is expected to be done first.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from qpu_executor.model.events import (
    ChunkFinished,
    ChunkLost,
    ClassesChanged,
    Event,
    QpuDrained,
    QpuRegistered,
    QpuReported,
    QpuResumed,
    TaskHoldAsked,
    TaskReleaseAsked,
    TaskSubmitted,
)
from qpu_executor.model.states import QpuState, TaskState, WaitReason
from qpu_executor.model.values import JobClass, QpuSpec, TaskSpec
from qpu_executor.scheduling.commands import Command, StartChunk
from qpu_executor.scheduling.policies.banded import Banded
from qpu_executor.scheduling.scheduler import Scheduler
from qpu_executor.testing.core_driver import CoreDriver, task_spec

NAMES = ("alpha", "beta", "gamma", "delta")
CLASSES = (
    JobClass("production", 30, fallback=("delta",)),
    JobClass("test", 20, min_share=0.2),
    JobClass("development", 10, max_running=2),
)
ASSUMED_SHOT_S = 4.0
NO_RULE = {WaitReason.PRIORITY, WaitReason.RESOURCES}


@st.composite
def fleets(draw: st.DrawFn) -> tuple[QpuSpec, ...]:
    """One to four QPUs of all kinds."""
    return tuple(
        QpuSpec(
            name,
            slots=draw(st.integers(1, 2)),
            shot_rate_hz=draw(st.sampled_from((None, 0.1, 1.0, 5.0, 200.0))),
            setup_s=draw(st.sampled_from((0.0, 2.0))),
            switch_s=draw(st.sampled_from((0.0, 30.0))),
            max_chunk_shots=draw(st.sampled_from((None, 40))),
            emulated=draw(st.booleans()),
        )
        for name in NAMES[: draw(st.integers(1, 4))]
    )


@st.composite
def tasks(draw: st.DrawFn, task_id: int) -> TaskSpec:
    """A task that may go to some of them, in an order of its own."""
    return task_spec(
        task_id,
        shots=draw(st.sampled_from((1, 30, 500))),
        job_class=draw(st.sampled_from([one.name for one in CLASSES])),
        owner=draw(st.sampled_from(("ada", "bob"))),
        qpus=tuple(draw(st.permutations(NAMES))[: draw(st.integers(1, 4))]),
        shot_s=draw(st.sampled_from((None, None, 0.1, 3.0))),
        divisible=draw(st.booleans()),
    )


@dataclass
class Site:
    """A core under test, with what it was told."""

    fleet: dict[str, QpuSpec]
    driver: CoreDriver = field(
        default_factory=lambda: CoreDriver(Scheduler(ordering=Banded()), step=1000)
    )
    closed: set[str] = field(default_factory=set)
    emulated: dict[int, bool] = field(default_factory=dict)
    """Of the tasks that have counted shots: whether emulators took them."""

    def post(self, event: Event) -> list[Command]:
        if isinstance(event, ChunkFinished):
            took = self.fleet[self.driver.out[event.chunk].qpu].emulated
            assert self.emulated.setdefault(event.chunk.task_id, took) is took, event
        commands = self.driver.post(event)
        self.no_qpu_idles()
        return commands

    def may_go(self, task: TaskSpec, qpu: QpuSpec) -> bool:
        """It names the QPU, and has no shots of the other kind."""
        kind = self.emulated.get(task.task_id, qpu.emulated)
        return qpu.name in task.qpus and kind is qpu.emulated

    def no_qpu_idles(self) -> None:
        waiting = [b.spec for b in self.driver.tasks.values() if b.state is TaskState.QUEUED]
        for name, qpu in self.fleet.items():
            if name in self.closed or self.driver.busy(name) >= qpu.slots:
                continue
            for task in waiting:
                reason = self.driver.scheduler.reason(task.task_id)
                assert not self.may_go(task, qpu) or reason not in NO_RULE, (name, task, reason)

    def step(self, data: st.DataObject) -> None:
        """Something happens."""
        out = sorted(self.driver.out)
        what = data.draw(st.sampled_from(("submit", "end", "end", "lose", "close", "open", "hold")))
        if what == "submit":
            self.post(TaskSubmitted(data.draw(tasks(len(self.driver.tasks) + 1))))
        elif what in ("end", "lose") and out:
            chunk = data.draw(st.sampled_from(out))
            if what == "lose":
                self.post(ChunkLost(chunk, "laser", fault=data.draw(st.booleans())))
            else:
                shots = self.driver.out[chunk].shots
                shot_s = data.draw(st.sampled_from((0.01, 0.2, 6.0)))
                self.post(ChunkFinished(chunk, shots, shots * shot_s))
        elif what in ("close", "open"):
            self.close_or_open(data, what)
        elif what == "hold" and self.driver.tasks:
            task_id = data.draw(st.sampled_from(sorted(self.driver.tasks)))
            asked = data.draw(st.sampled_from((TaskHoldAsked, TaskReleaseAsked)))
            self.post(asked(task_id))

    def close_or_open(self, data: st.DataObject, what: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.fleet)))
        drains = data.draw(st.booleans())
        if what == "close":
            self.closed.add(name)
            self.post(QpuDrained(name) if drains else QpuReported(name, QpuState.DOWN, "cold"))
        else:
            self.post(QpuReported(name, QpuState.UP))
            self.closed.discard(name)
            self.post(QpuResumed(name))


def a_site(fleet: tuple[QpuSpec, ...]) -> Site:
    site = Site({qpu.name: qpu for qpu in fleet})
    site.closed.update(site.fleet)
    site.driver.post(ClassesChanged(CLASSES))
    for qpu in fleet:
        site.driver.post(QpuRegistered(qpu))
        site.closed.discard(qpu.name)
    return site


@settings(max_examples=150, deadline=None, derandomize=True)
@given(fleet=fleets(), steps=st.integers(5, 60), data=st.data())
def test_no_qpu_idles_while_a_task_waits_that_no_rule_keeps(
    fleet: tuple[QpuSpec, ...], steps: int, data: st.DataObject
) -> None:
    site = a_site(fleet)
    for _ in range(steps):
        site.step(data)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(emulated=st.lists(st.booleans(), min_size=2, max_size=4), data=st.data())
def test_shots_of_one_task_come_from_hardware_alone_or_from_emulators_alone(
    emulated: list[bool], data: st.DataObject
) -> None:
    kinds = zip(NAMES, emulated, strict=False)
    site = a_site(tuple(QpuSpec(name, shot_rate_hz=1.0, emulated=one) for name, one in kinds))
    for task_id in (1, 2, 3):
        site.post(TaskSubmitted(task_spec(task_id, shots=500, qpus=NAMES)))
    for _ in range(30):
        name = data.draw(st.sampled_from(sorted(site.fleet)))
        if name not in site.closed:
            site.closed.add(name)
            site.post(QpuReported(name, QpuState.DOWN, "cold"))
        else:
            site.post(QpuReported(name, QpuState.UP))
            site.closed.discard(name)
        for chunk in sorted(site.driver.out):
            shots = site.driver.out[chunk].shots
            site.post(ChunkFinished(chunk, shots, float(shots)))


def done_after_s(task: TaskSpec, qpu: QpuSpec, chunk_s: float) -> float:
    """Seconds to the end of a task that starts on an idle QPU and keeps it."""
    shot_s = task.shot_s or (1 / qpu.shot_rate_hz if qpu.shot_rate_hz else ASSUMED_SHOT_S)
    chunk = max(1, round(chunk_s / shot_s))
    chunk = min(chunk, qpu.max_chunk_shots or chunk)
    chunks = -(-task.shots // chunk) if task.divisible else 1
    return qpu.switch_s + chunks * qpu.setup_s + task.shots * shot_s


@settings(max_examples=300, deadline=None, derandomize=True)
@given(fleet=fleets(), data=st.data())
def test_task_on_an_idle_site_goes_where_it_is_done_first(
    fleet: tuple[QpuSpec, ...], data: st.DataObject
) -> None:
    site = a_site(fleet)
    task = data.draw(tasks(1))
    starts = [one for one in site.post(TaskSubmitted(task)) if isinstance(one, StartChunk)]
    usable = [name for name in task.qpus if name in site.fleet]
    assert len(starts) == bool(usable)
    if not usable:
        return
    job_class = next(one for one in CLASSES if one.name == task.job_class)

    def rank(name: str) -> tuple[bool, bool, float]:
        qpu = site.fleet[name]
        seconds = done_after_s(task, qpu, job_class.chunk_s)
        return name in job_class.fallback, qpu.emulated, round(seconds, 4)

    best = min(usable, key=rank)
    assert rank(starts[0].qpu) == rank(best), (starts, {name: rank(name) for name in usable})
