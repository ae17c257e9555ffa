"""Operators' verbs: drain, resume, calibrate, requeue, policy reload."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from qpu_executor.cli.connecting import JsonOption, ManagerOption, connected
from qpu_executor.model.states import TaskState
from qpu_executor.wire.site import QpuOut

Qpu = Annotated[str, typer.Argument(help="The QPU's name (`qpu info`).")]

WINDOWS_SHOWN = 10
"""Windows that `qpu window` prints: recurring ones are listed for days ahead."""

policy = typer.Typer(
    help="The site's scheduling policy: read it again.", no_args_is_help=True, add_completion=False
)


def drain(
    qpu: Qpu,
    reason: Annotated[
        str, typer.Option("--reason", "-r", help="Shown to those who wait for it.")
    ] = "",
    manager: ManagerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a QPU take nothing new; what runs there ends first."""
    with connected(manager) as client:
        _print_qpu(client.drain(qpu, reason), as_json, waits=True)


def resume(qpu: Qpu, manager: ManagerOption = None, as_json: JsonOption = False) -> None:
    """Let a drained QPU take tasks again."""
    with connected(manager) as client:
        _print_qpu(client.resume(qpu), as_json)


def calibrate(qpu: Qpu, manager: ManagerOption = None, as_json: JsonOption = False) -> None:
    """Ask for a calibration of a QPU, after the chunk that runs."""
    with connected(manager) as client:
        _print_qpu(client.calibrate(qpu), as_json, "calibration asked for", waits=True)


def requeue(
    ids: Annotated[list[int], typer.Argument(help="Numbers of tasks.")],
    manager: ManagerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop the chunks of running tasks and queue these again, with the shots they have."""
    with connected(manager) as client:
        tasks = [task.info for task in client.requeue_tasks(ids)]
    if as_json:
        print(json.dumps([task.model_dump(mode="json") for task in tasks]))
        return
    for task in tasks:
        stops = " (its chunk is being stopped)" if task.state is TaskState.RUNNING else ""
        print(f"task {task.id}: {task.state}{stops}, {task.shots_done} of {task.shots} shots")


@policy.callback()
def _policy() -> None:
    """The site's scheduling policy: read it again."""


@policy.command("reload")
def reload_policy(manager: ManagerOption = None, as_json: JsonOption = False) -> None:
    """Read the site file's scheduling part again; the queue stays as it is."""
    with connected(manager) as client:
        found = client.reload_policy()
    if as_json:
        print(found.model_dump_json())
        return
    print(f"policy {found.policy}: " + (", ".join(found.changed) or "nothing changed"))


# -- below: no verbs ------------------------------------------------------------


def _print_qpu(found: QpuOut, as_json: bool, remark: str = "", *, waits: bool = False) -> None:
    """`waits`: what was asked for takes effect when the chunks that run have ended."""
    if as_json:
        print(found.model_dump_json())
        return
    running = found.capacity.max_slots - found.capacity.available_slots
    said = [f"QPU {found.name}: {found.state}"]
    if found.status_reason:
        said.append(f"({found.status_reason})")
    if remark:
        said.append(f"- {remark}")
    if waits and running:
        said.append(f"- {running} chunk{'' if running == 1 else 's'} still running")
    print(" ".join(said))
