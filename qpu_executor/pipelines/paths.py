"""How much work follows from a step on to the end of its run: what a policy may go by.

An estimate of the quantum work along the longest chain of steps, at the shot rates that the
QPUs say they have. Nobody knows how long the classical steps take, so they count nothing,
and a fan-out whose length a result decides counts as one task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qpu_executor.pipelines.plan import StepPlan


def remaining_s(
    steps: Sequence[StepPlan], rates_hz: Mapping[str, float | None]
) -> dict[str, float]:
    """Seconds from each quantum or hybrid step to the end, by the step's name.

    `steps`: each after those that it needs. `rates_hz`: shots a second by QPU; empty where
    none is known, and then nothing is.
    """
    known = [rate for rate in rates_hz.values() if rate]
    if not known:
        return {}
    after_s: dict[str, float] = {}
    found: dict[str, float] = {}
    for step in reversed(steps):
        rate_hz = rates_hz.get(step.qpu or "") or known[0]
        own_s = 0.0
        if step.kind != "call" and step.shots is not None:
            own_s = (step.task_count or 1) * step.shots / rate_hz
        total_s = own_s + after_s.get(step.name, 0.0)
        if step.kind != "call":
            found[step.name] = total_s
        for name in step.needs:
            after_s[name] = max(after_s.get(name, 0.0), total_s)
    return found
