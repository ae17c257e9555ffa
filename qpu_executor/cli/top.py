"""`qpu top`: watch the QPUs and your tasks. Without a terminal it prints one picture."""

from __future__ import annotations

import json
import sys
import time
from typing import Annotated

import typer

from qpu_executor.cli.connecting import JsonOption, ManagerOption, connected
from qpu_executor.cli.top_text import top_text
from qpu_executor.client import Client
from qpu_executor.model.states import TaskState

_LIVE = [state for state in TaskState if not state.final]


def top(
    once: Annotated[bool, typer.Option("--once", help="Print one picture and end.")] = False,
    interval: Annotated[
        float, typer.Option("--interval", "-i", help="Seconds between pictures.", min=0.2)
    ] = 2.0,
    manager: ManagerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Watch the QPUs and your tasks; Ctrl-C ends it."""
    with connected(manager) as client:
        if as_json:
            print(_document(client))
        elif once or not sys.stdout.isatty():
            print(_picture(client, None))
        else:
            _watch(client, interval)


# -- below: no verbs ------------------------------------------------------------


def _watch(client: Client, interval_s: float) -> None:
    # Only a terminal needs them, and they take their time to load.
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console()
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                shown = Text(_picture(client, console.height), no_wrap=True, overflow="crop")
                live.update(shown, refresh=True)
                time.sleep(interval_s)
    except KeyboardInterrupt:
        # The way to leave it, not an interruption of work.
        return


def _picture(client: Client, rows: int | None) -> str:
    tasks = [task.info for task in client.tasks(states=_LIVE)]
    return top_text(client.health(), client.qpus(), tasks, rows)


def _document(client: Client) -> str:
    tasks = [task.info.model_dump(mode="json") for task in client.tasks(states=_LIVE)]
    qpus = [qpu.model_dump(mode="json") for qpu in client.qpus()]
    health = client.health().model_dump(mode="json")
    return json.dumps({"manager": health, "qpus": qpus, "tasks": tasks})
