"""Showing progress: a live table on a terminal, plain lines elsewhere, nothing on request.

All look at the tracker from one thread of their own, so the run never waits for them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import datetime

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from qpu_executor.pipelines.qpu_watch import QpuWatch
from qpu_executor.pipelines.tracker import ENDED, StepState, StepView, Tracker

_TICK_S = 0.25
_LINE_EVERY_S = 2.0
"""A step that is under way gets a line at most this often."""
_QPUS_EVERY_S = 2.0

_STYLE = {
    StepState.WAITING: "dim",
    StepState.RUNNING: "cyan",
    StepState.DONE: "green",
    StepState.FAILED: "bold red",
    StepState.NOT_RUN: "yellow",
    StepState.CANCELLED: "yellow",
}


def amounts(step: StepView) -> tuple[str, str]:
    """`2 of 3` tasks and `120 of 900` shots, empty where there is nothing to say."""
    total = "?" if step.tasks is None else str(step.tasks)
    tasks = f"{step.done} of {total}" + (f" ({step.kept} kept)" if step.kept else "")
    if step.kind == "call" or not step.shots:
        return tasks, ""
    if step.kind == "hybrid":
        return tasks, str(step.shots_done)
    done = step.shots - step.shots_saved if step.state is StepState.DONE else step.shots_done
    return tasks, f"{done} of {step.shots}"


class Progress:
    """Ticks in a daemon thread from `start` to `stop`; this one shows nothing."""

    def __init__(self, tracker: Tracker, watch: QpuWatch) -> None:
        self.tracker = tracker
        self.watch = watch
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def start(self) -> None:
        """Begin to show."""
        self._thread.start()

    def stop(self) -> None:
        """Show the last state and end. May be called twice."""
        if not self._stop.is_set():
            self._stop.set()
            if self._thread.is_alive():
                self._thread.join(5)
            self.show(self.tracker.view())

    def show(self, steps: Sequence[StepView]) -> None:
        """Show the steps as they are now."""

    def _run(self) -> None:
        while not self._stop.wait(_TICK_S):
            self.watch.refresh()
            self.show(self.tracker.view())


class LineProgress(Progress):
    """One line per change of state, and now and then one for a step under way."""

    def __init__(self, tracker: Tracker, watch: QpuWatch, console: Console) -> None:
        super().__init__(tracker, watch)
        self._console = console
        self._said: dict[str, tuple[StepState, str, float]] = {}

    def show(self, steps: Sequence[StepView]) -> None:
        """Print what changed."""
        now = time.monotonic()
        for step in steps:
            tasks, shots = amounts(step)
            what = f"{tasks} tasks" + (f", {shots} shots" if shots else "")
            before = self._said.get(step.name)
            if before is None and step.state is StepState.WAITING:
                continue
            if before is not None and before[0] is step.state:
                quiet = step.state in ENDED or now - before[2] < _LINE_EVERY_S
                if quiet or before[1] == what:
                    continue
            self._said[step.name] = (step.state, what, now)
            clock = datetime.now().strftime("%H:%M:%S")
            because = f" (needs {step.needs_failed})" if step.needs_failed else ""
            self._console.print(
                f"{clock} {step.name}: {step.state.value}{because}, {what}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )


class LiveProgress(Progress):
    """A table that is drawn anew in place."""

    def __init__(self, tracker: Tracker, watch: QpuWatch, console: Console, title: str) -> None:
        super().__init__(tracker, watch)
        self._title = title
        self._live = Live(console=console, auto_refresh=False, redirect_stderr=False)
        self._qpus = ""
        self._qpus_at = 0.0

    def start(self) -> None:
        """Begin to draw."""
        self._live.start()
        super().start()

    def stop(self) -> None:
        """Draw the last state and leave it on the screen."""
        super().stop()
        self._live.stop()

    def show(self, steps: Sequence[StepView]) -> None:
        """Draw the table."""
        now = time.monotonic()
        if not self._stop.is_set() and now - self._qpus_at >= _QPUS_EVERY_S:
            self._qpus, self._qpus_at = self.watch.qpus(), now
        self._live.update(self._table(steps), refresh=True)

    def _table(self, steps: Sequence[StepView]) -> Group:
        table = Table(title=escape(self._title), title_justify="left", box=None, pad_edge=False)
        for column in ("step", "kind", "state"):
            table.add_column(column)
        for column in ("tasks", "shots"):
            table.add_column(column, justify="right")
        for step in steps:
            style = _STYLE[step.state]
            table.add_row(
                escape(step.name),
                "classical" if step.kind == "call" else step.kind,
                f"[{style}]{step.state.value}[/]",
                *amounts(step),
            )
        states = self.tracker.task_states()
        queue = ", ".join(f"{count} {state.lower()}" for state, count in sorted(states.items()))
        foot = " | ".join(
            part for part in (f"QPU: {self._qpus}" if self._qpus else "", queue) if part
        )
        return Group(table, Text(foot, style="dim"))
