"""Verbs that explain: why, prio, share, estimate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from qpu_executor.cli.connecting import JsonOption, ManagerOption, connected, managers_now
from qpu_executor.cli.explain_text import estimate_text, prio_text, shares_text, why_text
from qpu_executor.cli.program_file import read_program
from qpu_executor.cli.requirements import DeviceOption, RequireOption, requirements
from qpu_executor.model.states import TaskState
from qpu_executor.programs.pulser_sequence import to_program

_WAITING = (TaskState.QUEUED, TaskState.HELD)


def why(
    task_id: Annotated[int, typer.Argument(help="The task's number.", min=1)],
    manager: ManagerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say why a task isn't running now: its place, what is ahead, when it is expected."""
    with connected(manager) as client:
        found = client.why(task_id)
    print(found.model_dump_json() if as_json else why_text(found))


def prio(
    limit: Annotated[int, typer.Option(help="At most so many tasks, the oldest.", min=1)] = 20,
    manager: ManagerOption = None,
    as_json: JsonOption = False,
) -> None:
    """List your waiting tasks with their ranks and the parts of their priorities."""
    with connected(manager) as client:
        waiting = [task.info for task in client.tasks(states=_WAITING)]
        found = [client.why(task.id) for task in waiting[:limit]]
    # One may have ended while the others were asked about.
    found = [one for one in found if one.task.state in _WAITING]
    found.sort(key=lambda one: (one.rank is None, one.rank or 0, one.task.id))
    if as_json:
        print(json.dumps([one.model_dump(mode="json") for one in found]))
    else:
        print(prio_text(found, max(0, len(waiting) - limit)))


def share(manager: ManagerOption = None, as_json: JsonOption = False) -> None:
    """Show accounts and classes against their shares, and what is charged."""
    with connected(manager) as client:
        found = client.shares()
    print(found.model_dump_json() if as_json else shares_text(found))


def estimate(
    program: Annotated[
        Path, typer.Argument(help="A Pulser sequence in abstract representation (JSON).")
    ],
    shots: Annotated[int, typer.Option("--shots", "-n", help="How many shots.", min=1)],
    job_class: Annotated[
        str | None, typer.Option("--class", "-c", help="Job class (`qpu info --classes`).")
    ] = None,
    qpu: Annotated[str | None, typer.Option(help="A QPU by name (`qpu info`).")] = None,
    device: DeviceOption = None,
    require: RequireOption = None,
    manager: ManagerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a task would need and when it would be done; submits nothing."""
    source = to_program(read_program(program))
    with connected(manager) as client:
        found = client.estimate(
            source,
            shots,
            job_class=job_class,
            qpu=qpu,
            device=device,
            require=requirements(require),
        )
        now = managers_now(client)
    print(found.model_dump_json() if as_json else estimate_text(found, shots, now))
