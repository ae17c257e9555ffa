import json
import warnings

import numpy as np
import pulser
import pytest
from pulser.backend import BitStrings

from qpu_executor.errors import ProgramRefused
from qpu_executor.programs.devices import device_json
from qpu_executor.programs.program import PULSER, Program
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.qpus.sampling import sample
from qpu_executor.qpus.simulating import simulate
from qpu_executor.testing.sequences import small_sequence

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pulser_simulation import QutipBackendV2, QutipConfig


def sampled_by_pulser(sequence, shots):
    np.random.seed(11)
    config = QutipConfig(observables=[BitStrings(evaluation_times=[1.0], num_shots=shots)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return QutipBackendV2(sequence, config=config).run().final_bitstrings


def test_the_distribution_is_that_of_pulser_s_own_sampling():
    sequence = small_sequence(duration_ns=600, detuning=3.0)
    found = simulate(to_program(sequence), device_json("AnalogDevice"), 14)
    shots = 200_000
    theirs = sampled_by_pulser(sequence, shots)
    exact = found.as_dict()
    # Asymmetric: no two single excitations are equally likely, so mixed-up bits would show.
    singles = [exact["100"], exact["010"], exact["001"]]
    assert min(abs(a - b) for a in singles for b in singles if a != b) > 0.005
    assert set(theirs) <= set(exact)
    for bits, probability in exact.items():
        sigma = (probability * (1 - probability) / shots) ** 0.5
        assert theirs[bits] / shots == pytest.approx(probability, abs=5 * sigma + 1e-6)


def test_the_distribution_is_sorted_and_normalised():
    found = simulate(to_program(small_sequence()), device_json("AnalogDevice"), 14)
    assert list(found.as_dict()) == sorted(found.as_dict())
    assert sum(found.as_dict().values()) == pytest.approx(1.0)
    assert sample(found, seed=1, first_shot=0, shots=50).total() == 50


def test_the_device_of_the_site_counts_and_not_that_in_the_program():
    found = json.loads(to_program(small_sequence(duration_ns=5000)).content)
    found["device"]["max_sequence_duration"] = 60_000
    short = device_json("AnalogDevice", {"max_sequence_duration": 1000})
    with pytest.raises(ProgramRefused, match="1000 ns"):
        simulate(Program(PULSER, json.dumps(found)), short, 14)


def test_three_levels_are_read_in_the_measured_basis():
    register = pulser.Register({"a": (0.0, 0.0), "b": (8.0, 0.0)})
    sequence = pulser.Sequence(register, pulser.MockDevice)
    sequence.declare_channel("raman", "raman_local", initial_target="a")
    sequence.declare_channel("ising", "rydberg_global")
    # A pi pulse moves atom a to the state that is read as 1.
    sequence.add(pulser.Pulse.ConstantPulse(1000, np.pi, 0.0, 0.0), "raman")
    sequence.add(pulser.Pulse.ConstantPulse(100, 0.0, 0.0, 0.0), "ising")
    sequence.measure("digital")
    found = simulate(to_program(sequence), device_json("MockDevice"), 14).as_dict()
    assert found["10"] == pytest.approx(1.0, abs=1e-3)


def test_a_state_that_is_too_large_is_refused_with_numbers():
    with pytest.raises(ProgramRefused, match=r"3 atoms with 2 levels.*2\^3.*at most 2\^2"):
        simulate(to_program(small_sequence()), device_json("AnalogDevice"), 2)
