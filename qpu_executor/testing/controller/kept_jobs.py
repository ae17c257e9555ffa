"""A file in which a stand-in's jobs outlive its process."""

from __future__ import annotations

import json
from pathlib import Path

from qpu_executor.testing.controller.jobs import MachineJob

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
