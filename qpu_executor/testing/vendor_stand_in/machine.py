"""The machine of the stand-in: one job after the other, and a ledger of what it ran."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

WAITING, RUNNING, DONE, CANCELLED, FAILED = "WAITING", "RUNNING", "DONE", "CANCELLED", "FAILED"


@dataclass(slots=True)
class Job:
    """`bits`: of a shot; `shots`: wanted. `number`: counts up from 1. `message`: why it
    fails, if it is going to. `extra`: the API's own.
    """

    number: int
    shots: int
    bits: int
    tags: tuple[str, ...] = ()
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    state: str = WAITING
    created_at: float = field(default_factory=time.time)
    started_at: float | None = None
    ended_at: float | None = None
    counts: dict[str, int] = field(default_factory=dict)
    message: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
    ending: threading.Event = field(default_factory=threading.Event)


def stamp(instant: float | None) -> str | None:
    """An instant as APIs write it."""
    return None if instant is None else datetime.fromtimestamp(instant, UTC).isoformat()


class Machine:
    """Runs jobs in a thread. `ledger`: a file; `shot_s`: seconds a shot takes."""

    def __init__(self, ledger: Path, shot_s: float, seed: int) -> None:
        self._ledger = ledger
        self._shot_s = shot_s
        self._random = random.Random(seed)  # noqa: S311  # counts of a test
        self._jobs: dict[str, Job] = {}
        self._changed = threading.Condition()
        self.fail_next: str | None = None
        """The reason for which the next job that is taken is going to fail."""

    def start(self) -> None:
        """Begin to run jobs."""
        threading.Thread(target=self._run, name="machine", daemon=True).start()

    def take(self, shots: int, bits: int, tags: Iterable[str] = (), **extra: Any) -> Job:
        """Accept a job."""
        with self._changed:
            job = Job(len(self._jobs) + 1, shots, bits, tuple(tags), extra=extra)
            job.message, self.fail_next = self.fail_next or "", None
            self._jobs[job.id] = job
            self._changed.notify_all()
        return job

    def find(self, id_: str) -> Job | None:
        """The job of this id, or of this number."""
        if id_.isdigit():
            return next((one for one in self.jobs() if one.number == int(id_)), None)
        return self._jobs.get(id_)

    def jobs(self) -> list[Job]:
        """All jobs, oldest first."""
        with self._changed:
            return list(self._jobs.values())

    def forget(self) -> None:
        """Lose all jobs, as a controller that was started anew; numbers begin again."""
        with self._changed:
            for job in self._jobs.values():
                job.ending.set()
            self._jobs.clear()

    def cancel(self, job: Job) -> None:
        """End a job that hasn't ended."""
        with self._changed:
            if job.state == WAITING:
                job.state, job.ended_at = CANCELLED, time.time()
            job.ending.set()

    def executions(self) -> list[dict[str, Any]]:
        """The ledger: one entry for each job that was run; none that is half there."""
        if not self._ledger.exists():
            return []
        whole, _, _ = self._ledger.read_text("utf-8").rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def _run(self) -> None:
        while True:
            with self._changed:
                job = next((one for one in self._jobs.values() if one.state == WAITING), None)
                if job is None:
                    self._changed.wait()
                    continue
                job.state, job.started_at = RUNNING, time.time()
            self._write(job)
            stopped = job.ending.wait(job.shots * self._shot_s)
            with self._changed:
                job.ended_at = time.time()
                if stopped:
                    job.state = CANCELLED
                elif job.message:
                    job.state = FAILED
                else:
                    job.counts = self._shots(job)
                    job.state = DONE

    def _shots(self, job: Job) -> dict[str, int]:
        taken = (self._random.getrandbits(job.bits) for _ in range(job.shots))
        return dict(Counter(format(one, f"0{job.bits}b") for one in taken))

    def _write(self, job: Job) -> None:
        line = {"job": job.id, "shots": job.shots, "tags": list(job.tags)}
        with self._ledger.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
