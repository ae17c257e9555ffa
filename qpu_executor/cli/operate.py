"""Operators' verbs: drain, resume, calibrate, requeue, settle, policy reload."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from qpu_executor.cli.connecting import JsonOption, ManagerOption, connected
from qpu_executor.cli.counts_file import read_counts
from qpu_executor.errors import ConfigError
from qpu_executor.model.states import TaskState
from qpu_executor.wire.policy import SettleRequest
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


def settle(
    task: Annotated[int, typer.Argument(help="The number of a task whose chunk is UNKNOWN.")],
    lost: Annotated[
        bool, typer.Option("--lost", help="The chunk's shots are taken again.")
    ] = False,
    counts: Annotated[
        Path | None,
        typer.Option("--counts", help="A JSON file with its counts, read off the machine."),
    ] = None,
    device_s: Annotated[
        float, typer.Option("--device-s", min=0.0, help="Seconds that the QPU took for them.")
    ] = 0.0,
    chunk: Annotated[
        int | None, typer.Option("--chunk", min=0, help="Refuse where another one is out.")
    ] = None,
    manager: ManagerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what became of a chunk of which its QPU doesn't tell."""
    if lost == (counts is not None):
        raise ConfigError(
            "a chunk is either lost or has counts",
            where=f"task {task}",
            expected="--lost, or --counts FILE",
            next_step="look at the machine: counts that are lost by mistake are taken twice",
        )
    verdict = SettleRequest(
        lost=lost,
        counts=None if counts is None else read_counts(counts),
        device_s=device_s,
        chunk=chunk,
    )
    with connected(manager) as client:
        found = client.settle(task, verdict)
    if as_json:
        print(found.model_dump_json())
        return
    how = "declared lost" if lost else "settled with its counts"
    print(f"task {found.id}: chunk {how}; {found.state}, {found.shots_done} of {found.shots} shots")


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
