"""How the jobs of a batch are, each on its own: one without a result hides no other's."""

from __future__ import annotations

from collections.abc import Sequence

from pulser.backend.remote import JobStatus
from pulser.backend.results import Results

from qpu_executor.client import Client, Task
from qpu_executor.model.states import TaskState
from qpu_executor.pulser.statuses import job_status


def progress_of(
    tasks: Sequence[Task], client: Client
) -> dict[str, tuple[JobStatus, Results | None]]:
    """Status and result by job (None: it has none); the results in as few requests as can be."""
    done = [task.id for task in tasks if task.state is TaskState.COMPLETED]
    results = client.results(done) if done else {}
    return {
        str(task.id): (
            job_status(task.info),
            results[task.id].to_pulser() if task.id in results else None,
        )
        for task in tasks
    }


def why_missing(jobs: Sequence[str], tasks: Sequence[Task]) -> str:
    """Of jobs without a result: the status of each, and its error."""
    known = {str(task.id): task.info for task in tasks}
    texts = []
    for job in jobs:
        status = job_status(known[job]).name if job in known else "not in this batch"
        reason = f" ({known[job].error})" if job in known and known[job].error else ""
        texts.append(f"job {job} is {status}{reason}")
    return "; ".join(texts)
