"""The baselines against figures of an independent simulator, on the same jobs.

Only a calibration that was still running when the last job ended is counted
differently: here, and in the recorded figures, up to that moment.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qpu_executor.simulation.baselines import BASELINES
from qpu_executor.simulation.metrics import Figures, figures
from qpu_executor.simulation.record import RunRecord
from qpu_executor.simulation.reference import reference_scenarios

RECORDED = json.loads((Path(__file__).parents[1] / "data/simulation_baselines.json").read_text())
ROUNDING_S = 2e-3
"""Instants here are whole microseconds, there they are not."""

CASES = [
    pytest.param(
        one["load"],
        one["seed"],
        name,
        one["policies"][name],
        id=f"{one['load']}-{one['seed']}-{name}",
    )
    for one in RECORDED
    for name in BASELINES
]


def rehearse(load: str, seed: int, policy: str) -> tuple[RunRecord, Figures]:
    (scenario,) = (one for one in reference_scenarios(3.0) if one.name == load)
    record = scenario.rehearse(BASELINES[policy], seed)
    return record, figures([record], ["production", "development"], scenario.days)


@pytest.mark.parametrize(("load", "seed", "policy", "expected"), CASES)
def test_a_baseline_agrees_with_the_independent_simulator_on_the_same_jobs(
    load: str, seed: int, policy: str, expected: dict[str, float]
) -> None:
    record, pooled = rehearse(load, seed, policy)

    assert record.makespan_s == pytest.approx(expected["makespan_s"], abs=ROUNDING_S)
    assert record.useful_s == pytest.approx(expected["useful_s"], abs=ROUNDING_S)
    assert record.overhead_s == expected["overhead_s"]
    assert record.calibrating_s == pytest.approx(expected["calibrating_s"], abs=ROUNDING_S)
    for name in ("production", "development"):
        found = pooled.of_class(name)
        assert found is not None
        mean, p95 = expected[f"{name}_delay_mean_s"], expected[f"{name}_delay_p95_s"]
        assert found.delay_s.mean == pytest.approx(mean, abs=ROUNDING_S)
        assert found.delay_s.p95 == pytest.approx(p95, abs=ROUNDING_S)


@pytest.mark.parametrize("seed", [3, 8])
def test_the_others_stretch_under_a_flood_agrees_as_well(seed: int) -> None:
    (one,) = (x for x in RECORDED if (x["load"], x["seed"]) == ("flooded", seed))

    _, pooled = rehearse("flooded", seed, "fifo-whole")

    assert pooled.others is not None
    assert pooled.heaviest is not None
    assert pooled.heaviest.accounts == "account-0"
    expected: Any = one["policies"]["fifo-whole"]["others_stretch"]
    assert pooled.others.job_stretch.mean == pytest.approx(expected, abs=1e-5)
