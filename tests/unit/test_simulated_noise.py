"""Counts of a QPU that is off its settings: Pulser's physics, and misread atoms."""

from collections import Counter
from math import pi, sin, sqrt

import numpy as np
import pytest

from qpu_executor.errors import ProgramRefused
from qpu_executor.programs.devices import device_json
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.qpus.sampling import Distribution, sample
from qpu_executor.qpus.simulated_drift import Deviations
from qpu_executor.qpus.simulated_noise import NoisyShots
from qpu_executor.qpus.simulating import simulate
from qpu_executor.qpus.simulating_noise import Fluctuations, misread, simulate_noisy
from qpu_executor.testing.probe import pi_pulse
from qpu_executor.testing.sequences import line, small_sequence

DEVICE = device_json("AnalogDevice")
IDEAL = (0.0, 1.0)
STILL = Fluctuations()
THREE = Distribution(3, b"011110", np.array([0.25, 0.75]).tobytes())


def excited(deviation, fluctuations=STILL):
    found = simulate_noisy(pi_pulse(), DEVICE, 5, fluctuations, deviation)
    return found.as_dict().get("1", 0.0)


def test_without_deviations_it_is_the_ideal_device():
    program = to_program(small_sequence())
    noisy = simulate_noisy(program, DEVICE, 5, STILL, IDEAL).as_dict()
    ideal = simulate(program, DEVICE, 5).as_dict()
    assert noisy == pytest.approx(ideal, abs=1e-9)


@pytest.mark.parametrize("detuning", [-2.0, 0.5, 3.0])
@pytest.mark.parametrize("amplitude", [0.8, 1.1])
def test_a_deviation_is_in_the_pulse_as_rabi_says(detuning, amplitude):
    driven = amplitude * 2 * pi
    rabi = sqrt(driven**2 + detuning**2)
    expected = (driven / rabi) ** 2 * sin(rabi * 0.25) ** 2
    assert excited((detuning, amplitude)) == pytest.approx(expected, abs=2e-3)


def test_fluctuations_are_averaged_over_seeded_realisations():
    rough = Fluctuations(amp_sigma=0.2, realisations=6, seed=1)
    found = excited(IDEAL, rough)
    # The mean of sin^2(pi/2 * normal(1, 0.2)), and room for six draws of it.
    assert found == pytest.approx((1 + np.exp(-((0.2 * pi) ** 2) / 2)) / 2, abs=0.12)
    assert found < 0.999
    assert excited(IDEAL, rough) == found
    assert excited(IDEAL, Fluctuations(amp_sigma=0.2, realisations=6, seed=2)) != found


def test_fluctuations_leave_numpy_s_own_generator_alone():
    np.random.seed(4)
    expected = np.random.random(3)
    np.random.seed(4)
    excited(IDEAL, Fluctuations(detuning_sigma=0.5, realisations=2))
    assert np.random.random(3).tolist() == expected.tolist()


def test_programs_that_are_too_large_are_refused():
    program = to_program(small_sequence(atoms=line(6, 5.0)))
    with pytest.raises(ProgramRefused, match="6 atoms"):
        simulate_noisy(program, DEVICE, 5, STILL, IDEAL)


def test_atoms_that_are_never_misread_give_the_shots_themselves():
    shots = {"seed": 5, "first_shot": 10, "shots": 3000}
    assert misread(THREE, **shots, p_false_pos=0, p_false_neg=0) == sample(THREE, **shots)


def test_each_atom_is_misread_as_often_as_it_should_be():
    shots = 20_000
    found = misread(THREE, seed=1, first_shot=0, shots=shots, p_false_pos=0.1, p_false_neg=0.3)
    assert sum(found.values()) == shots
    for atom, ones in enumerate((0.75, 1.0, 0.25)):
        read = sum(n for bits, n in found.items() if bits[atom] == "1") / shots
        expected = ones * 0.7 + (1 - ones) * 0.1
        assert abs(read - expected) < 4 * sqrt(expected * (1 - expected) / shots)
    # Independently of each other: "001" out of either.
    expected = 0.25 * 0.9 * 0.3 * 0.7 + 0.75 * 0.3 * 0.3 * 0.1
    assert abs(found["001"] / shots - expected) < 4 * sqrt(expected / shots)


def test_misreadings_don_t_depend_on_how_the_shots_were_cut():
    wrong = {"p_false_pos": 0.1, "p_false_neg": 0.2}
    whole = misread(THREE, seed=9, first_shot=0, shots=2500, **wrong)
    parts: Counter[str] = Counter()
    for first, shots in [(0, 1), (1, 1600), (1601, 899)]:
        parts += misread(THREE, seed=9, first_shot=first, shots=shots, **wrong)
    assert parts == whole
    assert misread(THREE, seed=10, first_shot=0, shots=2500, **wrong) != whole


class Workers:
    """Runs on the spot, and counts."""

    def __init__(self):
        self.device_json = DEVICE
        self.calls = 0

    async def in_worker(self, function, *args):
        self.calls += 1
        return function(*args)


async def test_a_program_is_simulated_once_per_cell_of_drift():
    workers = Workers()
    noisy = NoisyShots(workers, STILL, max_atoms=5, cache_mb=1)
    program = pi_pulse()
    near = Deviations(0.01, 1.001, 0.02, 0.05)
    found = await noisy.prepare(program, Deviations())
    assert await noisy.prepare(program, near) is found
    assert workers.calls == 1
    await noisy.prepare(program, Deviations(detuning=0.2))
    assert workers.calls == 2
    # Within a cell, the readout is that of the moment all the same.
    counts = await noisy.draw(found, near, seed=1, first_shot=0, shots=5000)
    assert counts["0"] / 5000 == pytest.approx(0.05, abs=4 * sqrt(0.05 * 0.95 / 5000))
