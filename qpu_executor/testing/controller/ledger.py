"""What a stand-in really executed, in its own words: the other side of every test.

One line of JSON per event, in a file where one is named: it outlives the process, and
keeps what the controller forgets, and when it forgot: `began` and `ended` are about jobs,
`started` (a process, which `remembers` so many jobs) and `forgot` about all jobs before.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class ExecutionLedger:
    """`lines`: of this process. `path`: where they are appended as well."""

    def __init__(self, path: Path | None = None) -> None:
        self.lines: list[dict[str, Any]] = []
        self._path = path

    def began(self, job: int, mark: str | None, shots: int, received_ns: int) -> None:
        """The job's shots are being taken. `received_ns`: monotonic, when it arrived."""
        self._write(event="began", job=job, mark=mark, shots=shots, at_ns=received_ns)

    def ended(
        self,
        job: int,
        mark: str | None,
        executed: int,
        status: str,
        counts: Mapping[str, int] | None = None,
    ) -> None:
        """The job ended, after so many shots. `counts`: what it measured, if it was done."""
        now = time.monotonic_ns()
        line = {"job": job, "mark": mark, "executed": executed, "status": status, "at_ns": now}
        self._write(event="ended", **line, counts=dict(counts or {}))

    def started(self, remembers: int) -> None:
        """A process of the controller begins, and still knows so many jobs."""
        self._write(event="started", remembers=remembers, at_ns=time.monotonic_ns())

    def forgot(self) -> None:
        """The controller knows none of the jobs before any more."""
        self._write(event="forgot", at_ns=time.monotonic_ns())

    def _write(self, **line: Any) -> None:
        self.lines.append(line)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """The lines of a ledger's file, of all processes that wrote to it; none that is half there."""
    whole, _, _ = path.read_text("utf-8").rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


def executed_by_mark(lines: list[dict[str, Any]]) -> dict[str, int]:
    """Shots that were executed under each mark, in jobs that were done."""
    found: dict[str, int] = {}
    for line in lines:
        if line["event"] == "ended" and line["status"] == "DONE":
            found[line["mark"]] = found.get(line["mark"], 0) + line["executed"]
    return found
