"""The laws of the core under random histories: counting, slots, progress, determinism, restart."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from qpu_executor.model.events import (
    ChunkFinished,
    ChunkLost,
    ChunkRefused,
    ChunkStarted,
    ChunkStopped,
    ChunkUnanswered,
    ClassesChanged,
    Event,
    QpuRegistered,
    QpuReported,
    StoppingRuleMet,
    TaskCancelAsked,
    TaskHoldAsked,
    TaskReleaseAsked,
    TaskSubmitted,
    WokenUp,
)
from qpu_executor.model.states import QpuState, TaskState
from qpu_executor.model.values import ChunkId, JobClass, QpuSpec
from qpu_executor.scheduling.commands import Command, StartChunk
from qpu_executor.scheduling.fair_share import FairShareRules
from qpu_executor.scheduling.ordering import Ordering
from qpu_executor.scheduling.policies.banded import Banded
from qpu_executor.scheduling.policies.critical_path import CriticalPath
from qpu_executor.scheduling.policies.fairshare import FairShare
from qpu_executor.scheduling.policies.fifo import Fifo
from qpu_executor.scheduling.policies.priority import Priority
from qpu_executor.scheduling.policies.weighted import Weighted
from qpu_executor.scheduling.restore import StoredChunk
from qpu_executor.scheduling.scheduler import Scheduler
from qpu_executor.testing import strategies as site
from qpu_executor.testing.core_driver import CoreDriver

SHOTS_SHARE = st.sampled_from((1.0, 1.0, 1.0, 0.5, 0.0, 1.5))
MAX_TASKS = 60

ORDERINGS: dict[str, Ordering] = {
    "banded": Banded(age_cap_s=0.2),
    "banded, nobody of age": Banded(),
    "critical-path": CriticalPath(),
    "fairshare": FairShare(),
    "fifo": Fifo(),
    "priority": Priority(),
    "weighted": Weighted(age_cap_s=0.2),
}


class LawMachine(RuleBasedStateMachine):
    """A manager with any QPUs and any users; the driver checks the laws after every event."""

    policy = "priority"

    def __init__(self) -> None:
        super().__init__()
        self.driver = CoreDriver()
        self.log: list[tuple[Event, int, list[Command]]] = []
        self.known: list[ChunkId] = []
        self.specs: dict[str, QpuSpec] = {}
        self.classes: tuple[JobClass, ...] = ()
        self.restarted = False
        self.healthy = True

    def post(self, event: Event) -> None:
        self.healthy = False
        commands = self.driver.post(event)
        self.healthy = True
        self.log.append((event, self.driver.now, commands))
        self.known += [c.chunk for c in commands if isinstance(c, StartChunk)]

    def register(self, spec: QpuSpec) -> None:
        self.specs[spec.name] = spec
        self.post(QpuRegistered(spec))

    def new_core(self) -> Scheduler:
        """With bands that move and ages that come within a test's few hundred milliseconds."""
        rules = FairShareRules(half_life_s=1000.0, min_usage_s=1.0)
        return Scheduler(ordering=ORDERINGS[self.policy], fair_share=rules)

    @initialize(
        classes=site.classes(),
        spec=site.qpu_specs("alpha"),
        policy=st.sampled_from(tuple(ORDERINGS)),
    )
    def start(self, classes: tuple[JobClass, ...], spec: QpuSpec, policy: str) -> None:
        self.policy = policy
        self.driver.scheduler = self.new_core()
        self.change_classes(classes)
        self.register(spec)

    # -- the site ----------------------------------------------------------------

    @rule(classes=site.classes())
    def change_classes(self, classes: tuple[JobClass, ...]) -> None:
        self.classes = classes
        self.post(ClassesChanged(classes))

    @rule(data=st.data(), name=st.sampled_from(site.QPU_NAMES))
    def join_or_change_qpu(self, data: st.DataObject, name: str) -> None:
        spec = data.draw(site.qpu_specs(name))
        self.register(spec)

    @rule(data=st.data(), state=site.qpu_states)
    def report_qpu(self, data: st.DataObject, state: QpuState) -> None:
        name = data.draw(st.sampled_from(sorted(self.specs)))
        self.post(QpuReported(name, state, "seen"))

    @rule()
    def wake_up(self) -> None:
        self.post(WokenUp())

    # -- users -------------------------------------------------------------------

    @precondition(lambda self: len(self.driver.tasks) < MAX_TASKS)
    @rule(data=st.data(), how_many=st.integers(1, 4))
    def submit(self, data: st.DataObject, how_many: int) -> None:
        for _ in range(how_many):
            spec = data.draw(site.task_specs(len(self.driver.tasks) + 1, self.driver.now))
            self.post(TaskSubmitted(spec))

    def some_task(self, data: st.DataObject) -> int:
        """A task that is alive or has ended, or one that nobody knows (0)."""
        running = [chunk.task_id for chunk in self.driver.out]
        return data.draw(st.sampled_from([*sorted(running), 0, *self.driver.tasks]))

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.post(TaskCancelAsked(self.some_task(data), "no longer needed"))

    @rule(data=st.data())
    def hold(self, data: st.DataObject) -> None:
        self.post(TaskHoldAsked(self.some_task(data)))

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.post(TaskReleaseAsked(self.some_task(data)))

    def judged(self, task_id: int) -> bool:
        return self.driver.tasks[task_id].spec.min_shots is not None

    @precondition(lambda self: any(map(self.judged, self.driver.tasks)))
    @rule(data=st.data(), more=st.sampled_from((0, 0, 1, 20)))
    def rule_is_met(self, data: st.DataObject, more: int) -> None:
        """Of any task that has a rule, whether it waits, runs, or has ended."""
        judged = [task_id for task_id in self.driver.tasks if self.judged(task_id)]
        running = [chunk.task_id for chunk in self.driver.out if self.judged(chunk.task_id)]
        book = self.driver.tasks[data.draw(st.sampled_from([*sorted(running), *judged]))]
        shots = max(book.spec.min_shots or 0, book.counted) + more
        self.post(StoppingRuleMet(book.spec.task_id, shots, "enough"))

    @precondition(lambda self: any(self.judged(chunk.task_id) for chunk in self.driver.out))
    @rule(data=st.data(), share=SHOTS_SHARE)
    def rule_is_met_by_the_chunk_that_ends(self, data: st.DataObject, share: float) -> None:
        """As a manager does it: the judgement first, then the end of the chunk."""
        chunks = [chunk for chunk in sorted(self.driver.out) if self.judged(chunk.task_id)]
        chunk = data.draw(st.sampled_from(chunks))
        book = self.driver.tasks[chunk.task_id]
        shots = int(self.driver.out[chunk].shots * share)
        total = book.counted + shots
        cancelled = chunk in self.driver.cancels
        if total >= (book.spec.min_shots or 0):
            self.post(StoppingRuleMet(chunk.task_id, total, "enough"))
        self.post(ChunkFinished(chunk, shots, shots / 5.0))
        if total >= (book.spec.min_shots or 0) and not cancelled:
            assert book.state is TaskState.COMPLETED

    # -- QPUs --------------------------------------------------------------------

    def some_chunk_out(self, data: st.DataObject) -> ChunkId:
        return data.draw(st.sampled_from(sorted(self.driver.out)))

    @precondition(lambda self: self.driver.out)
    @rule(data=st.data())
    def chunk_starts(self, data: st.DataObject) -> None:
        self.post(ChunkStarted(self.some_chunk_out(data)))

    @precondition(lambda self: self.driver.out)
    @rule(data=st.data(), share=SHOTS_SHARE, shot_s=st.sampled_from((0.0, 0.01, 1.0)))
    def chunk_finishes(self, data: st.DataObject, share: float, shot_s: float) -> None:
        chunk = self.some_chunk_out(data)
        shots = int(self.driver.out[chunk].shots * share)
        self.post(ChunkFinished(chunk, shots, shots * shot_s))

    @precondition(lambda self: self.driver.out)
    @rule(shot_s=st.sampled_from((0.01, 0.2, 4.0)))
    def every_chunk_finishes(self, shot_s: float) -> None:
        for chunk, start in list(self.driver.out.items()):
            self.post(ChunkFinished(chunk, start.shots, start.shots * shot_s))

    @precondition(lambda self: self.driver.out)
    @rule(data=st.data(), share=SHOTS_SHARE)
    def chunk_stops(self, data: st.DataObject, share: float) -> None:
        chunk = self.some_chunk_out(data)
        self.post(ChunkStopped(chunk, int(self.driver.out[chunk].shots * share), 1.0))

    @precondition(lambda self: self.driver.out)
    @rule(data=st.data(), how=st.sampled_from(("fault", "loss", "refusal", "no answer")))
    def chunk_goes_wrong(self, data: st.DataObject, how: str) -> None:
        chunk = self.some_chunk_out(data)
        if how == "refusal":
            self.post(ChunkRefused(chunk, how))
        elif how == "no answer":
            self.post(ChunkUnanswered(chunk, how))
        else:
            self.post(ChunkLost(chunk, how, fault=how == "fault"))

    @precondition(lambda self: self.known)
    @rule(data=st.data(), late=st.sampled_from(("finish", "stop", "start", "loss", "silence")))
    def late_event_about_an_ended_chunk(self, data: st.DataObject, late: str) -> None:
        chunk = data.draw(st.sampled_from(self.known))
        if chunk in self.driver.out:
            return
        events: dict[str, Event] = {
            "finish": ChunkFinished(chunk, 5, 1.0),
            "stop": ChunkStopped(chunk, 5, 1.0),
            "start": ChunkStarted(chunk),
            "loss": ChunkLost(chunk, "late", fault=True),
            "silence": ChunkUnanswered(chunk, "late"),
        }
        self.post(events[late])
        assert self.log[-1][2] == []

    # -- the manager -------------------------------------------------------------

    @rule(qpus_first=st.booleans())
    def restart(self, qpus_first: bool) -> None:
        """A new core takes everything back from what the commands said."""
        self.restarted = True
        old, self.driver.scheduler = self.driver.scheduler, self.new_core()
        self.driver.events = 0
        cancelled = [
            chunk.task_id for chunk in sorted(self.driver.cancels) if chunk in self.driver.out
        ]
        self.driver.stops.clear()
        if qpus_first:
            self.join_all_again(old)
        for task_id in self.driver.live():
            self.take_back(task_id)
        self.driver.scheduler.check()
        if not qpus_first:
            self.join_all_again(old)
        for task_id in cancelled:
            self.post(TaskCancelAsked(task_id, "asked before the restart"))
        for task_id in self.driver.live():
            enough = self.driver.tasks[task_id].enough
            if enough is not None:
                self.post(StoppingRuleMet(task_id, enough, "judged again"))

    def join_all_again(self, old: Scheduler) -> None:
        self.post(ClassesChanged(self.classes))
        for name in self.specs:
            view = old.qpu(name)
            assert view is not None
            self.post(QpuRegistered(self.specs[name]))
            self.post(QpuReported(name, view.state, view.reason))

    def take_back(self, task_id: int) -> None:
        book = self.driver.tasks[task_id]
        assert book.state is not None
        stored = [
            StoredChunk(id_, start.qpu, start.shots, start.first_shot, self.driver.states[id_])
            for id_, start in self.driver.out.items()
            if id_.task_id == task_id
        ]
        self.driver.scheduler.restore(
            book.spec,
            book.state,
            shots_done=book.counted,
            faults=0,
            chunk=stored[0] if stored else None,
            next_chunk_n=book.chunks,
        )

    # -- at the end --------------------------------------------------------------

    def teardown(self) -> None:
        if not self.healthy:
            return
        if not self.restarted:
            self.equal_events_give_equal_commands()
        self.no_task_is_stuck()

    def equal_events_give_equal_commands(self) -> None:
        twin = self.new_core()
        for event, now, commands in self.log:
            assert twin.handle(event, now) == commands

    def no_task_is_stuck(self) -> None:
        """With every QPU up and every chunk answered, each task that isn't held ends."""
        for name in site.QPU_NAMES:
            self.register(QpuSpec(name, shot_rate_hz=5.0))
        for _ in range(20 * MAX_TASKS * 100):
            if not self.driver.out:
                break
            chunk = next(iter(self.driver.out))
            shots = self.driver.out[chunk].shots
            self.post(ChunkFinished(chunk, shots, shots / 5.0))
        stuck = [i for i in self.driver.live() if self.driver.tasks[i].state is not TaskState.HELD]
        assert not stuck


TestLaws = LawMachine.TestCase
TestLaws.settings = settings(
    max_examples=60,
    stateful_step_count=200,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
