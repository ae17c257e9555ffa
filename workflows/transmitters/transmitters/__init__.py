"""Which of a country's airports can share one radio frequency?

The steps of the pipeline, in the order in which they run:

    load             airports of a country, and those whose atoms fit the device
    graph            who disturbs whom, and where the atoms go
    adiabatic_sweep  the quantum program
    best_set         measured bitstrings against the exact optimum
    report           a page with the map, the chosen airports, the histograms

All values between the steps are plain data (dicts and lists), except for the
programs and the measured results.
"""

from .airports import load
from .page import report
from .scoring import best_set
from .sweeps import adiabatic_sweep
from .unit_disk import graph

__all__ = ["adiabatic_sweep", "best_set", "graph", "load", "report"]
