"""Runs on an engine of the test: what is kept, what a resumed run repeats, what failures hide."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.errors import ConfigError, ManagerUnreachable, TaskFailed
from qpu_executor.model.states import TaskState
from qpu_executor.pipelines.engines.base import EngineSettings, Handle, OnDone, OnWork
from qpu_executor.pipelines.packing import find_kept
from qpu_executor.pipelines.progress import Progress, amounts
from qpu_executor.pipelines.runner import Run, RunRequest, prepare
from qpu_executor.pipelines.summary import Summary
from qpu_executor.pipelines.tracker import StepState, Tracker
from qpu_executor.pipelines.work import FanOut, Work, build_programs, call_function
from qpu_executor.wire.site import EventOut
from qpu_executor.wire.tasks import TaskOut

CODE = """\
import pathlib

def note(log, line):
    with open(log, "a") as file:
        file.write(line + "\\n")

def numbers(n, log):
    note(log, "numbers")
    return list(range(n))

def sweep(value):
    if value == "bad":
        raise ValueError("no such value")
    return value

def double(x, log):
    note(log, f"double {x}")
    return 2 * x

def total(values, log):
    note(log, "total")
    if pathlib.Path(log).with_name("broken").exists():
        raise ZeroDivisionError("broken on purpose")
    return {"sum": sum(values), "report": "page.html"}
"""

FILE = """\
name: demo
seed: 3
inputs: {n: 3, last: 30, log: LOG}
steps:
  numbers: {call: run_steps.numbers, with: {n: ${inputs.n}, log: ${inputs.log}}}
  double: {call: run_steps.double, with: {x: ${each}, log: ${inputs.log}}, for_each: ${numbers}}
  sweep:
    quantum: run_steps.sweep
    with: {value: ${each}}
    for_each: [10, 20, "${inputs.last}"]
    shots: 5
  total: {call: run_steps.total, with: {values: ${double}, log: ${inputs.log}}, needs: [sweep]}
answer: ${total}
"""


class FakeManager:
    """Counts quantum tasks by key, as a manager does; stands in for its client."""

    url = "http://127.0.0.1:1"

    def __init__(self) -> None:
        self.submitted: list[str] = []
        self.done: dict[str, Any] = {}
        self.cancelled: list[str] = []
        self.broken = False

    def measure(self, work: Work, program: Any) -> Any:
        if work.key not in self.done:
            self.submitted.append(work.name)
            if self.broken:
                raise TaskFailed("the laser is off", where="task 7")
            self.done[work.key] = {"program": program, "seed": work.seed}
        return self.done[work.key]

    def qpus(self) -> list[Any]:
        return []

    def open_session(self, name: str, key: str, terms: Any) -> Any:
        class Session:
            id = key

        return Session()

    def close_session(self, session: str) -> None: ...

    def cancel_session(self, session: str) -> None:
        self.cancelled.append(session)

    def tasks(self, **_: Any) -> list[Any]:
        return []

    def results(self, ids: Sequence[int]) -> dict[int, Any]:
        return {}

    def events(self, **_: Any) -> list[Any]:
        return []

    def close(self) -> None: ...


class FakeEngine:
    """Runs each task at once, in this process (the graph comes in topological order)."""

    def __init__(self, manager: FakeManager, interrupt_at: str = "") -> None:
        self._manager = manager
        self._interrupt_at = interrupt_at
        self.closed = False

    def start(self) -> None: ...

    def submit(self, work: Work, dependencies: Sequence[Handle]) -> Handle:
        if work.name == self._interrupt_at:
            raise KeyboardInterrupt
        return self._future(lambda results: self._run(work, results), dependencies)

    def expand(self, fan_out: FanOut, dependencies: Sequence[Handle], on_work: OnWork) -> Handle:
        def fan(results: list[Any]) -> list[Any]:
            values = []
            for work in fan_out.works(results):
                handle = find_kept(work.result_file, work.key) or self.submit(work, dependencies)
                on_work(work, handle)
                values.append(self.value(handle))
            return values

        return self._future(fan, dependencies)

    def watch(self, handle: Handle, on_done: OnDone) -> None:
        handle.add_done_callback(lambda future: on_done(future, future.exception()))

    def value(self, handle: Handle) -> Any:
        return handle.result() if isinstance(handle, Future) else handle

    def close(self) -> None:
        self.closed = True

    def _run(self, work: Work, results: list[Any]) -> Any:
        if work.step.kind == "quantum":
            return self._manager.measure(work, build_programs(work, *results))
        return call_function(work, *results)

    def _future(self, body: Callable[[list[Any]], Any], dependencies: Sequence[Handle]) -> Handle:
        future: Future[Any] = Future()
        try:
            future.set_result(body([self.value(handle) for handle in dependencies]))
        except Exception as error:
            future.set_exception(error)
        return future


class Site:
    """A folder with the pipeline, and a manager that outlives attempts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log.txt"
        self.manager = FakeManager()
        self.edit(lambda text: text)
        (folder / "run_steps.py").write_text(CODE)

    def edit(self, change: Callable[[str], str]) -> None:
        (self.folder / "demo.yaml").write_text(change(FILE.replace("LOG", str(self.log))))

    def run(self, *, interrupt_at: str = "", **request: Any) -> Summary:
        """One attempt; `self.ran` are the classical calls that it made."""
        self.log.write_text("")
        self.manager.submitted = []
        engine = FakeEngine(self.manager, interrupt_at)
        asked = RunRequest(file=self.folder / "demo.yaml", runs=self.folder / "runs", **request)

        def make_engine(name: str, settings: EngineSettings) -> FakeEngine:
            return engine

        def connect(*_: Any, **__: Any) -> Any:
            return self.manager

        attempt = Run(prepare(asked), asked.runs, engine_maker=make_engine, connect_to=connect)
        with attempt:
            summary = attempt.execute(lambda tracker, watch, title: Progress(tracker, watch))
        assert engine.closed
        self.ran = self.log.read_text().split("\n")[:-1]
        return summary


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "run_steps", raising=False)
    return Site(tmp_path)


ALL_CLASSICAL = ["numbers", "double 0", "double 1", "double 2", "total"]


def test_run_ends_with_its_answer_and_a_record(site: Site) -> None:
    summary = site.run()
    assert summary.state == "done"
    assert summary.answer == {"sum": 6, "report": "page.html"}
    assert summary.report == "page.html"
    assert sorted(site.ran) == sorted(ALL_CLASSICAL)
    assert site.manager.submitted == ["sweep[0]", "sweep[1]", "sweep[2]"]
    document = summary.document()
    assert [step["state"] for step in document["steps"]] == ["done"] * 4
    assert [step["tasks"] for step in document["steps"]] == [1, 3, 3, 1]
    assert '"state": "done"' in (summary.directory / "run.json").read_text()


def test_step_that_raises_fails_the_run_with_the_users_traceback(site: Site) -> None:
    (site.folder / "broken").write_text("")
    summary = site.run()
    assert (summary.state, summary.answer) == ("failed", None)
    (failed,) = [step for step in summary.steps if step.state is StepState.FAILED]
    text = str(failed.errors[0][1].traceback_text)  # type: ignore[attr-defined]
    assert "ZeroDivisionError: broken on purpose" in text
    assert "run_steps.py" in text
    assert "qpu_executor/" not in text


def test_step_that_calls_exit_has_failed_and_ends_no_worker(site: Site) -> None:
    code = CODE.replace('raise ZeroDivisionError("broken on purpose")', "raise SystemExit(0)")
    (site.folder / "run_steps.py").write_text(code)
    (site.folder / "broken").write_text("")
    summary = site.run()
    assert summary.state == "failed"
    (failed,) = [step for step in summary.steps if step.state is StepState.FAILED]
    assert "run_steps.total raised SystemExit: 0" in str(failed.errors[0][1])


def test_resumed_run_repeats_only_what_failed(site: Site) -> None:
    (site.folder / "broken").write_text("")
    first = site.run()
    (site.folder / "broken").unlink()
    second = site.run(resume="")
    assert (second.state, second.run) == ("done", first.run)
    assert second.answer == {"sum": 6, "report": "page.html"}
    assert site.ran == ["total"]
    assert site.manager.submitted == []
    assert {step.name: step.kept for step in second.steps} == {
        "numbers": 1, "double": 3, "sweep": 3, "total": 0,
    }  # fmt: skip


def test_lost_result_file_of_a_quantum_task_is_adopted_from_the_manager(site: Site) -> None:
    first = site.run()
    (first.directory / "results" / "sweep" / "1.pickle").unlink()
    assert site.run(resume=first.run).state == "done"
    assert site.manager.submitted == []


def test_damaged_result_of_a_classical_task_is_computed_again(site: Site) -> None:
    first = site.run()
    (first.directory / "results" / "double" / "1.pickle").write_bytes(b"half")
    assert site.run(resume="").state == "done"
    assert site.ran == ["double 1"]


def test_changed_input_repeats_what_it_touches(site: Site) -> None:
    site.run()
    summary = site.run(resume="", settings=("last=31",))
    assert summary.state == "done"
    assert site.manager.submitted == ["sweep[2]"]
    assert site.ran == []
    kept_inputs = site.run(resume="")
    assert kept_inputs.state == "done"
    assert site.manager.submitted == []


def test_changed_step_is_named_and_repeated(site: Site) -> None:
    site.run()
    site.edit(lambda text: text.replace("shots: 5", "shots: 6"))
    request = RunRequest(file=site.folder / "demo.yaml", runs=site.folder / "runs", resume="")
    assert prepare(request).changed == ("sweep",)
    assert site.run(resume="").state == "done"
    assert site.manager.submitted == ["sweep[0]", "sweep[1]", "sweep[2]"]


def test_failed_quantum_task_leaves_the_others_and_marks_what_was_not_run(site: Site) -> None:
    site.manager.broken = True
    site.edit(lambda text: text + "description: the laser is off\n")
    summary = site.run()
    states = {step.name: step.state for step in summary.steps}
    assert states == {
        "numbers": StepState.DONE,
        "double": StepState.DONE,
        "sweep": StepState.FAILED,
        "total": StepState.NOT_RUN,
    }
    (total,) = [step for step in summary.document()["steps"] if step["name"] == "total"]
    assert total["needs"] == "sweep"
    site.manager.broken = False
    assert site.run(resume="").state == "done"
    assert site.ran == ["total"]


def test_builder_that_raises_names_its_task(site: Site) -> None:
    site.edit(lambda text: text.replace('"${inputs.last}"', "bad"))
    summary = site.run()
    (failed,) = [step for step in summary.steps if step.state is StepState.FAILED]
    name, error = failed.errors[0]
    assert name == "sweep[2]"
    assert "step sweep[2]: run_steps.sweep raised ValueError: no such value" in str(error)
    assert failed.done == 2


def test_interrupted_run_cancels_its_session_and_can_go_on(site: Site) -> None:
    first = site.run(interrupt_at="sweep[1]")
    assert first.state == "interrupted"
    assert site.manager.cancelled == [f"{first.run}/1"]
    assert {step.state for step in first.steps} <= {StepState.DONE, StepState.CANCELLED}
    second = site.run(resume="")
    assert second.state == "done"
    assert site.manager.submitted == ["sweep[1]", "sweep[2]"]


def test_same_seed_gives_the_same_seeds_of_tasks_and_another_one_others(site: Site) -> None:
    def seeds(**request: Any) -> list[int]:
        site.manager.done = {}
        site.run(**request)
        return [result["seed"] for result in site.manager.done.values()]

    assert seeds() == seeds() != seeds(seed=4)


def test_run_of_another_pipeline_is_not_resumed(site: Site) -> None:
    first = site.run()
    site.edit(lambda text: text.replace("name: demo", "name: other"))
    with pytest.raises(ConfigError, match="is of the pipeline 'demo'"):
        site.run(resume=first.run)


def test_answer_that_asks_for_something_missing_fails_the_run(site: Site) -> None:
    site.edit(lambda text: text.replace("answer: ${total}", "answer: ${total.size}"))
    summary = site.run()
    assert summary.state == "failed"
    assert "has no 'size'" in str(summary.error)


def queued(task_id: int, name: str, shots: int) -> TaskOut:
    """A task that waits, as its manager shows it."""
    return TaskOut(
        id=task_id,
        name=name,
        state=TaskState.QUEUED,
        job_class="development",
        priority=0,
        shots=shots,
        shots_done=0,
        qpu=None,
        owner="ada",
        account="ada",
        session=None,
        key=None,
        program_hash="0" * 64,
        seed=1,
        submitted_at=datetime(2026, 11, 22, tzinfo=UTC),
        started_at=None,
        ended_at=None,
    )


def test_step_whose_task_was_stopped_early_is_done_with_fewer_shots(site: Site) -> None:
    site.edit(lambda text: text.replace("shots: 5", "shots: 50"))
    request = RunRequest(file=site.folder / "demo.yaml", runs=site.folder / "runs")
    tracker = Tracker(prepare(request).plan)
    for number, shots in ((7, 20), (8, 50), (9, None)):
        tracker.learn([queued(number, f"sweep[{number - 7}]", 50)])
        ended = EventOut(type="task", task=number, state=TaskState.COMPLETED, shots_done=shots)
        tracker.event(ended)
        tracker.task_done("sweep")
    for step in ("numbers", "total"):
        tracker.task_done(step)
    tracker.fan_out_ended("double", 3, None)
    view = next(one for one in tracker.view() if one.name == "sweep")
    assert (view.shots_saved, view.shots_done) == (30, 120)
    assert amounts(view)[1] == f"{view.shots - 30} of {view.shots}"


def test_lost_manager_ends_the_wait_of_steps_that_need_a_qpu_only(site: Site) -> None:
    request = RunRequest(file=site.folder / "demo.yaml", runs=site.folder / "runs")
    tracker = Tracker(prepare(request).plan)
    for step, tasks in (("numbers", 1), ("sweep", 2)):
        for _ in range(tasks):
            tracker.task_done(step)
    tracker.manager_lost(ManagerUnreachable("gone"))
    with pytest.raises(ManagerUnreachable, match="gone"):
        tracker.wait()
    tracker.task_done("sweep")
    tracker.fan_out_ended("double", 3, None)
    tracker.task_done("total")
    tracker.wait()
    assert {view.state for view in tracker.view()} == {StepState.DONE}
