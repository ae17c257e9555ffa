"""Who goes before a task: order, numbers and words, from one look at the core."""

from __future__ import annotations

from qpu_executor.model.events import ChunkStarted, ClassesChanged, QpuRegistered, TaskSubmitted
from qpu_executor.model.values import ChunkId, JobClass, QpuSpec, TaskSpec
from qpu_executor.scheduling import lineup as module
from qpu_executor.scheduling.ordering import Ordering
from qpu_executor.scheduling.policies.banded import Banded
from qpu_executor.scheduling.scheduler import Scheduler


def core(ordering: Ordering | None = None, rate_hz: float | None = 10.0) -> Scheduler:
    """One QPU of 10 shots a second, on which a long task of class b has begun."""
    made = Scheduler(ordering=ordering)
    made.handle(ClassesChanged((JobClass("a", 2), JobClass("b", 1, chunk_s=5.0))), 1)
    made.handle(QpuRegistered(QpuSpec("q", shot_rate_hz=rate_hz)), 1)
    submit(made, 1, "b", 1000)
    made.handle(ChunkStarted(ChunkId(1, 0)), 11)
    return made


def submit(scheduler: Scheduler, id_: int, job_class: str, shots: int, priority: int = 0) -> None:
    at = 10 + id_
    spec = TaskSpec(id_, "ann", "lab", job_class, shots, ("q",), at, priority=priority)
    scheduler.handle(TaskSubmitted(spec), at)


def test_next_in_line_waits_for_the_end_of_a_chunk_that_gives_way() -> None:
    scheduler = core()
    submit(scheduler, 2, "a", 20)
    line = scheduler.lineup(2)
    assert line is not None
    assert (line.total, line.waiting, line.ahead_s, line.own_s) == (1, 0, 5.0, 2.0)
    assert line.ahead[0].why_first == "it runs, until the end of its chunk"


def test_those_ahead_come_in_the_order_in_which_they_go() -> None:
    scheduler = core()
    for id_, job_class, priority in ((2, "b", 0), (3, "b", 5), (4, "a", 0), (5, "b", 0)):
        submit(scheduler, id_, job_class, 10, priority)
    line = scheduler.lineup(5)
    assert line is not None
    assert [(one.task_id, one.running) for one in line.ahead] == [
        (1, True),
        (4, False),
        (3, False),
        (2, False),
    ]
    assert [one.why_first for one in line.ahead] == [
        "it runs; it has waited longer",
        "class 'a' goes before class 'b'",
        "its priority within the class is higher",
        "it has waited longer",
    ]
    assert line.ahead_s == 103.0


def test_shorter_work_goes_first_and_is_said_so() -> None:
    scheduler = core(Banded())
    submit(scheduler, 2, "b", 50)
    submit(scheduler, 3, "b", 10)
    line = scheduler.lineup(2)
    assert line is not None
    assert [one.why_first for one in line.ahead if not one.running] == ["it needs less QPU time"]


def test_a_long_line_is_named_from_its_head_and_counted_whole(monkeypatch) -> None:
    monkeypatch.setattr(module, "LOOKED_AT", 4)
    scheduler = core()
    for id_ in range(2, 40):
        submit(scheduler, id_, "b", 10)
    line = scheduler.lineup(39, limit=5)
    assert line is not None
    assert [one.task_id for one in line.ahead] == [1, 2, 3, 4, 5]
    assert (line.total, line.waiting) == (38, 37)
    assert line.ahead_s == 100.0 + 37.0


def test_without_a_rate_nobody_knows_how_long_it_takes() -> None:
    scheduler = core(rate_hz=None)
    submit(scheduler, 2, "b", 10)
    line = scheduler.lineup(2)
    assert line is not None
    assert (line.total, line.ahead_s, line.own_s) == (1, None, None)


def test_what_runs_or_is_unknown_has_no_place() -> None:
    scheduler = core()
    assert scheduler.lineup(1) is None
    assert scheduler.lineup(99) is None
