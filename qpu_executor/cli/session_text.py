"""What `qpu session` and `qpu show` print about sessions. Pure, but for the time of day."""

from __future__ import annotations

from collections.abc import Sequence

from qpu_executor.cli.tables import clock, duration, table
from qpu_executor.model.sessions import SlurmJob
from qpu_executor.wire.sessions import HeartbeatOut, HoldOut, SessionOut, SlurmJobOut


def session_line(session: SessionOut) -> str:
    """A session in one line: its name, its end, what it says and what it keeps."""
    said = [f"{session.name} ({session.id})".strip(), *_said(session)]
    return ", ".join([*said, *map(_hold, session.holds)])


def sessions_text(sessions: Sequence[SessionOut]) -> str:
    """Sessions as a table."""
    rows = [
        [
            one.id,
            one.name or "-",
            one.state or ("closed" if one.closed_at is not None else "open"),
            str(one.live_tasks),
            clock(one.opened_at),
            "-" if one.ends_at is None else clock(one.ends_at),
            ", ".join(_hints(one)) or "-",
            ", ".join(map(_hold, one.holds)) or "-",
        ]
        for one in sessions
    ]
    return table(["SESSION", "NAME", "STATE", "LIVE", "OPENED", "ENDS", "SAYS", "KEEPS"], rows)


def session_text(session: SessionOut) -> str:
    """All about one session, a line each."""
    lines = [("session", f"{session.name} ({session.id})".strip()), ("state", _state(session))]
    if session.slurm is not None:
        lines.append(("Slurm job", _job(session.slurm)))
    uid = "" if session.uid is None else f" (uid {session.uid})"
    lines += [("user", f"{session.owner}{uid}"), ("account", session.account)]
    if session.lease_s is not None:
        left = "" if not session.lease_left_s else f", {duration(session.lease_left_s)} left"
        lines.append(("lease", f"{duration(session.lease_s)}{left}"))
    ends = {
        "idle limit": None if session.idle_s is None else duration(session.idle_s),
        "allocation ends": None if session.ends_at is None else clock(session.ends_at),
        "ends at the latest": None if session.expires_at is None else clock(session.expires_at),
        "its tasks on close": session.on_close,
        "its tasks on loss": session.on_lost,
        "says": ", ".join(_hints(session)) or None,
        "keeps": ", ".join(map(_hold, session.holds)) or None,
    }
    lines += [(name, str(value)) for name, value in ends.items() if value is not None]
    lines.append(("tasks", f"{session.tasks or 0}, {session.live_tasks} of them alive"))
    qpu, charged = duration(session.qpu_s or 0.0), duration(session.charged_s or 0.0)
    lines.append(("shots", f"{session.shots or 0} in {qpu} of QPU time, {charged} charged"))
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in lines)


def heartbeat_text(found: HeartbeatOut) -> str:
    """A renewal in one line."""
    if found.lease_s is None:
        lease = "has no lease: it needs no heartbeat"
    else:
        lease = f"renewed for {duration(found.lease_s)}"
    if not found.was_lost:
        return f"session {found.id}: {lease}"
    went_on = ", ".join(map(str, found.released)) or "none"
    return f"session {found.id}: {lease}; it had been lost, tasks that go on: {went_on}"


def _state(session: SessionOut) -> str:
    if session.closed_at is not None:
        why = f": {session.closed_because}" if session.closed_because else ""
        return f"closed {clock(session.closed_at)}{why}"
    if session.lost_at is not None:
        return (
            f"lost since {clock(session.lost_at)}: nobody renewed its lease; "
            f"qpu session heartbeat {session.id} brings it back"
        )
    return f"open since {clock(session.opened_at)}"


def _job(job: SlurmJobOut) -> str:
    return str(SlurmJob(**job.model_dump()))


def _said(session: SessionOut) -> list[str]:
    ends = [] if session.ends_at is None else [f"ends {clock(session.ends_at)}"]
    return ends + _hints(session)


def _hints(session: SessionOut) -> list[str]:
    found = [] if session.job_class is None else [f"class {session.job_class}"]
    if session.shape is not None:
        found.append(session.shape.value)
    if session.expected_tasks is not None:
        found.append(f"{session.expected_tasks} tasks")
    if session.think_s is not None:
        found.append(f"thinks {duration(session.think_s)}")
    return found


def _hold(hold: HoldOut) -> str:
    until = clock(hold.until)
    if hold.kind == "run":
        return f"keeps {hold.qpu} for a run until {until}"
    now = f", now until {until}" if hold.kept else ""
    return f"keeps {hold.qpu} for {duration(hold.linger_s or 0.0)} after a task{now}"
