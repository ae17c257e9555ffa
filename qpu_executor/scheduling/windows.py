"""Windows of a QPU: maintenance and reservations, as a task sees them. Pure.

Tasks that a reservation isn't for may run before it as long as they fit
(backfill); tasks that it is for see nothing of it.
"""

from __future__ import annotations

from qpu_executor.model.states import WaitReason, WindowKind
from qpu_executor.model.timing import Instant, Window
from qpu_executor.scheduling.state import Bucket

REASONS = {
    WindowKind.MAINTENANCE: WaitReason.MAINTENANCE,
    WindowKind.RESERVATION: WaitReason.RESERVATION,
}


def in_order(windows: tuple[Window, ...], now: Instant) -> tuple[Window, ...]:
    """The windows that aren't over yet, by their start."""
    left = [window for window in windows if window.ends_at > now]
    return tuple(sorted(left, key=lambda one: (one.starts_at, one.ends_at, one.name)))


def next_window(windows: tuple[Window, ...], bucket: Bucket, now: Instant) -> Window | None:
    """The first window, of those in order, that closes the QPU to the bucket's tasks.

    It is on if its start has come. None: no known window concerns them.
    """
    for window in windows:
        if window.ends_at > now and not window.admits(
            bucket.account, bucket.needs.session_id, bucket.job_class.name
        ):
            return window
    return None
