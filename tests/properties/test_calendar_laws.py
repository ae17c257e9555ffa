"""Laws 3 and 9 under random calendars: calibrations, windows, sessions that end, wishes of tasks.

Chunks take their time here: a small simulator ends them, answers what the core
asks for, and wakes it at the instants that it names. The driver checks every
chunk that starts against books of its own.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from qpu_executor.model.events import (
    CalibrationDue,
    CalibrationEnded,
    CalibrationReported,
    CalibrationStarted,
    ChunkFinished,
    ChunkStarted,
    ChunkStopped,
    ClassesChanged,
    Event,
    QpuDrained,
    QpuRegistered,
    QpuResumed,
    StoppingRuleMet,
    TaskCancelAsked,
    TaskHoldAsked,
    TaskRebound,
    TaskReleaseAsked,
    TaskStopAsked,
    TaskSubmitted,
    WarmHoldAsked,
    WindowsChanged,
    WokenUp,
)
from qpu_executor.model.states import QpuState, TaskState, WaitReason
from qpu_executor.model.timing import QUALITY, Instant, Window, after
from qpu_executor.model.values import ChunkId, JobClass, QpuSpec
from qpu_executor.scheduling.commands import (
    Command,
    SaveHold,
    StartCalibration,
    StartChunk,
    StopChunk,
)
from qpu_executor.scheduling.scheduler import Scheduler
from qpu_executor.testing import strategies as site
from qpu_executor.testing.core_driver import CoreDriver

NAMES = ("alpha", "beta")
RATE_HZ = 2.0
MAX_TASKS = 40
CALIBRATION_S = 60.0
SESSIONS = ("s-1", "s-2")
LONGEST_HOLD_S = 2000.0
WAITS_FOR_TIME = {
    WaitReason.CALIBRATION,
    WaitReason.DEPENDENCY,
    WaitReason.NO_COMPATIBLE_QPU,
}


class CalendarMachine(RuleBasedStateMachine):
    """`ends`: when what is out at the QPUs ends, and how. `slow`: chunks overrun their plan."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = CoreDriver(step=1)
        self.log: list[tuple[Event, int, list[Command]]] = []
        self.ends: dict[ChunkId | str, tuple[Instant, Event]] = {}
        self.specs: dict[str, QpuSpec] = {}
        self.classes: tuple[JobClass, ...] = ()
        self.windows: dict[str, tuple[Window, ...]] = {}
        self.sent: list[tuple[str, Instant, str | None]] = []
        self.slow = False
        self.told_late = False
        self.restarted = False
        self.healthy = True

    # -- the world -----------------------------------------------------------------------

    def post(self, event: Event) -> None:
        self.healthy = False
        commands = self.driver.post(event)
        self.healthy = True
        self.log.append((event, self.driver.now, commands))
        for command in commands:
            self.answer(command)

    def answer(self, command: Command) -> None:
        now = self.driver.now
        match command:
            case StartChunk():
                seconds = command.shots / RATE_HZ * (3.0 if self.slow else 1.0)
                event = ChunkFinished(command.chunk, command.shots, seconds)
                self.ends[command.chunk] = (after(now, seconds), event)
                session_id = self.driver.tasks[command.chunk.task_id].spec.session_id
                self.sent.append((command.qpu, now, session_id))
            case SaveHold():
                self.check_hold(command)
            case StopChunk():
                start = self.driver.out[command.chunk]
                self.check_stop(command)
                event_ = ChunkStopped(command.chunk, start.shots // 2, start.shots / 2 / RATE_HZ)
                self.ends[command.chunk] = (now, event_)
            case StartCalibration():
                self.ends[command.qpu] = (now, CalibrationStarted(command.qpu))
            case _:
                pass

    def check_stop(self, command: StopChunk) -> None:
        """Law 9: nothing that was planned in time has to be stopped for a window."""
        in_time = not self.slow and not self.told_late
        foreseen = command.reason.startswith("overran: ")
        assert not (in_time and foreseen), command

    def check_hold(self, kept: SaveHold) -> None:
        """While a QPU was kept for a session nobody else's task began there; no hold is endless."""
        assert kept.since_at < kept.ended_at <= self.driver.now, kept
        assert kept.ended_at - kept.since_at <= after(0, LONGEST_HOLD_S), kept
        for qpu, at, session_id in self.sent:
            within = qpu == kept.qpu and kept.since_at < at < kept.ended_at
            assert not within or session_id == kept.session_id, (kept, at)

    def pass_time(self, until: Instant) -> None:
        """Let everything happen that is due by `until`, in its order."""
        for _ in range(100_000):
            wake_at = self.driver.scheduler.next_wakeup()
            first = min(self.ends, key=lambda one: (self.ends[one][0], str(one)), default=None)
            first_at = None if first is None else self.ends[first][0]
            at = min((one for one in (wake_at, first_at) if one is not None), default=None)
            if at is None or at > until:
                break
            self.driver.now = max(self.driver.now, at - self.driver.step)
            if first is not None and first_at == at:
                _, event = self.ends.pop(first)
                self.post(event)
                if isinstance(event, CalibrationStarted):
                    self.end_calibration_later(event.qpu)
            else:
                self.post(WokenUp())
        else:
            raise AssertionError("the core wants to be woken for ever")
        self.driver.now = max(self.driver.now, until)

    def end_calibration_later(self, qpu: str) -> None:
        at = after(self.driver.now, CALIBRATION_S)
        epoch = f"{qpu}-{len(self.log)}"
        self.ends[qpu] = (at, CalibrationEnded(qpu, epoch=epoch, quality=0.9))

    # -- the site --------------------------------------------------------------------------

    @initialize(classes=site.classes(), data=st.data(), slow=st.booleans())
    def start(self, classes: tuple[JobClass, ...], data: st.DataObject, slow: bool) -> None:
        self.slow = slow
        self.classes = classes
        self.post(ClassesChanged(classes))
        for name in NAMES:
            self.register(data.draw(self.spec(name)))

    @staticmethod
    @st.composite
    def spec(draw: st.DrawFn, name: str) -> QpuSpec:
        spec = draw(site.qpu_specs(name))
        return replace(
            spec,
            state=QpuState.UP,
            shot_rate_hz=draw(st.sampled_from((None, RATE_HZ))),
            switch_s=draw(st.sampled_from((0.0, 2.0))),
            partial_results=draw(st.booleans()),
            max_linger_s=draw(st.sampled_from((0.0, 100.0))),
            max_run_s=draw(st.sampled_from((0.0, LONGEST_HOLD_S))),
            max_run_idle_s=draw(st.sampled_from((None, 50.0))),
            calibration=draw(site.calibration_plans()),
        )

    def register(self, spec: QpuSpec) -> None:
        self.specs[spec.name] = spec
        # A plan that appears (or a slower start of every task) may be news to what runs.
        self.told_late = self.told_late or bool(self.driver.out)
        self.post(QpuRegistered(spec))

    @rule(data=st.data(), name=st.sampled_from(NAMES))
    def change_qpu(self, data: st.DataObject, name: str) -> None:
        self.register(data.draw(self.spec(name)))

    @rule(data=st.data(), name=st.sampled_from(NAMES))
    def change_windows(self, data: st.DataObject, name: str) -> None:
        self.told_late = self.told_late or bool(self.driver.out)
        self.windows[name] = data.draw(site.windows(self.driver.now))
        self.post(WindowsChanged(name, self.windows[name]))

    @rule(name=st.sampled_from(NAMES), wait_s=st.sampled_from((None, -5.0, 90.0)))
    def calibration_is_due(self, name: str, wait_s: float | None) -> None:
        due_at = None if wait_s is None else after(self.driver.now, wait_s)
        self.told_late = self.told_late or bool(self.driver.out)
        self.post(CalibrationDue(name, "by hand", max(due_at, 0) if due_at else None))

    @rule(name=st.sampled_from(NAMES))
    def somebody_calibrates(self, name: str) -> None:
        if name not in self.ends:
            self.told_late = self.told_late or bool(self.driver.out)
            self.post(CalibrationStarted(name))
            self.end_calibration_later(name)

    @rule(name=st.sampled_from(NAMES), worked=st.booleans(), ago_s=st.sampled_from((0.0, 50.0)))
    def calibration_is_reported(self, name: str, worked: bool, ago_s: float) -> None:
        if name not in self.ends:
            self.told_late = self.told_late or bool(self.driver.out)
            ended_at = max(0, after(self.driver.now, -ago_s))
            self.post(CalibrationEnded(name, None, ended_at, quality=0.7, worked=worked))

    @rule(name=st.sampled_from(NAMES), value=st.sampled_from((0.4, 0.55, 0.9)))
    def quality_is_reported(self, name: str, value: float) -> None:
        self.post(CalibrationReported(name, QUALITY, value))

    @rule(
        name=st.sampled_from(NAMES),
        linger_s=st.sampled_from((0.0, 30.0, 500.0)),
        lasts_s=st.sampled_from((-1.0, 100.0, 4000.0)),
        contiguous=st.booleans(),
        session=st.sampled_from(SESSIONS),
    )
    def ask_for_a_hold(
        self, name: str, linger_s: float, lasts_s: float, contiguous: bool, session: str
    ) -> None:
        until_at = max(0, after(self.driver.now, lasts_s))
        self.post(WarmHoldAsked(session, name, "physics", "ada", linger_s, until_at, contiguous))

    @rule(name=st.sampled_from(NAMES))
    def drain(self, name: str) -> None:
        self.post(QpuDrained(name, "by hand"))

    @rule(name=st.sampled_from(NAMES))
    def resume(self, name: str) -> None:
        self.post(QpuResumed(name))

    # -- users and time ----------------------------------------------------------------------

    @precondition(lambda self: len(self.driver.tasks) < MAX_TASKS)
    @rule(data=st.data(), how_many=st.integers(1, 4))
    def submit(self, data: st.DataObject, how_many: int) -> None:
        for _ in range(how_many):
            task_id = len(self.driver.tasks) + 1
            spec = data.draw(site.task_specs(task_id, self.driver.now))
            timing = data.draw(site.timings(task_id, self.driver.now))
            qpus = tuple(name for name in spec.qpus if name in NAMES) or ("alpha",)
            session_id = data.draw(st.sampled_from((None, *SESSIONS)))
            live = self.driver.tasks
            if timing is not None:
                waits = tuple(d for d in timing.depends_on if self.waits_for(d.task_id))
                timing = replace(timing, depends_on=waits)
            assert task_id not in live
            self.post(TaskSubmitted(replace(spec, qpus=qpus, timing=timing, session_id=session_id)))

    def waits_for(self, task_id: int) -> bool:
        """Whoever admits a task drops the dependencies on tasks that have ended."""
        state = self.driver.tasks[task_id].state
        return state is not None and not state.final

    @precondition(lambda self: self.driver.tasks)
    @rule(data=st.data(), in_s=st.sampled_from((None, 20.0, 500.0, 4000.0)))
    def rebind(self, data: st.DataObject, in_s: float | None) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.driver.tasks)))
        ends_at = None if in_s is None else after(self.driver.now, in_s)
        session_id = data.draw(st.sampled_from(("s-1", "s-2")))
        self.post(TaskRebound(task_id, session_id, ends_at))

    @precondition(lambda self: self.driver.tasks)
    @rule(data=st.data(), what=st.sampled_from((TaskCancelAsked, TaskHoldAsked, TaskReleaseAsked)))
    def ask(self, data: st.DataObject, what: type[TaskHoldAsked]) -> None:
        self.post(what(data.draw(st.sampled_from(sorted(self.driver.tasks)))))

    @precondition(lambda self: self.driver.out)
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        self.post(TaskStopAsked(data.draw(st.sampled_from(sorted(self.driver.out))).task_id))

    @precondition(lambda self: self.driver.out)
    @rule(data=st.data(), more=st.sampled_from((0, 10)))
    def rule_is_met(self, data: st.DataObject, more: int) -> None:
        """Of a task that runs; a calibration may discard the shots that it was judged on."""
        task_id = data.draw(st.sampled_from(sorted(self.driver.out))).task_id
        book = self.driver.tasks[task_id]
        if book.spec.min_shots is not None:
            shots = max(book.spec.min_shots, book.counted) + more
            self.post(StoppingRuleMet(task_id, shots, "enough"))

    @precondition(lambda self: self.driver.out)
    @rule(data=st.data())
    def chunk_starts(self, data: st.DataObject) -> None:
        self.post(ChunkStarted(data.draw(st.sampled_from(sorted(self.driver.out)))))

    @rule(seconds=st.sampled_from((0.5, 10.0, 70.0, 400.0, 3000.0)))
    def time_passes(self, seconds: float) -> None:
        self.pass_time(after(self.driver.now, seconds))

    @rule()
    def look(self) -> None:
        """Views change nothing (the twin at the end doesn't look)."""
        for task_id in self.driver.live():
            self.driver.scheduler.waiting(task_id)

    # -- at the end --------------------------------------------------------------------------

    def teardown(self) -> None:
        if not self.healthy:
            return
        self.equal_events_give_equal_commands()
        self.no_task_is_stuck()

    def equal_events_give_equal_commands(self) -> None:
        twin = Scheduler()
        for event, now, commands in self.log:
            assert twin.handle(event, now) == commands

    def no_task_is_stuck(self) -> None:
        """On an open QPU whose calendar is empty, what isn't held ends, or says why it can't."""
        self.slow = False
        for name in NAMES:
            self.ends.pop(name, None)
            self.post(QpuResumed(name))
            self.post(WindowsChanged(name, ()))
            self.register(QpuSpec(name, shot_rate_hz=RATE_HZ))
            self.post(CalibrationEnded(name, "last", quality=1.0))
        for _ in range(40):
            self.pass_time(after(self.driver.now, 1000.0))
        for task_id in self.driver.live():
            state = self.driver.tasks[task_id].state
            why = self.driver.scheduler.waiting(task_id)
            assert why is not None
            assert state is TaskState.HELD or why.reason in WAITS_FOR_TIME, (task_id, why)
            timing = self.driver.tasks[task_id].spec.timing
            assert state is TaskState.HELD or timing is not None, (task_id, why)


TestCalendarLaws = CalendarMachine.TestCase
TestCalendarLaws.settings = settings(
    max_examples=60,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
