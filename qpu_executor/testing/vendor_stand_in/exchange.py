"""What the APIs of the stand-in share: requests, answers, and the state behind them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from qpu_executor.testing.vendor_stand_in.machine import Machine


@dataclass(frozen=True, slots=True)
class Request:
    """`path`: without the query; `query`: last value of each key; `headers`: lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, or None where it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Answer:
    """`content`: JSON unless it is text."""

    content: Any
    status: int = 200
    kind: str = "application/json"

    def body(self) -> bytes:
        """What goes over the wire."""
        if isinstance(self.content, str) and self.kind != "application/json":
            return self.content.encode()
        return json.dumps(self.content).encode()


@dataclass(slots=True)
class Site:
    """`device_json`: Pulser's; `token`: the one that is accepted; `accessible`: whether jobs
    are taken (Warden says so). `url`: of the server, once it listens.
    """

    machine: Machine
    device_json: str
    token: str = "stand-in-token"  # noqa: S105  # no secret
    accessible: bool = True
    url: str = ""
    sessions: set[str] = field(default_factory=set)

    @property
    def device_name(self) -> str:
        """Of the Pulser device."""
        return str(json.loads(self.device_json)["name"])


Api = Callable[[Site, Request], Answer | None]
"""An API: the answer to a request, None for one that isn't its own."""


def atoms_in(sequence: str) -> int | None:
    """Atoms of a Pulser sequence's abstract representation; None for anything else."""
    try:
        register = json.loads(sequence)["register"]
        return len(register) if isinstance(register, list) and register else None
    except (ValueError, KeyError, TypeError):
        return None
