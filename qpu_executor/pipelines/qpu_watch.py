"""What the manager says about a run's tasks: followed while it runs, summed up at its end."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from qpu_executor.client import Client
from qpu_executor.errors import ManagerUnreachable, QpuExecutorError
from qpu_executor.model.states import TaskState
from qpu_executor.pipelines.tracker import Tracker
from qpu_executor.wire.tasks import ChunkOut, TaskOut

logger = logging.getLogger(__name__)

_MAX_DETAILS = 200
"""Tasks without a result whose chunks are looked up one by one for the summary."""


class QpuWatch:
    """Feeds a tracker from the manager's event stream. Use: start, refresh now and then, stop."""

    def __init__(self, client: Client, session: str, tracker: Tracker) -> None:
        self._client = client
        self._session = session
        self._tracker = tracker
        self._unknown: set[int] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._follow, name="run-events", daemon=True)

    def start(self) -> None:
        """Follow the session's events in a daemon thread, which ends with the client."""
        self._thread.start()

    def refresh(self) -> None:
        """Ask the manager about tasks that events named first."""
        with self._lock:
            unknown, self._unknown = self._unknown, set()
        if not unknown:
            return
        try:
            tasks = self._client.tasks(ids=sorted(unknown))
        except QpuExecutorError as error:
            logger.info("tasks weren't looked up: %s", error)
            return
        self._tracker.learn(task.info for task in tasks)

    def qpus(self) -> str:
        """The state of the QPUs in a few words, empty where the manager doesn't answer."""
        try:
            return ", ".join(
                f"{qpu.name} {qpu.status}{' busy' if qpu.busy else ''}"
                for qpu in self._client.qpus()
            )
        except QpuExecutorError as error:
            logger.info("QPUs weren't looked up: %s", error)
            return ""

    def _follow(self) -> None:
        try:
            for event in self._client.events(session=self._session):
                if event.task is not None and not self._tracker.event(event):
                    with self._lock:
                        self._unknown.add(event.task)
        except ManagerUnreachable as error:
            logger.error("the manager is lost: %s", error)
            self._tracker.manager_lost(error)
        except QpuExecutorError as error:
            # Progress only: results and errors come to the engine by another way.
            logger.info("the run's events ended: %s", error)


def tasks_of(client: Client, sessions: Iterable[str]) -> list[TaskOut]:
    """All tasks of the run's sessions, by id."""
    found: dict[int, TaskOut] = {}
    for session in sessions:
        try:
            for task in client.tasks(session=session):
                found[task.id] = task.info
        except QpuExecutorError as error:
            # An earlier attempt may have used another manager.
            logger.info("tasks of session %s weren't listed: %s", session, error)
    return [found[task_id] for task_id in sorted(found)]


def qpu_times(client: Client, tasks: Sequence[TaskOut]) -> dict[str, float]:
    """`worked_s`: device and set-up time of all chunks; `waited_s`: time from submission
    to the first chunk, summed over tasks."""
    chunks: list[ChunkOut] = []
    try:
        done = [task.id for task in tasks if task.state is TaskState.COMPLETED]
        for result in client.results(done).values() if done else ():
            chunks += result.chunks
        others = [t for t in tasks if t.state is not TaskState.COMPLETED and t.started_at]
        for task in others[:_MAX_DETAILS]:
            chunks += client.task_detail(task.id).chunks
    except QpuExecutorError as error:
        logger.info("times of the QPU weren't looked up: %s", error)
    now = datetime.now(UTC)
    waited = [
        ((task.started_at or task.ended_at or now) - task.submitted_at).total_seconds()
        for task in tasks
    ]
    return {
        "worked_s": round(sum(chunk.device_s + chunk.setup_s for chunk in chunks), 6),
        "waited_s": round(sum(max(0.0, seconds) for seconds in waited), 6),
    }


def task_lines(tasks: Sequence[TaskOut]) -> list[dict[str, Any]]:
    """The tasks as the run's JSON document shows them."""
    lines = []
    for task in tasks:
        line = task.model_dump(
            mode="json",
            include={
                "id", "name", "state", "qpu", "shots", "submitted_at", "started_at", "ended_at",
                "device", "emulated", "seed", "error", "stopped_early", "stop_reason",
                "shots_saved",
            },
        )  # fmt: skip
        step = re.match(r"[A-Za-z_][\w-]*", task.name)
        line["step"] = step[0] if step else None
        lines.append(line)
    return lines
