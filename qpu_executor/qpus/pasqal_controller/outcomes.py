"""What a job's end means for its chunk. Pure; nothing that the controller says is believed
unseen: counts have to add up, and times have to fit what was seen from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qpu_executor.qpus.base import ChunkOutcome, OutcomeKind
from qpu_executor.qpus.pasqal_controller.messages import (
    Job,
    JobStatus,
    NonsenseError,
    read_counts,
    shortened,
)
from qpu_executor.qpus.pasqal_controller.pace import Pace

_SLACK_S = 0.005
"""By how much the controller's times may miss ours: both clocks are read a little late."""


@dataclass(slots=True)
class Stay:
    """A job's time at the controller, in seconds of a clock here.

    `sent_s`: before it was sent; `accepted_s`: when that was acknowledged.
    `unfinished_s`: before the question that was last answered with "unfinished".
    `silent_since_s`: since when the controller doesn't answer (None: it does). `there_s`:
    since when it is certainly there (None: since `accepted_s`, which is no more than a guess
    where nobody saw the acceptance).
    """

    shots: int
    atoms: int
    sent_s: float
    accepted_s: float
    unfinished_s: float | None = None
    silent_since_s: float | None = None
    there_s: float | None = None


def times_of(job: Job, stay: Stay, now_s: float, pace: Pace) -> tuple[float, float]:
    """Seconds of shots and seconds before the first one.

    The controller's own where they fit what was seen from here, else ours. Its clock may
    be wrong by any amount: only differences are used.
    """
    most_s = now_s - stay.sent_s
    there_s = stay.accepted_s if stay.there_s is None else stay.there_s
    seen_s = there_s if stay.unfinished_s is None else stay.unfinished_s
    least_s = max(0.0, seen_s - there_s)
    if job.ended_s is not None and job.started_s is not None:
        device_s = job.ended_s - job.started_s
        setup_s = 0.0 if job.created_s is None else job.started_s - job.created_s
        total_s = device_s + setup_s
        if min(device_s, setup_s) >= 0 and least_s - _SLACK_S <= total_s <= most_s + _SLACK_S:
            return device_s, setup_s
    expected_s = pace.expected_s(stay.shots)
    ours_s = max(least_s, most_s if expected_s is None else min(most_s, expected_s))
    return ours_s, 0.0


def outcome_of(
    job: Job,
    stay: Stay,
    *,
    overdue: bool,
    partial_results: bool,
    device_s: float,
    setup_s: float,
) -> ChunkOutcome:
    """The outcome of an ended job. `overdue`: we cancelled it, since it didn't end."""

    def ended(
        kind: OutcomeKind, message: str = "", counts: Mapping[str, int] | None = None
    ) -> ChunkOutcome:
        return ChunkOutcome(
            kind, counts=counts or {}, device_s=device_s, setup_s=setup_s, message=message
        )

    what = f"job {job.number}"
    if job.status is JobStatus.ERROR:
        words = f": {shortened(job.result)}" if job.result else " and doesn't say why"
        return ended(OutcomeKind.FAULT, f"the controller failed at {what}{words}")
    if job.status is JobStatus.CANCELED:
        if overdue:
            return ended(OutcomeKind.FAULT, f"{what} didn't end, and was cancelled")
        counts = _partial(job, stay, partial_results)
        return ended(OutcomeKind.STOPPED, f"{what} was cancelled", counts)
    try:
        counts = read_counts(job.result, stay.atoms)
    except NonsenseError as error:
        return ended(OutcomeKind.FAULT, f"the counts of {what} can't be used: {error}")
    if (taken := sum(counts.values())) != stay.shots:
        return ended(
            OutcomeKind.FAULT, f"{what} has the counts of {taken} shots; {stay.shots} were asked"
        )
    return ended(OutcomeKind.FINISHED, counts=counts)


def _partial(job: Job, stay: Stay, partial_results: bool) -> dict[str, int]:
    """Counts of a cancelled job, where it gives any that can be right; else none."""
    if not partial_results or job.result is None:
        return {}
    try:
        counts = read_counts(job.result, stay.atoms)
    except NonsenseError:
        return {}
    return counts if sum(counts.values()) <= stay.shots else {}
