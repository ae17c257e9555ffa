"""Why a session's tasks are held, in words that also say what to type."""

from __future__ import annotations

from datetime import UTC, datetime

from qpu_executor.manager.store.records import SessionRow
from qpu_executor.model.values import MICROSECONDS, Instant


def when_lost(session: SessionRow) -> str:
    """Of a session that nobody renewed. Precondition: it is lost."""
    assert session.lost_at is not None
    return (
        f"its {session.named} lost its lease at {_moment(session.lost_at)}; "
        f"a heartbeat (qpu session heartbeat {session.id}) brings it back"
    )


def when_closed(session: SessionRow, at: Instant) -> str:
    """Of a session that its owner, or a service for them, closed."""
    return f"its {session.named} was closed at {_moment(at)}; qpu release lets it go on"


def when_ended(session: SessionRow, why: str, at: Instant) -> str:
    """Of a session that ended by itself."""
    return (
        f"its {session.named} ended at {_moment(at)}: {why}; "
        "qpu release, or submitting it again with its key, lets it go on"
    )


def _moment(at: Instant) -> str:
    return f"{datetime.fromtimestamp(at / MICROSECONDS, tz=UTC):%Y-%m-%d %H:%M:%S} UTC"
