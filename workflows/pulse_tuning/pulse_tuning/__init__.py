"""A closed loop: find the pulse whose shots are the best independent sets.

The steps of the pipeline, in the order in which they run:

    graph    six atoms and who blocks whom
    tune     the loop: an optimiser proposes, the QPU measures
    report   a page with the way to the best pulse

All values between the steps are plain data (dicts and lists).
"""

from .page import report
from .problem import graph
from .tuning import tune

__all__ = ["graph", "report", "tune"]
