"""What `qpu show` prints about a task. Pure, but for the time of day."""

from __future__ import annotations

from qpu_executor.cli.session_text import session_line
from qpu_executor.cli.tables import clock, duration, table
from qpu_executor.model.states import OnRecalibration
from qpu_executor.model.stopping import read_stop_rule
from qpu_executor.wire.sessions import SessionOut
from qpu_executor.wire.tasks import TaskDetail, WishesOut


def detail_text(task: TaskDetail, session: SessionOut | None = None) -> str:
    """Its state, wishes, times and chunks. `session`: the one that it belongs to."""
    lines = [
        f"task {task.id}  {task.name}".rstrip(),
        f"  state      {task.state}" + (f" ({task.reason})" if task.reason else ""),
        f"  shots      {task.shots_done} of {task.shots}",
        f"  class      {task.job_class}, priority {task.priority}",
        f"  QPU        {task.qpu or '-'}" + (f" ({task.device})" if task.device else ""),
        f"  owner      {task.owner}, account {task.account}",
        f"  program    {task.program_hash[:16]}…, seed {task.seed}",
        "  history    " + ", ".join(f"{one.state} {clock(one.at)}" for one in task.history),
    ]
    if session is not None:
        lines.append(f"  session    {session_line(session)}")
    if task.wishes is not None:
        label = "wishes"
        for wish in _wishes(task.wishes):
            lines.append(f"  {label:<9}  {wish}")
            label = ""
    if task.stop_standing is not None:
        lines.append(f"  early stop {task.stop_standing}")
    if task.stopped_early:
        lines.append(early_stop_text(task.stop_reason, task.shots_saved, task.shots))
    if task.error:
        lines.append(f"  error      {task.error}")
    if task.chunks:
        rows = [
            [
                str(chunk.n),
                chunk.state.value + (" (discarded)" if chunk.discarded else ""),
                chunk.qpu,
                f"{chunk.shots_counted}/{chunk.shots}",
                clock(chunk.sent_at),
                duration(chunk.setup_s),
                duration(chunk.device_s),
                chunk.epoch or "unknown",
                chunk.reason or "-",
            ]
            for chunk in task.chunks
        ]
        head = ["CHUNK", "STATE", "QPU", "SHOTS", "SENT", "SETUP", "SHOTS TOOK", "EPOCH", "REASON"]
        lines += ["", table(head, rows)]
    return "\n".join(lines)


def early_stop_text(reason: str | None, saved: int, asked: int | None) -> str:
    """That a task has fewer shots than it asked for, why, and what that means for its user."""
    return (
        f"  stopped early: {reason}; {saved} of {asked} shots saved, not charged\n"
        "  (the shots decided when to stop: intervals for a fixed number of shots don't hold)"
    )


def _wishes(wishes: WishesOut) -> list[str]:
    """Each wish that there is, in words."""
    found = []
    if wishes.begin_at is not None:
        found.append(f"not before {clock(wishes.begin_at)}")
    if wishes.depends_on:
        others = ", ".join(f"{one.kind} {one.task}" for one in wishes.depends_on)
        found.append(f"after other tasks: {others}")
    if wishes.deadline_at is not None:
        found.append(f"done by {clock(wishes.deadline_at)}")
    if wishes.time_limit_s is not None:
        found.append(f"at most {duration(wishes.time_limit_s)} from its first chunk")
    if wishes.on_recalibration is not OnRecalibration.CONTINUE:
        found.append(f"{wishes.on_recalibration} on a recalibration")
    if wishes.max_calibration_age_s is not None:
        found.append(f"at most {duration(wishes.max_calibration_age_s)} after a calibration")
    if wishes.min_quality is not None:
        found.append(f"quality {wishes.min_quality:g} or better")
    if wishes.device is not None:
        found.append(f"only on a {wishes.device}")
    if wishes.require is not None:
        needs = wishes.require.model_dump(exclude_defaults=True).items()
        found.append("requires " + ", ".join(f"{name} {_plain(value)}" for name, value in needs))
    if wishes.shot_s is not None:
        found.append(f"{wishes.shot_s:g} s a shot expected")
    if wishes.stop_when is not None:
        rule = wishes.stop_when.model_dump(exclude_none=True)
        found.append(f"stop when {read_stop_rule(rule)}")
    if wishes.path_s is not None:
        found.append(f"{duration(wishes.path_s)} of work expected from it to its workflow's end")
    if wishes.session_ends_at is not None:
        found.append(f"its session's allocation ends {clock(wishes.session_ends_at)}")
    return found


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
