"""Jobs as the machine keeps them, and a file in which they outlive its process."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_PLAIN = (
    "uid",
    "shots",
    "sequence",
    "context",
    "created",
    "received_ns",
    "status",
    "result",
    "started",
    "ended",
)


@dataclass(slots=True)
class MachineJob:
    """A job as the machine keeps it. Instants are seconds since the epoch, on its clock."""

    uid: int
    shots: int
    sequence: str
    context: dict[str, Any]
    created: float
    received_ns: int
    status: str = "PENDING"
    result: str | None = None
    started: float | None = None
    ended: float | None = None
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def mark(self) -> str | None:
        """What its sender calls it."""
        found = self.context.get("pasqman_job_id")
        return found if isinstance(found, str) else None


class KeptJobs:
    """A line of JSON in `path` for each job that begins or ends; the last one of a job counts."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def keep(self, job: MachineJob) -> None:
        """Append the job as it is now."""
        line = json.dumps({name: getattr(job, name) for name in _PLAIN})
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def read(self) -> list[MachineJob]:
        """All jobs, by their numbers."""
        if not self._path.exists():
            return []
        found = {}
        for line in self._path.read_text("utf-8").splitlines():
            job = MachineJob(**json.loads(line))
            found[job.uid] = job
        return [found[uid] for uid in sorted(found)]

    def forget(self) -> None:
        """Keep none of them any longer."""
        self._path.unlink(missing_ok=True)
