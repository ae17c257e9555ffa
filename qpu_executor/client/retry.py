"""When to try again, and after how long. No I/O: clock and randomness are arguments.

Repeated is what can't run twice: reads, submissions (their keys name the task),
and what was never sent. A busy answer means that nothing was done.
"""

from __future__ import annotations

from qpu_executor.client.protocol import ApiRequest
from qpu_executor.errors import ManagerBusy, ManagerUnreachable

FIRST_DELAY_S = 0.05
MAX_DELAY_S = 5.0


class NoAnswer(Exception):
    """No answer came. `sent`: the manager may have seen the request all the same."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent


class Patience:
    """How long one call, or one outage, has been waited for, and what comes next.

    `wait_s`: longest time in all; `started_at`: seconds on the caller's clock.
    """

    def __init__(self, wait_s: float, started_at: float) -> None:
        self._wait_s = wait_s
        self._started_at = started_at
        self._failures = 0

    def delay_s(
        self, failure: NoAnswer | ManagerBusy, request: ApiRequest, *, now: float, jitter: float
    ) -> float | None:
        """Seconds until the next attempt, or None: give up.

        `now`: on the clock of `started_at`; `jitter`: uniform in [0, 1).
        """
        if isinstance(failure, NoAnswer) and failure.sent and not request.repeatable:
            return None
        left_s = self._started_at + self._wait_s - now
        if left_s <= 0:
            return None
        backoff_s = min(MAX_DELAY_S, FIRST_DELAY_S * 2.0 ** min(self._failures, 20))
        self._failures += 1
        delay_s = backoff_s * (0.5 + 0.5 * jitter)
        if isinstance(failure, ManagerBusy):
            delay_s = max(delay_s, failure.retry_after_s)
            return delay_s if delay_s <= left_s else None
        # The last attempt is made at the very end of the time, not before it.
        return min(delay_s, left_s)


def unreachable(
    url: str, failure: NoAnswer, request: ApiRequest | None = None, *, waited_s: float
) -> ManagerUnreachable:
    """The error for users once nothing more is tried."""
    if failure.sent and request is not None and not request.repeatable:
        return ManagerUnreachable(
            f"the connection ended before the answer came ({failure.reason}); "
            f"{request.method} {request.path} may have been done, so it wasn't repeated",
            where=url,
            next_step="look at the state of the tasks, then ask again",
        )
    waited = f" for {waited_s:.0f} s" if waited_s >= 1 else ""
    if url.startswith("unix:"):
        step = "if it was an embedded manager, its owner has ended; else start it: qpu serve"
    else:
        step = "start the manager (qpu serve --site configs/site.yaml) or correct QPU_MANAGER"
    return ManagerUnreachable(
        f"no manager answered{waited} ({failure.reason})", where=url, next_step=step
    )
