"""Options that every verb shares, and the connection behind them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated

import typer

from qpu_executor.client import Client, connect

ManagerOption = Annotated[
    str | None,
    typer.Option("--manager", help="Manager's URL. Default: $QPU_MANAGER, else an embedded one."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

PATIENCE_S = 5.0
"""How long a command that only looks or asks waits for a manager that doesn't answer."""


@contextmanager
def connected(manager: str | None, wait_s: float = PATIENCE_S) -> Iterator[Client]:
    """A connected client, closed at the end."""
    with connect(manager, wait_s=wait_s) as client:
        yield client


def managers_now(client: Client) -> datetime:
    """The time on the manager's clock (which may run faster), in this place's time zone."""
    return client.health().now.astimezone()


def say(text: str) -> None:
    """A remark for a person, on standard error: standard output is for the result."""
    print(text, file=sys.stderr)
