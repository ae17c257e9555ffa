"""`qpu run` without its options: from a request to a run that has ended, with its summary.

prepare (read, check, plan) -> begin (directory, manager, session) -> run (engine) -> sum up.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qpu_executor.client import Client, connect
from qpu_executor.errors import ConfigError, ManagerUnreachable, OperatorError, QpuExecutorError
from qpu_executor.pipelines import run_directory
from qpu_executor.pipelines.document import Source, load
from qpu_executor.pipelines.engines.base import Engine, EngineSettings
from qpu_executor.pipelines.engines.choose import check_installed, make_engine
from qpu_executor.pipelines.execution import Execution
from qpu_executor.pipelines.inputs import parse_settings
from qpu_executor.pipelines.paths import remaining_s
from qpu_executor.pipelines.plain_values import plain
from qpu_executor.pipelines.plan import Plan, build_plan
from qpu_executor.pipelines.profiles import Profile, check_engine, load_profile
from qpu_executor.pipelines.progress import Progress
from qpu_executor.pipelines.qpu_watch import QpuWatch, qpu_times, task_lines, tasks_of
from qpu_executor.pipelines.run_directory import RunDirectory, RunRecord
from qpu_executor.pipelines.run_log import log_to
from qpu_executor.pipelines.run_session import open_run_session
from qpu_executor.pipelines.summary import Summary, report_of, root_cause
from qpu_executor.pipelines.tracker import StepState, StepView, Tracker
from qpu_executor.pipelines.work import RunFacts

logger = logging.getLogger(__name__)

EngineMaker = Callable[[str, EngineSettings], Engine]
MakeProgress = Callable[[Tracker, QpuWatch, str], Progress]


@dataclass(frozen=True)
class RunRequest:
    """What a user asked for. `resume`: None for a new run, '' for the newest of the pipeline."""

    file: Path | None
    engine: str | None = None
    profile: str | None = None
    manager: str | None = None
    settings: tuple[str, ...] = ()
    seed: int | None = None
    resume: str | None = None
    runs: Path = Path("runs")


@dataclass(frozen=True)
class Prepared:
    """A request that was checked. `earlier`: the directory of the run to go on with."""

    source: Source
    plan: Plan
    engine: str
    manager: str | None
    profile_name: str
    profile: Profile
    overrides: dict[str, Any]
    earlier: Path | None
    changed: tuple[str, ...]


def prepare(request: RunRequest) -> Prepared:
    """Read and check everything that can be checked before anything starts.

    Raises ConfigError with all problems of the file at once.
    """
    profile_name, profile = load_profile(request.profile)
    earlier, record = _earlier(request)
    file = request.file or (Path(record.pipeline) if record else None)
    if file is None:
        raise ConfigError(
            "no pipeline file is named", next_step="qpu run FILE, or qpu run --resume RUN"
        )
    source = load(file, str(file))
    if record is not None and record.name != source.document.name:
        raise ConfigError(
            f"the run {record.run} is of the pipeline '{record.name}', "
            f"{file} is '{source.document.name}'",
            next_step="start a new run without --resume",
        )
    engine = check_engine(request.engine or (record.engine if record else profile.engine))
    check_installed(engine)
    known = source.document.inputs
    overrides = {k: v for k, v in (record.inputs if record else {}).items() if k in known}
    overrides |= parse_settings(request.settings, known)
    seed = request.seed
    if seed is None:
        seed = record.seed if record else source.document.seed
    if seed is None:
        seed = secrets.randbits(31)
    plan = build_plan(source, {**known, **overrides}, seed, profile.tasks.options())
    return Prepared(
        source=source,
        plan=plan,
        engine=engine,
        manager=request.manager or profile.manager,
        profile_name=profile_name,
        profile=profile,
        overrides=overrides,
        earlier=earlier,
        changed=_changed(plan, record),
    )


def _earlier(request: RunRequest) -> tuple[Path | None, RunRecord | None]:
    if request.resume is None:
        return None, None
    pipeline = request.file.resolve() if request.file else None
    path = run_directory.find(request.runs, request.resume, pipeline)
    return path, run_directory.read(path)


def _changed(plan: Plan, record: RunRecord | None) -> tuple[str, ...]:
    if record is None:
        return ()
    before = record.fingerprints
    return tuple(s.name for s in plan.steps if before.get(s.name, s.fingerprint) != s.fingerprint)


class Run:
    """One attempt at a prepared run. Use with `with`; `execute` may be interrupted."""

    def __init__(
        self,
        prepared: Prepared,
        runs: Path,
        *,
        engine_maker: EngineMaker = make_engine,
        connect_to: Callable[..., Client] = connect,
    ) -> None:
        self.prepared = prepared
        self.tracker = Tracker(prepared.plan)
        self._runs = runs
        self._engine_maker = engine_maker
        self._connect = connect_to
        self._resources = contextlib.ExitStack()
        self._directory: RunDirectory | None = None
        self._client: Client | None = None
        self._session = ""

    @property
    def directory(self) -> RunDirectory:
        """The run's directory (once the run has been entered)."""
        assert self._directory is not None
        return self._directory

    def __enter__(self) -> Run:
        self._directory = self._open_directory()
        self._resources.callback(self._directory.close)
        self._resources.enter_context(log_to(self._directory.log_file))
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def execute(self, make_progress: MakeProgress) -> Summary:
        """Run the plan to its end. Raises what keeps it from starting (manager, engine).

        A KeyboardInterrupt cancels the run's quantum tasks and gives the summary of an
        interrupted run.
        """
        record = self.directory.record
        try:
            with self._resources:
                return self._execute(make_progress)
        except BaseException as error:
            record.state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            raise
        finally:
            record.ended_at = datetime.now(UTC)
            self.directory.save()

    def _execute(self, make_progress: MakeProgress) -> Summary:
        client = self._open_manager()
        plan = self.prepared.plan
        engine = self._engine_maker(self.prepared.engine, self._engine_settings(client))
        self._resources.callback(engine.close)
        watch = QpuWatch(client, self._session, self.tracker)
        progress = make_progress(self.tracker, watch, f"{plan.name} ({self.prepared.engine})")
        execution = Execution(plan, self._facts(client), engine, self.tracker)
        answer, error = None, None
        interrupted = lost = False
        try:
            _start(engine, self.prepared.engine)
            watch.start()
            progress.start()
            execution.submit()
            execution.wait()
        except KeyboardInterrupt:
            interrupted = True
            self._interrupt(client)
        except ManagerUnreachable as gone:
            lost, error = True, str(gone)
            self.tracker.interrupted()
        finally:
            progress.stop()
        if not interrupted and not lost:
            try:
                answer = plain(execution.answer())
            except QpuExecutorError as wrong:
                error = f"answer: {wrong}"
        execution.close()
        return self._sum_up(client, answer, error, lost=lost)

    def _interrupt(self, client: Client) -> None:
        self.tracker.interrupted()
        try:
            client.cancel_session(self._session)
        except QpuExecutorError as error:
            logger.warning("the run's quantum tasks weren't cancelled: %s", error)

    def _sum_up(self, client: Client, answer: Any, error: str | None, *, lost: bool) -> Summary:
        record = self.directory.record
        steps = self.tracker.view()
        if not lost and any(step.state is StepState.CANCELLED for step in steps):
            record.state = "interrupted"
        elif error or any(step.state is not StepState.DONE for step in steps):
            record.state = "failed"
        else:
            record.state = "done"
        # A lost manager was waited for already: it isn't asked again.
        tasks = [] if lost else tasks_of(client, record.sessions)
        if not lost:
            with contextlib.suppress(QpuExecutorError):
                client.close_session(self._session)
        return Summary(
            state=record.state,
            run=record.run,
            directory=self.directory.path,
            name=record.name,
            engine=record.engine,
            seed=record.seed,
            answer=answer,
            steps=steps,
            tasks=task_lines(tasks),
            qpu=qpu_times(client, tasks),
            report=report_of(answer, self.directory.path),
            error=error,
            manager_lost=lost or _lost_in(steps),
        )

    def _open_directory(self) -> RunDirectory:
        prepared = self.prepared
        now = datetime.now(UTC)
        if prepared.earlier is None:
            record = RunRecord(
                run="",
                name=prepared.plan.name,
                pipeline=str(prepared.source.path),
                seed=prepared.plan.seed,
                inputs={},
                engine="",
                profile="",
                manager=None,
                attempts=0,
                started_at=now,
            )
            directory = run_directory.create(
                self._runs, record, prepared.source.text, now=now, short_id=secrets.token_hex(3)
            )
        else:
            directory = run_directory.reopen(prepared.earlier)
        record = directory.record
        record.attempts += 1
        record.state = "running"
        record.started_at, record.ended_at = now, None
        record.seed = prepared.plan.seed
        record.inputs = prepared.overrides
        record.engine = prepared.engine
        record.profile = prepared.profile_name
        record.pipeline = str(prepared.source.path)
        record.fingerprints = {step.name: step.fingerprint for step in prepared.plan.steps}
        directory.save()
        return directory

    def _open_manager(self) -> Client:
        record = self.directory.record
        site = self.prepared.profile.site
        client = self._connect(
            self.prepared.manager,
            directory=self.directory.path / "manager",
            site=None if site is None else Path(site),
        )
        self._resources.callback(client.close)
        wishes = self.prepared.source.document.session
        key = f"{record.run}/{record.attempts}"
        self._session = open_run_session(client, record.name, key, wishes)
        record.manager = client.url
        record.sessions = [*record.sessions, self._session]
        self.directory.save()
        return client

    def _engine_settings(self, client: Client) -> EngineSettings:
        return EngineSettings(
            manager=client.url,
            session=self._session,
            workers=self.prepared.profile.classical.workers,
            directory=self.directory.path / "engine",
        )

    def _facts(self, client: Client) -> RunFacts:
        return RunFacts(
            run=self.directory.record.run,
            seed=self.prepared.plan.seed,
            folder=str(self.prepared.plan.folder),
            directory=str(self.directory.path),
            manager=client.url,
            session=self._session,
            paths_s=remaining_s(
                self.prepared.plan.steps, {qpu.name: qpu.shot_rate_hz for qpu in client.qpus()}
            ),
        )


def _start(engine: Engine, name: str) -> None:
    try:
        engine.start()
    except QpuExecutorError:
        raise
    except Exception as error:
        raise OperatorError(
            f"the engine '{name}' didn't start: {type(error).__name__}: {error}"
        ) from error


def _lost_in(steps: Sequence[StepView]) -> bool:
    """Whether a step failed because the manager couldn't be reached."""
    errors = [root_cause(error) for step in steps for _, error in step.errors]
    return any(isinstance(error, ManagerUnreachable) for error in errors)


def plan_lines(prepared: Prepared) -> Iterator[str]:
    """The plan for people, one step a line."""
    plan = prepared.plan
    yield f"{plan.name}: {len(plan.steps)} steps, engine {prepared.engine}, seed {plan.seed}"
    for name, value in plan.inputs.items():
        yield f"  input {name} = {value!r}"
    for step in plan.steps:
        count = "?" if step.task_count is None else str(step.task_count)
        kind = "classical" if step.kind == "call" else step.kind
        shots = f", {step.shots} shots" if step.shots else ""
        after = f", after {', '.join(step.needs)}" if step.needs else ""
        yield f"  {step.name}: {kind} {step.function}, {count} task(s){shots}{after}"
