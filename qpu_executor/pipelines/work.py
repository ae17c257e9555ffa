"""One task of a step on its way to an engine, and what runs on the worker.

The bodies here are module-level functions, so both engines can send them anywhere.
They take the order and the results of the steps before it (in the order of `shape`),
fill in the arguments, and call the user's function. What a user's function raises
leaves as one of our errors with the user's traceback as text, so it always unpickles.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qpu_executor.errors import BuilderError, QpuExecutorError, StepFailed
from qpu_executor.pipelines.functions import resolve
from qpu_executor.pipelines.packing import Packed, keep, pack, unpack
from qpu_executor.pipelines.plan import SESSION_ARGUMENT, StepPlan, derive_seed
from qpu_executor.pipelines.references import Lookup, Reference, fill, walk
from qpu_executor.pipelines.session import QpuSession
from qpu_executor.pipelines.tracebacks import user_traceback

Shape = tuple[tuple[str, int | None], ...]
"""The steps whose results follow as arguments: name, and how many (None: one value)."""


@dataclass(frozen=True)
class RunFacts:
    """What every task of a run knows. `manager`: its URL; `session`: id of the run's session.

    `paths_s`: seconds of work from a step to the end of the run, where that is known.
    """

    run: str
    seed: int
    folder: str
    directory: str
    manager: str
    session: str | None
    paths_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """One task of a step: `index` of its fan-out (0 without), `item` the value of `${each}`."""

    run: RunFacts
    step: StepPlan
    index: int
    item: Any
    shape: Shape

    @property
    def name(self) -> str:
        """`sweep[2]`, or the step's name where there is no fan-out."""
        return f"{self.step.name}[{self.index}]" if self.step.fans_out else self.step.name

    @property
    def seed(self) -> int:
        """The seed of this task's shots."""
        return derive_seed(self.run.seed, self.step.name, self.index)

    @property
    def path_s(self) -> float | None:
        """Seconds of work from here to the end of the run, as far as anybody knows."""
        return self.run.paths_s.get(self.step.name)

    @property
    def options(self) -> dict[str, Any]:
        """What its task asks for, where it is a quantum task: fields of a TaskOrder."""
        return {
            "shots": self.step.shots,
            "stop_when": self.step.stop_when,
            "job_class": self.step.job_class,
            "qpu": self.step.qpu,
            "priority": self.step.priority,
            "seed": self.seed,
            "name": self.name,
            "key": self.key,
            "path_s": self.path_s,
            **self.step.wishes,
        }

    @property
    def fingerprint(self) -> str:
        """Changes when the result of this task can't be taken over any more."""
        return self.step.item_fingerprint(self.item)

    @property
    def key(self) -> str:
        """Names this task for as long as its run exists, whoever submits it."""
        return f"{self.run.run}/{self.step.name}/{self.index}/{self.fingerprint[:16]}"

    @property
    def result_file(self) -> Path:
        """Where the result is kept for a resumed run."""
        return Path(self.run.directory, "results", self.step.name, f"{self.index}.pickle")


@dataclass(frozen=True)
class FanOut:
    """A step whose values only a result will tell."""

    run: RunFacts
    step: StepPlan
    shape: Shape

    def works(self, results: Sequence[Any]) -> list[Work]:
        """One order per value, now that the results it depends on are there."""
        lookup = make_lookup(self.run, self.shape, results, None)
        values = fill(self.step.for_each, lookup)
        if isinstance(values, tuple | set | frozenset | range):
            values = sorted(values) if isinstance(values, set | frozenset) else list(values)
        if not isinstance(values, list):
            raise StepFailed(
                f"for_each got a {type(values).__name__}",
                where=f"step {self.step.name}",
                expected="a list of values",
            )
        return [
            Work(self.run, self.step, index, value, self.shape)
            for index, value in enumerate(values)
        ]


def call_function(work: Work, *results: Any) -> Packed:
    """Run a classical task on a worker; its result, packed and kept."""
    return _finish(work, _call(work, results, StepFailed))


def call_hybrid(work: Work, *results: Any) -> Packed:
    """Run a hybrid task on a worker: the function gets a QPU session of this task."""
    with QpuSession(
        manager=work.run.manager,
        session=work.run.session,
        name=work.name,
        key=work.key,
        seed=lambda call: derive_seed(work.run.seed, work.step.name, work.index, call),
        shots=work.step.shots,
        job_class=work.step.job_class,
        qpu=work.step.qpu,
        priority=work.step.priority,
        wishes={**work.step.wishes, "path_s": work.path_s},
    ) as session:
        value = _call(work, results, StepFailed, {SESSION_ARGUMENT: session})
    return _finish(work, value)


def build_programs(work: Work, *results: Any) -> Any:
    """Run the builder of a quantum task: what it returns is the program (or a list of them)."""
    return _call(work, results, BuilderError)


def _finish(work: Work, value: Any) -> Packed:
    packed = pack(value, f"step {work.name}")
    keep(work.result_file, packed, work.key)
    return packed


def _call(
    work: Work,
    results: Sequence[Any],
    failure: type[StepFailed] | type[BuilderError],
    added: dict[str, Any] | None = None,
) -> Any:
    function = resolve(Path(work.run.folder), work.step.function)
    lookup = make_lookup(work.run, work.shape, results, work)
    arguments = fill(dict(work.step.arguments), lookup)
    try:
        with _captured(work):
            return function(**arguments, **(added or {}))
    except QpuExecutorError:
        raise
    except (Exception, SystemExit) as error:  # who calls sys.exit() ends the step, not its worker
        raise failure(
            f"{work.step.function} raised {type(error).__name__}: {error}",
            where=f"step {work.name}",
            traceback_text=user_traceback(error),
        ) from None


@contextlib.contextmanager
def _captured(work: Work) -> Iterator[None]:
    """Keep what a classical function prints in the run's directory.

    Builders and hybrid functions may share a process with others, and print where it prints.
    """
    if work.step.kind != "call":
        yield
        return
    path = Path(work.run.directory, "output", f"{work.step.name}.txt")
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        path.open("a", encoding="utf-8", buffering=1) as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        yield


def make_lookup(run: RunFacts, shape: Shape, results: Sequence[Any], work: Work | None) -> Lookup:
    """Gives the values of references from results in the order of `shape`."""
    values = results_by_step(shape, results)
    opened: dict[str, Any] = {}

    def lookup(reference: Reference) -> Any:
        root = reference.root
        if root == "run":
            return run.directory if reference.parts == ("directory",) else run.seed
        if root == "each" and work is not None:
            return walk(work.item, reference)
        if root not in opened:
            opened[root] = unpack(values[root])
        return walk(opened[root], reference)

    return lookup


def results_by_step(shape: Shape, results: Sequence[Any]) -> dict[str, Any]:
    """Results that follow each other in the order of `shape`, by step (still packed)."""
    left = iter(results)
    return {
        name: next(left) if count is None else list(itertools.islice(left, count))
        for name, count in shape
    }
