"""The closed-loop workflow: its cost, its pulses, and the loop with a made-up and a real QPU."""

import importlib
import json
import math
import sys
import warnings
from collections import Counter, namedtuple
from pathlib import Path

import numpy as np
import pytest
from pulser.backend import BitStrings
from pulser_simulation import QutipBackendV2, QutipConfig

sys.path.append(str(Path(__file__).parents[2] / "workflows" / "pulse_tuning"))
pulse_tuning = importlib.import_module("pulse_tuning")
problem = importlib.import_module("pulse_tuning.problem")
pulses = importlib.import_module("pulse_tuning.pulses")

Result = namedtuple("Result", "counts qubit_ids")
GRAPH = pulse_tuning.graph(6.0)


class EmulatedQpu:
    """A session that measures on the emulator in this process, with its own seeds."""

    def __init__(self, shots=200, seed=3):
        self.shots, self.seed, self.names = shots, seed, []

    def run(self, sequence, *, name):
        self.names.append(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the emulator's own
            np.random.seed(self.seed * 1000 + len(self.names))
            config = QutipConfig(
                observables=[BitStrings(evaluation_times=[1.0], num_shots=self.shots)]
            )
            counts = QutipBackendV2(sequence, config=config).run().final_bitstrings
        return Result(Counter(counts), sequence.register.qubit_ids)


class EmptyQpu:
    """A session whose results hold no shots."""

    def run(self, sequence, *, name):
        return Result(Counter(), sequence.register.qubit_ids)


def test_neighbours_are_those_at_the_spacing():
    atoms = GRAPH["atoms"]
    near = [
        [a, b]
        for n, a in enumerate(atoms)
        for b in list(atoms)[n + 1 :]
        if math.dist(atoms[a], atoms[b]) == pytest.approx(6.0)
    ]
    assert GRAPH["edges"] == near
    assert GRAPH["optimum_size"] == 3


def test_the_cost_counts_excited_atoms_and_broken_edges():
    names = tuple(GRAPH["atoms"])
    bits = {"000000": 1, "100000": 1, "110000": 2}  # costs 0, -1 and 2 - 2 = 0
    assert problem.mean_cost(Counter(bits), names, GRAPH["edges"]) == pytest.approx(-0.25)
    with pytest.raises(ValueError, match="no shots"):
        problem.mean_cost(Counter(), names, GRAPH["edges"])


def test_only_largest_independent_sets_count_as_optimal():
    names = ("a", "b", "c")
    edges = [["a", "b"], ["b", "c"]]
    counts = Counter({"101": 3, "100": 4, "111": 1, "110": 2})
    assert problem.optimal_rate(counts, names, edges, 2) == 0.3


@pytest.mark.parametrize("spacing_um", [5.0, 6.0, 7.5])
@pytest.mark.parametrize("unit", [(0, 0, 0), (1, 1, 1), (0.9, 0.9, 0.9), (-1, 2, 0.5)])
@pytest.mark.parametrize("duration_ns", [400, 1501, 6000])
def test_every_pulse_in_the_ranges_is_a_valid_program(spacing_um, unit, duration_ns):
    sequence = pulses.sweep(pulse_tuning.graph(spacing_um), duration_ns, pulses.to_physical(unit))
    QutipBackendV2.validate_sequence(sequence, mimic_qpu=True)


@pytest.mark.parametrize("spacing_um", [4.9, 8.0])
def test_a_spacing_out_of_range_is_refused(spacing_um):
    with pytest.raises(ValueError, match="spacing_um must be from 5"):
        pulse_tuning.graph(spacing_um)


def test_the_loop_learns_and_converges():
    qpu = EmulatedQpu()
    tuned = pulse_tuning.tune(qpu, GRAPH)
    costs = [e["cost"] for e in tuned["evaluations"]]
    assert tuned["converged"]
    assert 8 <= len(costs) <= 30
    assert len(qpu.names) == len(set(qpu.names)) == len(costs)
    assert tuned["best"]["cost"] == min(costs) < costs[0] - 0.8
    assert tuned["best"]["optimal_rate"] > 5 * tuned["evaluations"][0]["optimal_rate"]


def test_the_loop_stops_at_the_evaluations_allowed_and_is_the_same_for_the_same_seed():
    tuned = pulse_tuning.tune(EmulatedQpu(), GRAPH, 1500, 8)
    assert len(tuned["evaluations"]) == 8
    assert not tuned["converged"]
    assert pulse_tuning.tune(EmulatedQpu(), GRAPH, 1500, 8) == tuned
    assert pulse_tuning.tune(EmulatedQpu(seed=4), GRAPH, 1500, 8) != tuned


def test_wrong_numbers_and_empty_results_are_refused():
    with pytest.raises(ValueError, match="max_evaluations must be"):
        pulse_tuning.tune(EmulatedQpu(), GRAPH, 1500, 3)
    with pytest.raises(ValueError, match="duration_ns must be"):
        pulse_tuning.tune(EmulatedQpu(), GRAPH, 100)
    with pytest.raises(ValueError, match="no shots"):
        pulse_tuning.tune(EmptyQpu(), GRAPH)


def test_the_report_shows_every_evaluation(tmp_path):
    evaluations = [
        {"cost": c, "optimal_rate": 0.1, "area": 9.0, "detuning_start": -9.0, "detuning_end": 9.0}
        for c in (-0.5, -1.25, -1.0)
    ]
    tuned = {
        "best": evaluations[1],
        "evaluations": evaluations,
        "converged": True,
        "duration_ns": 1500,
    }
    answer = pulse_tuning.report(GRAPH, tuned, tmp_path / "run")
    text = (tmp_path / "run" / answer["report"]).read_text(encoding="utf-8")
    assert text.count("<circle") == 3
    assert "-1.250" in text
    assert "http" not in text
    assert answer["summary"] in text
    assert json.loads(json.dumps(answer)) == answer
    assert (answer["cost"], answer["start_cost"], answer["best_possible"]) == (-1.25, -0.5, -3)
