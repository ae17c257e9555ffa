"""The protocol of an engine: it takes tasks with dependencies and runs them.

An engine owns the order of execution, the futures and the retries. The pipeline hands
it the whole graph at once: a dependency is the handle of another task. Handles are
opaque here; a kept result of an earlier attempt may stand in for one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from qpu_executor.pipelines.work import FanOut, Work

Handle = Any
"""A future of the engine, or a finished value."""

OnDone = Callable[[Handle, BaseException | None], None]
"""Called once, from any thread: the handle, and its error or None."""

OnWork = Callable[[Work, Handle], None]
"""Called for each task of a fan-out that becomes known while the run goes on."""


@dataclass(frozen=True)
class EngineSettings:
    """`manager`: URL; `session`: id; `workers`: processes for classical tasks;
    `directory`: for the engine's own files."""

    manager: str
    session: str | None
    workers: int
    directory: Path


class Engine(Protocol):
    """Parsl or Dask. Use: start, submit and expand in topological order, watch, close."""

    def start(self) -> None:
        """Start workers. Raises ConfigError where the engine isn't installed."""

    def submit(self, work: Work, dependencies: Sequence[Handle]) -> Handle:
        """Run one task when its dependencies are there."""

    def expand(self, fan_out: FanOut, dependencies: Sequence[Handle], on_work: OnWork) -> Handle:
        """Run a step whose values a dependency tells; the handle's value is a list."""

    def watch(self, handle: Handle, on_done: OnDone) -> None:
        """Call `on_done` when the task has ended, at once if it has already."""

    def value(self, handle: Handle) -> Any:
        """The value of a task that has ended well."""

    def close(self) -> None:
        """Stop workers and drop what hasn't run. May be called twice."""
