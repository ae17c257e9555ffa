"""What `qpu session` and `qpu show` print about sessions. Pure, but for the time of day."""

from __future__ import annotations

from collections.abc import Sequence

from qpu_executor.cli.tables import clock, duration, table
from qpu_executor.wire.sessions import HoldOut, SessionOut


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
            "closed" if one.closed_at is not None else "open",
            str(one.live_tasks),
            clock(one.opened_at),
            "-" if one.ends_at is None else clock(one.ends_at),
            ", ".join(_hints(one)) or "-",
            ", ".join(map(_hold, one.holds)) or "-",
        ]
        for one in sessions
    ]
    return table(["SESSION", "NAME", "STATE", "LIVE", "OPENED", "ENDS", "SAYS", "KEEPS"], rows)


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
