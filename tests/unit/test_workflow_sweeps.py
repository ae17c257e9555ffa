"""The transmitters workflow: graph, register and sweep keep the device's rules."""

import importlib
import itertools
import math
import sys
import warnings
from collections import Counter, namedtuple
from pathlib import Path

import numpy as np
import pulser
import pytest
from pulser.backend import BitStrings
from pulser_simulation import QutipBackendV2, QutipConfig

sys.path.append(str(Path(__file__).parents[2] / "workflows" / "transmitters"))
transmitters = importlib.import_module("transmitters")

CASES = [("FR", 120), ("FR", 80), ("FR", 250), ("DE", 120), ("DE", 200)]
Result = namedtuple("Result", "counts qubit_ids duration_ns qpu device emulated")


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def graph(request):
    country, radius_km = request.param
    return transmitters.graph(transmitters.load(country, radius_km), radius_km)


def distances_um(graph):
    atoms = [(a["x_um"], a["y_um"]) for a in graph["airports"]]
    return {
        (a, b): math.dist(atoms[a], atoms[b])
        for a, b in itertools.combinations(range(len(atoms)), 2)
    }


def test_the_atoms_keep_the_device_s_rules(graph):
    device = pulser.AnalogDevice
    assert len(graph["airports"]) <= device.max_atom_num
    assert min(distances_um(graph).values()) >= device.min_atom_distance
    farthest = max(math.hypot(a["x_um"], a["y_um"]) for a in graph["airports"])
    assert farthest <= device.max_radial_distance


def test_the_blockade_connects_exactly_the_airports_that_disturb_each_other(graph):
    edges = {tuple(pair) for pair in graph["edges"]}
    blockade_um = (pulser.AnalogDevice.interaction_coeff / graph["rabi"]) ** (1 / 6)
    for pair, distance in distances_um(graph).items():
        a, b = (graph["airports"][i] for i in pair)
        km = math.dist((a["x_km"], a["y_km"]), (b["x_km"], b["y_km"]))
        assert (km <= graph["radius_km"]) == (pair in edges)
        assert (distance < 0.98 * blockade_um) == (pair in edges)
        assert (distance > 1.02 * blockade_um) == (pair not in edges)


def test_the_register_is_the_map_at_one_scale(graph):
    sites = graph["airports"]
    for a, b in itertools.combinations(sites, 2):
        km = math.dist((a["x_km"], a["y_km"]), (b["x_km"], b["y_km"]))
        um = math.dist((a["x_um"], a["y_um"]), (b["x_um"], b["y_um"]))
        assert um == pytest.approx(km * graph["um_per_km"], abs=2e-3)


@pytest.mark.parametrize("duration_ns", [400, 1000, 2001, 4000, 6000])
def test_every_duration_is_a_valid_program_of_the_device(graph, duration_ns):
    sequence = transmitters.adiabatic_sweep(graph, duration_ns)
    QutipBackendV2.validate_sequence(sequence, mimic_qpu=True)
    assert sequence.is_measured()
    assert sequence.get_duration() == duration_ns // 4 * 4
    assert sequence.register.qubit_ids == tuple(a["code"] for a in graph["airports"])


def test_the_same_graph_gives_the_same_program():
    texts = []
    for _ in range(2):
        made = transmitters.graph(transmitters.load("FR", 120), 120)
        texts.append(transmitters.adiabatic_sweep(made, 1000).to_abstract_repr())
    assert texts[0] == texts[1]


@pytest.mark.parametrize("duration_ns", [0, 399, 6001, 1000.5, "1000", True])
def test_a_duration_that_the_device_can_t_do_is_refused(graph, duration_ns):
    with pytest.raises(ValueError, match="from 400 to 6000"):
        transmitters.adiabatic_sweep(graph, duration_ns)


def test_a_radius_that_doesn_t_suit_the_airports_is_refused():
    airports = transmitters.load("FR", 120)
    with pytest.raises(ValueError, match="no pair"):
        transmitters.graph(airports, 10)
    with pytest.raises(ValueError, match="every pair"):
        transmitters.graph(airports, 5000)


def test_the_radius_of_the_airports_is_the_graph_s_unless_given():
    airports = transmitters.load("FR", 120)
    assert transmitters.graph(airports) == transmitters.graph(airports, 120)


def test_the_default_sweeps_find_the_optimum_by_physics():
    graph = transmitters.graph(transmitters.load("FR", 120), 120)
    results = []
    for duration_ns in (1000, 2000, 4000):
        sequence = transmitters.adiabatic_sweep(graph, duration_ns)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the emulator's own
            np.random.seed(7)
            config = QutipConfig(observables=[BitStrings(evaluation_times=[1.0], num_shots=300)])
            counts = QutipBackendV2(sequence, config=config).run().final_bitstrings
        results.append(
            Result(
                Counter(counts), sequence.register.qubit_ids, duration_ns, "q", "AnalogDevice", True
            )
        )
    best = transmitters.best_set(graph, results)
    assert best["optimal"]
    assert best["physics_found_it"]
    assert all(sweep["ratio"] >= 5 for sweep in best["sweeps"])
    assert best["sweeps"][-1]["hit_rate"] > 0.4
