"""The hybrid step `tune`: the loop between a classical optimiser and the QPU.

The optimiser (COBYLA: no gradients, few evaluations, not upset by shot noise)
proposes three numbers, the QPU measures the pulse they stand for, and the mean
cost of its shots goes back. One evaluation is one quantum task, and the next
can't be written before it is done: between two the QPU is free for others.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Protocol

import numpy as np
from scipy.optimize import minimize

from .problem import mean_cost, optimal_rate
from .pulses import NAMES, START, sweep, to_physical

FIRST_STEP = 0.35
LAST_STEP = 0.05
"""The optimiser has converged when it would move less than this, in units of the ranges."""


class Measured(Protocol):
    """What is needed of a quantum task's result."""

    @property
    def counts(self) -> Counter[str]:
        """How often each bitstring was measured; bit i belongs to `qubit_ids[i]`."""

    @property
    def qubit_ids(self) -> tuple[str, ...]:
        """The atoms' names."""


class Qpu(Protocol):
    """The QPU session that a hybrid step gets."""

    def run(self, sequence: Any, *, name: str) -> Measured:
        """Measure a program, with the step's shots and job class, and wait for it."""


def tune(
    qpu: Qpu, graph: dict[str, Any], duration_ns: int = 1500, max_evaluations: int = 30
) -> dict[str, Any]:
    """Find the pulse of this duration with the least mean cost.

    The way is the same whenever the QPU's answers are: nothing in it is random.

    Args:
        qpu: the session to measure with.
        graph: what the step `graph` returned.
        duration_ns: length of every pulse.
        max_evaluations: pulses to measure at most, at least 8.

    Returns:
        `best` (the evaluation with the least cost), `evaluations` in their order (each
        with its `cost`, `optimal_rate`, and the pulse's numbers), `converged` (the
        optimiser stopped by itself) and `duration_ns`.

    Raises:
        ValueError: too few evaluations, or a pulse that the device can't do.
    """
    if type(max_evaluations) is not int or max_evaluations < 8:
        raise ValueError(f"max_evaluations must be a whole number from 8, not {max_evaluations!r}")
    evaluations: list[dict[str, Any]] = []

    def cost_of(unit: np.ndarray[Any, np.dtype[np.float64]]) -> float:
        pulse = to_physical([float(x) for x in unit])
        sequence = sweep(graph, duration_ns, pulse)
        result = qpu.run(sequence, name=f"evaluation {len(evaluations) + 1}")
        cost = mean_cost(result.counts, result.qubit_ids, graph["edges"])
        rate = optimal_rate(result.counts, result.qubit_ids, graph["edges"], graph["optimum_size"])
        evaluations.append({"cost": cost, "optimal_rate": rate, **pulse})
        return cost

    outcome = minimize(
        cost_of,
        np.array(START),
        method="COBYLA",
        bounds=[(0.0, 1.0)] * len(NAMES),
        tol=LAST_STEP,
        options={"rhobeg": FIRST_STEP, "maxiter": max_evaluations},
    )
    return {
        "best": min(evaluations, key=lambda evaluation: evaluation["cost"]),
        "evaluations": evaluations,
        "converged": bool(outcome.success),
        "duration_ns": duration_ns,
    }
