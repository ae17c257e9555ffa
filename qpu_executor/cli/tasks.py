"""Verbs about tasks: submit, queue, show, result, cancel, hold, release."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from qpu_executor.cli.connecting import JsonOption, ManagerOption, connected, managers_now, say
from qpu_executor.cli.explain_text import estimate_text
from qpu_executor.cli.program_file import read_program
from qpu_executor.cli.queue_text import queue_text
from qpu_executor.cli.requirements import DeviceOption, RequireOption, requirements
from qpu_executor.cli.tables import clock, table
from qpu_executor.cli.task_text import detail_text, early_stop_text
from qpu_executor.cli.wishes import (
    BeginOption,
    DeadlineOption,
    DependsOption,
    MaxAgeOption,
    OnRecalibrationOption,
    PathTimeOption,
    QualityOption,
    ShotTimeOption,
    StopOption,
    TimeLimitOption,
    wishes,
)
from qpu_executor.client import Client, Result, Task, TaskOrder
from qpu_executor.client.problems import error_from
from qpu_executor.errors import ConfigError
from qpu_executor.model.states import TaskState
from qpu_executor.programs.pulser_sequence import to_program

Id = Annotated[int, typer.Argument(help="The task's number.", min=1)]
Ids = Annotated[list[int], typer.Argument(help="Numbers of tasks.")]


def submit(
    program: Annotated[
        Path, typer.Argument(help="A Pulser sequence in abstract representation (JSON).")
    ],
    shots: Annotated[int, typer.Option("--shots", "-n", help="How many shots.", min=1)],
    job_class: Annotated[
        str | None, typer.Option("--class", "-c", help="Job class (`qpu info --classes`).")
    ] = None,
    qpu: Annotated[str | None, typer.Option(help="A QPU by name (`qpu info`).")] = None,
    priority: Annotated[int, typer.Option(help="Within the class; higher goes first.")] = 0,
    seed: Annotated[int | None, typer.Option(help="Seed of the shots (emulators).", min=0)] = None,
    name: Annotated[str, typer.Option(help="A name for people.")] = "",
    key: Annotated[
        str | None, typer.Option(help="Idempotency key: the same key names the same task.")
    ] = None,
    held: Annotated[bool, typer.Option(help="Submit it held.")] = False,
    session: Annotated[
        str | None, typer.Option(help="The session that it belongs to (`qpu session open`).")
    ] = None,
    begin: BeginOption = None,
    time_limit: TimeLimitOption = None,
    depends_on: DependsOption = None,
    deadline: DeadlineOption = None,
    on_recalibration: OnRecalibrationOption = None,
    max_calibration_age: MaxAgeOption = None,
    min_quality: QualityOption = None,
    stop_when: StopOption = None,
    device: DeviceOption = None,
    require: RequireOption = None,
    account: Annotated[str | None, typer.Option(help="Whom it is charged to.")] = None,
    shot_time: ShotTimeOption = None,
    path_time: PathTimeOption = None,
    test_only: Annotated[
        bool, typer.Option("--test-only", help="Say what would become of it; submit nothing.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait, and print the result.")] = False,
    manager: ManagerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Submit a program; prints the task's number, or with --wait its result."""
    source = to_program(read_program(program))
    with connected(manager) as client:
        order = TaskOrder(
            source,
            shots,
            job_class=job_class,
            qpu=qpu,
            priority=priority,
            seed=seed,
            name=name or program.stem,
            key=key,
            held=held,
            device=device,
            require=requirements(require),
            session=session,
            account=account,
            **wishes(
                lambda: managers_now(client),
                begin=begin,
                time_limit=time_limit,
                depends_on=depends_on,
                deadline=deadline,
                on_recalibration=on_recalibration,
                max_calibration_age=max_calibration_age,
                min_quality=min_quality,
                stop_when=stop_when,
                shot_time=shot_time,
                path_time=path_time,
            ),
        )
        if test_only:
            _print_estimate(client, order, as_json)
            return
        (task,) = client.submit_many([order])
        if wait:
            _print_result(_wait(task), as_json)
            return
        if as_json:
            print(task.info.model_dump_json())
        else:
            print(task.id)
        if client.health().embedded:
            say(
                f"task {task.id} is saved, but the embedded manager ends with this command;\n"
                "  next: submit with --wait, or run `qpu serve` and set QPU_MANAGER"
            )


def queue(
    everything: Annotated[bool, typer.Option("--all", "-a", help="Also those that ended.")] = False,
    state: Annotated[str | None, typer.Option(help="Only these states, e.g. QUEUED,HELD.")] = None,
    session: Annotated[str | None, typer.Option(help="Only this session's.")] = None,
    everyone: Annotated[
        bool,
        typer.Option("--everyone", help="All users' that wait or run, as far as the site shows."),
    ] = False,
    manager: ManagerOption = None,
    as_json: JsonOption = False,
) -> None:
    """List your tasks that wait or run."""
    if everyone:
        if everything or state is not None or session is not None:
            raise ConfigError(
                "--everyone goes with none of --all, --state and --session", where="qpu queue"
            )
        with connected(manager) as client:
            found = client.queue()
        print(found.model_dump_json() if as_json else queue_text(found))
        return
    states = [] if everything else [one for one in TaskState if not one.final]
    if state is not None:
        states = _states(state)
    with connected(manager) as client:
        tasks = [task.info for task in client.tasks(states=states, session=session)]
    if as_json:
        print(json.dumps([task.model_dump(mode="json") for task in tasks]))
        return
    rows = [
        [
            str(task.id),
            task.name[:24] or "-",
            task.job_class,
            task.state.value,
            f"{task.shots_done}/{task.shots}",
            task.qpu or task.qpu_asked or "-",
            clock(task.submitted_at),
            task.reason or "-",
        ]
        for task in tasks
    ]
    print(table(["TASK", "NAME", "CLASS", "STATE", "SHOTS", "QPU", "SUBMITTED", "REASON"], rows))


def show(task_id: Id, manager: ManagerOption = None, as_json: JsonOption = False) -> None:
    """Show everything about a task: its states, chunks, times and session."""
    with connected(manager) as client:
        detail = client.task_detail(task_id)
        session = None if detail.session is None else client.session(detail.session)
    print(detail.model_dump_json() if as_json else detail_text(detail, session))


def result(
    task_id: Id,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait until it has ended.")] = False,
    partial: Annotated[bool, typer.Option(help="The shots so far, if it hasn't.")] = False,
    manager: ManagerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a task's result."""
    with connected(manager) as client:
        task = client.task(task_id)
        if partial:
            found = client.partial_result(task_id)
        else:
            found = _wait(task) if wait or task.state.final else _not_yet(task)
    _print_result(found, as_json)


def cancel(ids: Ids, manager: ManagerOption = None, as_json: JsonOption = False) -> None:
    """Cancel tasks. A running chunk is stopped; what was counted stays on record."""
    with connected(manager) as client:
        _print_states(client.cancel_tasks(ids), as_json, running="its chunk is being stopped")


def hold(ids: Ids, manager: ManagerOption = None, as_json: JsonOption = False) -> None:
    """Keep tasks back; a running chunk is finished first."""
    with connected(manager) as client:
        _print_states(client.hold_tasks(ids), as_json, running="held when its chunk has ended")


def release(ids: Ids, manager: ManagerOption = None, as_json: JsonOption = False) -> None:
    """Let held tasks go on."""
    with connected(manager) as client:
        _print_states(client.release_tasks(ids), as_json)


# -- below: no verbs ------------------------------------------------------------


def _print_states(tasks: list[Task], as_json: bool, running: str = "") -> None:
    """`running`: what is to be said of a task that still runs."""
    if as_json:
        print(json.dumps([task.info.model_dump(mode="json") for task in tasks]))
        return
    for task in tasks:
        remark = f" ({running})" if running and task.info.state is TaskState.RUNNING else ""
        print(f"task {task.id}: {task.info.state}{remark}")


def _print_estimate(client: Client, order: TaskOrder, as_json: bool) -> None:
    """What the order would need. Raises the refusal that it would get."""
    options = {field.name: getattr(order, field.name) for field in fields(order)}
    found = client.estimate(options.pop("program"), options.pop("shots"), **options)
    if found.refusal is not None:
        raise error_from(found.refusal.model_dump(), status=found.refusal.status)
    if as_json:
        print(found.model_dump_json())
    else:
        print(estimate_text(found, order.shots, managers_now(client)))


def _states(text: str) -> list[TaskState]:
    try:
        return [TaskState(part.strip().upper()) for part in text.split(",")]
    except ValueError:
        raise ConfigError(
            f"unknown state in {text!r}", where="--state", expected=", ".join(TaskState)
        ) from None


def _wait(task: Task) -> Result:
    """The result. Ctrl-C ends the wait, not the task: say so."""
    try:
        return task.result()
    except KeyboardInterrupt:
        say(f"task {task.id} goes on; fetch it with `qpu result {task.id} --wait`")
        raise


def _not_yet(task: Task) -> Result:
    info = task.info
    raise ConfigError(
        f"it is {info.state} with {info.shots_done} of {info.shots} shots",
        where=f"task {task.id}",
        next_step=f"qpu result {task.id} --wait (or --partial)",
    )


def _print_result(found: Result, as_json: bool) -> None:
    if as_json:
        print(
            json.dumps(
                {
                    "id": found.task_id,
                    "name": found.name,
                    "counts": dict(found.counts),
                    "shots": found.shots,
                    "shots_asked": found.shots_asked,
                    "stopped_early": found.stopped_early,
                    "stop_reason": found.stop_reason,
                    "shots_saved": found.shots_saved,
                    "qpu": found.qpu,
                    "device": found.device,
                    "emulated": found.emulated,
                    "epochs": list(found.epochs),
                    "seed": found.seed,
                    "qubit_ids": list(found.qubit_ids),
                    "duration_ns": found.duration_ns,
                    "wait_s": found.wait_s,
                    "run_s": found.run_s,
                    "versions": dict(found.versions),
                }
            )
        )
        return
    where = f"{found.qpu} ({found.device}{', emulated' if found.emulated else ''})"
    print(f"task {found.task_id}: {found.shots} shots on {where}")
    if found.stopped_early:
        print(early_stop_text(found.stop_reason, found.shots_saved, found.shots_asked))
    most = found.counts.most_common(20)
    for bits, count in most:
        print(f"  {bits}  {count:>6}  {count / found.shots:6.1%}")
    rest = len(found.counts) - len(most)
    if rest > 0:
        print(f"  … and {rest} more (--json has them all)")
