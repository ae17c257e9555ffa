"""One picture of `qpu top`: the QPUs, and the caller's tasks that run and wait. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, tzinfo

from qpu_executor.cli.moments import span
from qpu_executor.cli.tables import table
from qpu_executor.model.states import TaskState
from qpu_executor.wire.site import HealthOut, QpuOut
from qpu_executor.wire.tasks import TaskOut


def top_text(
    health: HealthOut,
    qpus: Sequence[QpuOut],
    tasks: Sequence[TaskOut],
    rows: int | None = None,
    zone: tzinfo | None = None,
) -> str:
    """The picture, as lines. `rows`: the screen's height (None: as long as it gets).

    `zone`: of the clock that is shown (None: this place's).
    """
    now = health.now.astimezone(zone)
    counts = Counter(task.state for task in tasks)
    head = [
        f"manager on {health.host} (qpu-executor {health.version})  {now:%H:%M:%S}",
        f"yours: {counts[TaskState.RUNNING]} running, {counts[TaskState.QUEUED]} waiting, "
        f"{counts[TaskState.HELD]} held",
        "",
        *_qpus(qpus).splitlines(),
        "",
    ]
    # Those that run first, then in the order of submission.
    ordered = sorted(tasks, key=lambda task: (task.state is not TaskState.RUNNING, task.id))
    space = len(ordered) if rows is None else max(0, rows - len(head) - 2)
    lines = [*head, *_tasks(ordered[:space], now).splitlines()]
    hidden = len(ordered) - space
    return "\n".join([*lines, f"… and {hidden} more"] if hidden > 0 else lines)


def _qpus(qpus: Sequence[QpuOut]) -> str:
    rows = [
        [
            qpu.name,
            qpu.state.value,
            qpu.device + (" (emulated)" if qpu.emulated else ""),
            f"{qpu.capacity.max_slots - qpu.capacity.available_slots}/{qpu.capacity.max_slots}",
            str(qpu.pending_job_count),
            "unknown" if qpu.shot_rate_hz is None else f"{qpu.shot_rate_hz:.3g}",
            qpu.epoch or "unknown",
            qpu.status_reason or "-",
        ]
        for qpu in qpus
    ]
    head = ["QPU", "STATE", "DEVICE", "BUSY", "WAITING", "SHOTS/S", "EPOCH", "REASON"]
    return table(head, rows)


def _tasks(tasks: Sequence[TaskOut], now: datetime) -> str:
    rows = [
        [
            str(task.id),
            task.name[:24] or "-",
            task.job_class,
            task.state.value,
            f"{task.shots_done}/{task.shots}",
            f"{task.shots_done / task.shots:.0%}",
            task.qpu or task.qpu_asked or "-",
            span(max(0.0, (now - task.submitted_at).total_seconds())),
            task.reason or "-",
        ]
        for task in tasks
    ]
    head = ["TASK", "NAME", "CLASS", "STATE", "SHOTS", "DONE", "QPU", "AGE", "REASON"]
    return table(head, rows)
