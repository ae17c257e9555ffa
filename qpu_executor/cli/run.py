"""`qpu run`: run a pipeline file."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any

import typer
from rich.console import Console

from qpu_executor.cli.connecting import JsonOption
from qpu_executor.errors import ConfigError
from qpu_executor.pipelines.progress import LineProgress, LiveProgress, Progress
from qpu_executor.pipelines.run_directory import RUN_FILE
from qpu_executor.pipelines.runner import (
    Prepared,
    Run,
    RunRequest,
    plan_lines,
    prepare,
)
from qpu_executor.pipelines.summary import Summary, print_summary

DONE, FAILED, UNREACHABLE, INTERRUPTED = 0, 1, 3, 130

_YAML = (".yaml", ".yml")

_WIDTH = 120
"""Columns where there is no terminal to ask."""


def run(
    file: Annotated[
        str | None, typer.Argument(help="The pipeline file (YAML).", show_default=False)
    ] = None,
    earlier: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            help="With --resume: the run's directory or name (FILE may be left out then).",
            show_default=False,
        ),
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="parsl or dask. Default: the profile's, else parsl.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="A profile by name or path. Default: $QPU_PROFILE.")
    ] = None,
    manager: Annotated[
        str | None,
        typer.Option(help="Manager's URL. Default: the profile's, $QPU_MANAGER, or embedded."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change an input; may be repeated."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the run. Default: the file's.", min=0, max=2**63 - 1)
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with an earlier run: RUN, else the newest one of the pipeline.",
        ),
    ] = False,
    directory: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("runs"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the file and print the plan.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="With --json: progress on standard error.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a pipeline file: classical, quantum and hybrid steps, on Parsl or Dask."""
    pipeline, run_name = _file_and_run(file, earlier, directory, resume=resume)
    request = RunRequest(
        file=pipeline,
        engine=engine,
        profile=profile,
        manager=manager,
        settings=tuple(settings or ()),
        seed=seed,
        resume=run_name,
        runs=directory,
    )
    with _json_only(as_json) as document, _terminated_like_interrupted():
        prepared = prepare(request)
        console = Console(stderr=as_json)
        if not console.is_terminal:
            console = Console(stderr=as_json, width=_WIDTH)
        if dry_run:
            _print_plan(prepared, document, console)
            return
        summary = _run(prepared, request, console, quiet=as_json and not verbose)
        if as_json:
            print(json.dumps(summary.document(), indent=2), file=document)
        else:
            print_summary(console, summary)
    code = _exit_code(summary)
    if code != DONE:
        sys.exit(code)


def _file_and_run(
    first: str | None, second: str | None, runs: Path, *, resume: bool
) -> tuple[Path | None, str | None]:
    """Which of the words is the file and which the run ('': the newest; None: a new run)."""
    words = [word for word in (first, second) if word is not None]
    if not resume:
        if second is not None:
            raise ConfigError(
                f"unexpected word '{second}'", next_step="to go on with a run: --resume RUN"
            )
        return (Path(words[0]) if words else None), None
    names = [w for w in words if any((p / RUN_FILE).is_file() for p in (Path(w), runs / w))]
    files = [word for word in words if word not in names]
    if len(names) > 1:
        raise ConfigError(f"'{names[0]}' and '{names[1]}' are both runs", expected="FILE and RUN")
    if len(files) > 1:
        # One of them must be meant as a run: the search says what there is.
        return Path(files[0]), files[1]
    file = Path(files[0]) if files else None
    if file is not None and not names and not file.is_file() and file.suffix not in _YAML:
        return None, str(file)
    return file, names[0] if names else ""


def _run(prepared: Prepared, request: RunRequest, console: Console, *, quiet: bool) -> Summary:
    with Run(prepared, request.runs) as attempt:
        if not quiet:
            _say_what_starts(attempt, console)

        def make_progress(tracker: Any, watch: Any, title: str) -> Progress:
            if quiet:
                return Progress(tracker, watch)
            if console.is_terminal:
                return LiveProgress(tracker, watch, console, title)
            return LineProgress(tracker, watch, console)

        return attempt.execute(make_progress)


def _say_what_starts(attempt: Run, console: Console) -> None:
    prepared = attempt.prepared
    verb = "going on with" if prepared.earlier else "run"
    line = f"{verb} {attempt.directory.record.run} (engine {prepared.engine})"
    console.print(line, highlight=False, markup=False, soft_wrap=True)
    if prepared.changed:
        steps = ", ".join(prepared.changed)
        line = f"changed since then, and run again with all that builds on it: {steps}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _print_plan(prepared: Prepared, document: IO[str] | None, console: Console) -> None:
    if document is None:
        for line in plan_lines(prepared):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        return
    plan = prepared.plan
    steps = [
        {
            "name": step.name,
            "kind": step.kind,
            "function": step.function,
            "tasks": step.task_count,
            "shots": step.shots,
            "needs": list(step.needs),
        }
        for step in plan.steps
    ]
    plain = {"pipeline": plan.name, "engine": prepared.engine, "seed": plan.seed, "steps": steps}
    print(json.dumps(plain, indent=2), file=document)


def _exit_code(summary: Summary) -> int:
    if summary.state == "interrupted":
        return INTERRUPTED
    if summary.state == "done":
        return DONE
    return UNREACHABLE if summary.manager_lost else FAILED


@contextmanager
def _json_only(wanted: bool) -> Iterator[IO[str] | None]:
    """Keep standard output for the one document: whatever anybody prints goes to stderr.

    Also what child processes print, hence the file descriptor and not `sys.stdout`.
    """
    if not wanted:
        yield None
        return
    sys.stdout.flush()
    try:
        kept = os.dup(1)
        os.dup2(2, 1)
    except OSError:
        yield sys.stdout
        return
    try:
        with os.fdopen(os.dup(kept), "w", encoding="utf-8") as document:
            yield document
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM (a batch system that ends the job) ends a run as Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
