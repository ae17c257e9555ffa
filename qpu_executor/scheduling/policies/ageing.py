"""When a waiting task is old enough to go first. Pure."""

from __future__ import annotations

from qpu_executor.model.values import MICROSECONDS, Instant

STEPS = 100
"""Ages are looked at in steps of a hundredth of the cap: a burst of tasks comes of age together."""


def of_age_at(ready_at: Instant, age_cap_s: float) -> Instant:
    """When a task that became ready at `ready_at` has waited for the cap, or up to a step later."""
    at = ready_at + round(age_cap_s * MICROSECONDS)
    step = max(1, round(age_cap_s * MICROSECONDS / STEPS))
    return -(-at // step) * step
