"""The colours of job classes and of closed QPUs: the same in every picture of a report."""

from __future__ import annotations

from qpu_executor.simulation.calibrating import CALIBRATION
from qpu_executor.simulation.outages import MAINTENANCE, OUTAGE
from qpu_executor.simulation.results import ScenarioResult

CLOSED = {CALIBRATION: "#b9bec6", MAINTENANCE: "#848d99", OUTAGE: "#e3b1b1"}
"""Of what a span of a closed QPU is called, in the order of a legend."""

COLOURS = ("#2f6db3", "#e08a1e", "#3a9a5b", "#8a5cb8", "#c2484d", "#5f7d8c")


def class_colours(result: ScenarioResult) -> dict[str, str]:
    """Of the classes that have jobs, in the order of the site; beyond six they repeat."""
    used = {one.job_class for row in result.rows for one in row.classes}
    names = [one.name for one in result.scenario.site.classes if one.name in used]
    return {name: COLOURS[n % len(COLOURS)] for n, name in enumerate(names)}
