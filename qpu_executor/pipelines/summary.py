"""What a run tells at its end: one JSON document, or a page for people."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from qpu_executor.errors import QpuExecutorError
from qpu_executor.pipelines.tracebacks import user_traceback
from qpu_executor.pipelines.tracker import StepState, StepView

_MAX_TEXT = 400


@dataclass(frozen=True)
class Summary:
    """A run that has ended. `state`: done, failed or interrupted; `report`: a file to look at."""

    state: str
    run: str
    directory: Path
    name: str
    engine: str
    seed: int
    answer: Any
    steps: Sequence[StepView]
    tasks: Sequence[Mapping[str, Any]]
    qpu: Mapping[str, float]
    report: str | None
    error: str | None
    manager_lost: bool = False

    def document(self) -> dict[str, Any]:
        """The run as plain data, for `--json`."""
        document: dict[str, Any] = {
            "state": self.state,
            "run": self.run,
            "directory": str(self.directory),
            "pipeline": self.name,
            "engine": self.engine,
            "seed": self.seed,
            "answer": self.answer,
            "steps": [_step_line(step) for step in self.steps],
            "tasks": list(self.tasks),
            "qpu": dict(self.qpu),
        }
        if self.report is not None:
            document["report"] = self.report
        if self.error is not None:
            document["error"] = self.error
        return document


def _step_line(step: StepView) -> dict[str, Any]:
    line: dict[str, Any] = {
        "name": step.name,
        "kind": step.kind,
        "state": step.state.value,
        "tasks": step.tasks,
        "done": step.done,
        "kept": step.kept,
    }
    if step.needs_failed:
        line["needs"] = step.needs_failed
    if step.errors:
        line["errors"] = [{"task": name, "error": error_text(error)} for name, error in step.errors]
    return line


def report_of(answer: Any, directory: Path) -> str | None:
    """The file that an answer names as its `report`, if it does (relative: to the run's)."""
    found = answer.get("report") if isinstance(answer, Mapping) else None
    if not isinstance(found, str):
        return None
    return str(directory / found) if (directory / found).is_file() else found


def root_cause(error: BaseException) -> BaseException:
    """The error behind an engine's "a dependency failed"."""
    seen: set[int] = set()
    while not isinstance(error, QpuExecutorError) and error.__cause__ is not None:
        if id(error) in seen:
            break
        seen.add(id(error))
        error = error.__cause__
    return error


def error_text(error: BaseException) -> str:
    """An error for people: ours with the user's traceback, anything else in one paragraph."""
    error = root_cause(error)
    if isinstance(error, QpuExecutorError):
        text = str(error)
        trace = getattr(error, "traceback_text", None)
        return text if not trace or trace.rstrip() in text else f"{text}\n{trace.rstrip()}"
    short = "".join(traceback.format_exception_only(error)).strip()
    trace = user_traceback(error).rstrip()
    return trace if 'File "' in trace and "site-packages" not in trace else short


def print_summary(console: Console, summary: Summary) -> None:
    """The run for people: answer, failures, how the QPU spent its time, where things are."""
    colour = {"done": "green", "failed": "red"}.get(summary.state, "yellow")
    console.print(
        f"\n[bold]{escape(summary.name)}[/] [{colour}]{summary.state}[/]", highlight=False
    )
    _print_answer(console, summary.answer)
    for step in summary.steps:
        _print_trouble(console, step)
    if summary.error:
        console.print(escape(summary.error), highlight=False)
    if summary.tasks:
        saved = sum(task["shots_saved"] for task in summary.tasks)
        asked = sum(task["shots"] for task in summary.tasks if task["state"] == "COMPLETED")
        qpus = sorted({task["qpu"] for task in summary.tasks if task["qpu"]})
        kept = " (emulated)" if all(task["emulated"] for task in summary.tasks) else ""
        console.print(
            f"QPU: {asked - saved} shots{f' ({saved} saved by early stops)' if saved else ''} "
            f"in {len(summary.tasks)} tasks "
            f"on {', '.join(qpus) or 'none'}{kept}; "
            f"worked {summary.qpu['worked_s']:.1f} s, "
            f"tasks waited {summary.qpu['waited_s']:.1f} s in all",
            highlight=False,
        )
    if summary.report:
        console.print(f"Report: {escape(summary.report)}", highlight=False, soft_wrap=True)
    console.print(f"Run:    {escape(str(summary.directory))}", highlight=False, soft_wrap=True)
    if summary.state != "done":
        command = f"qpu run --resume {summary.directory}"
        console.print(
            f"Go on with: {escape(command)}   (finished tasks aren't repeated)",
            highlight=False,
            soft_wrap=True,
        )


def _print_answer(console: Console, answer: Any) -> None:
    if answer is None:
        return
    if not isinstance(answer, Mapping):
        console.print(f"answer: {escape(_shown(answer))}", highlight=False)
        return
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in answer.items():
        if key != "report":
            table.add_row(escape(str(key).replace("_", " ")), escape(_shown(value)))
    console.print(table)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list) and all(isinstance(v, str | int | float) for v in value):
        text = ", ".join(_shown(v) for v in value)
    elif isinstance(value, Mapping):
        text = ", ".join(f"{key}: {_shown(v)}" for key, v in value.items())
    else:
        text = str(value)
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 3] + "..."


def _print_trouble(console: Console, step: StepView) -> None:
    if step.state is StepState.NOT_RUN:
        console.print(
            f"step [bold]{escape(step.name)}[/]: not run: needs {escape(step.needs_failed or '')}",
            highlight=False,
        )
    elif step.state is StepState.FAILED:
        console.print(f"step [bold]{escape(step.name)}[/] [red]failed[/]:", highlight=False)
        shown = step.errors[:3]
        for name, error in shown:
            text = error_text(error)
            named = text if name in text.partition("\n")[0] else f"{name}: {text}"
            console.print(escape(named), highlight=False, soft_wrap=True)
        if len(step.errors) > len(shown):
            console.print(f"(and {len(step.errors) - len(shown)} more of its tasks)")
