"""What `qpu queue --everyone` prints. Pure."""

from __future__ import annotations

from qpu_executor.cli.tables import table
from qpu_executor.wire.queue import QueueOut, QueueRowOut


def queue_text(found: QueueOut) -> str:
    """The queue: a line for each task that is shown, and how many there are."""
    head = ["RANK", "TASK", "OWNER", "CLASS", "STATE", "SHOTS", "QPU"]
    lines = [table(head, [_row(one) for one in found.rows])]
    if found.more:
        lines.append("… and more")
    lines.append(f"{found.running} running, {found.waiting} waiting, {found.held} held")
    if found.shown == "own":
        lines.append("others' tasks are counted, not listed: the site keeps them private")
    elif found.shown == "anonymous":
        lines.append("others' tasks are listed without number and owner: the site's choice")
    return "\n".join(lines)


def _row(one: QueueRowOut) -> list[str]:
    return [
        "-" if one.rank is None else str(one.rank),
        "-" if one.task is None else str(one.task),
        "you" if one.yours else one.owner or "-",
        one.job_class,
        one.state.value,
        f"{one.shots_done}/{one.shots}",
        one.qpu or "-",
    ]
