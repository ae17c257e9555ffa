"""Every kind of program on every emulator: the same answer, or a refusal with what to do."""

import warnings
from collections import Counter
from math import exp, log, sqrt

import numpy as np
import pulser
import pytest

from qpu_executor.errors import ProgramRefused
from qpu_executor.programs.device_rules import on_device
from qpu_executor.programs.devices import device_json
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.qpus.emulating import draw, emulate
from qpu_executor.qpus.emulator_backends import PACKAGES, Backend, installed
from qpu_executor.qpus.emulator_choice import EmulationLimits
from qpu_executor.qpus.matrix_product import MatrixProduct
from qpu_executor.testing.sequences import small_sequence

SHOTS = 100_000
REGISTER = {"c": (9.0, 9.0), "a": (0.0, 0.0), "z": (6.0, 0.0), "b": (0.0, 8.0), "q": (-6.0, -5.0)}

pytestmark = pytest.mark.torch


def state_of(program, backend, device="AnalogDevice"):
    limits = EmulationLimits(installed(), backend, max_bond_dim=64)
    return emulate(program, device_json(device), limits)


def counts_of(program, backend, device="AnalogDevice", seed=3):
    return draw(state_of(program, backend, device), seed=seed, first_shot=0, shots=SHOTS)


def distance(one: Counter[str], other: Counter[str]) -> float:
    """Total variation distance of two samples."""
    return sum(abs(one[key] - other[key]) for key in {*one, *other}) / (2 * SHOTS)


def bound(outcomes: int, model_error: float = 0.003, chance: float = 1e-6) -> float:
    """What two samples of `SHOTS` of the same distribution exceed with this chance at most.

    Each is within sqrt(K/n)/2 of its distribution on average (Cauchy-Schwarz over the K
    outcomes) and, since one shot moves it by 1/n at most, exceeds that by t with chance
    exp(-2nt^2) (McDiarmid). `model_error`: emu-sv and emu-mps take steps of 10 ns.
    """
    spread = sqrt(log(2 / chance) / (2 * SHOTS))
    assert 2 * exp(-2 * SHOTS * spread**2) == pytest.approx(chance)
    return 2 * (sqrt(outcomes / SHOTS) / 2 + spread) + model_error


def xy_program():
    sequence = pulser.Sequence(register(), pulser.MockDevice)
    sequence.declare_channel("mw", "mw_global")
    sequence.add(pulser.Pulse.ConstantPulse(400, 7.0, 1.0, 0.3), "mw")
    sequence.measure("XY")
    return to_program(sequence)


def digital_program():
    sequence = pulser.Sequence(register(), pulser.MockDevice)
    sequence.declare_channel("raman", "raman_local", initial_target="a")
    sequence.add(pulser.Pulse.ConstantPulse(400, 7.0, 1.0, 0.3), "raman")
    sequence.measure("digital")
    return to_program(sequence)


def detuned_program():
    atoms = register()
    sequence = pulser.Sequence(atoms, pulser.MockDevice)
    sequence.config_detuning_map(atoms.define_detuning_map({"a": 1.0, "c": 0.4}), "dmm_0")
    sequence.declare_channel("ising", "rydberg_global")
    sequence.add_dmm_detuning(pulser.RampWaveform(400, 0, -6.0), "dmm_0")
    sequence.add(pulser.Pulse.ConstantPulse(400, 5.0, 1.0, 0.0), "ising", protocol="no-delay")
    sequence.measure("ground-rydberg")
    return to_program(sequence)


def register():
    return pulser.Register({"a": (0.0, 0.0), "b": (8.0, 0.0), "c": (0.0, 11.0)})


def reversed_bits(counts: Counter[str]) -> Counter[str]:
    return Counter({bits[::-1]: seen for bits, seen in counts.items()})


@pytest.mark.parametrize("backend", [Backend.EMU_SV, Backend.EMU_MPS])
def test_the_emulators_agree_and_a_reversed_bit_order_would_show(backend):
    program = to_program(small_sequence(atoms=REGISTER, duration_ns=300, detuning=3.0))
    expected = counts_of(program, Backend.QUTIP)
    found = counts_of(program, backend, seed=4)
    limit = bound(2**5)
    assert distance(found, expected) < limit
    assert distance(reversed_bits(found), expected) > 2 * limit


@pytest.mark.parametrize(
    ("make", "backend"),
    [
        (detuned_program, Backend.EMU_SV),
        (detuned_program, Backend.EMU_MPS),
        (xy_program, Backend.EMU_MPS),
    ],
)
def test_local_detuning_and_xy_agree_where_they_are_done(make, backend):
    expected = counts_of(make(), Backend.QUTIP, "MockDevice")
    found = counts_of(make(), backend, "MockDevice", seed=4)
    assert len(expected) > 3
    assert distance(found, expected) < bound(2**3)


def test_another_order_of_the_sites_leaves_the_bits_where_they_were(monkeypatch):
    import torch
    from emu_mps import optimatrix

    from qpu_executor.qpus import simulating_emu

    program = to_program(small_sequence(atoms=REGISTER, duration_ns=300, detuning=3.0))
    expected = counts_of(program, Backend.EMU_SV)
    monkeypatch.setattr(simulating_emu, "_ORDERED_ABOVE", 2)
    order = torch.tensor([3, 0, 4, 1, 2])
    monkeypatch.setattr(optimatrix, "minimize_bandwidth", lambda _: order)
    state = state_of(program, Backend.EMU_MPS)
    assert isinstance(state, MatrixProduct)
    assert list(state.bits) == order.tolist()
    found = draw(state, seed=4, first_shot=0, shots=SHOTS)
    assert distance(found, expected) < bound(2**5)


@pytest.mark.parametrize(
    ("make", "backend"),
    [
        (digital_program, Backend.EMU_SV),
        (digital_program, Backend.EMU_MPS),
        (xy_program, Backend.EMU_SV),
    ],
)
def test_what_we_refuse_the_emulator_itself_can_t_do(make, backend):
    with pytest.raises(
        ProgramRefused, match=f"{backend.value}: it does .*ground-rydberg"
    ) as caught:
        state_of(make(), backend, "MockDevice")
    assert caught.value.rule == "emulator"
    assert caught.value.next_step
    sequence = on_device(make(), device_json("MockDevice"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import emu_mps
        import emu_sv

        run = emu_sv.SVBackend if backend is Backend.EMU_SV else emu_mps.MPSBackend
        with pytest.raises((AssertionError, ValueError)):
            run(sequence).run()


def test_auto_takes_the_emulator_that_does_the_program():
    found = state_of(xy_program(), None, "MockDevice")
    assert [name for name, _ in found.versions] == [PACKAGES[Backend.QUTIP].distribution]


@pytest.mark.parametrize("backend", list(Backend))
def test_a_second_simulation_gives_the_same_shots(backend):
    program = to_program(small_sequence())
    first = draw(state_of(program, backend), seed=9, first_shot=10, shots=200)
    assert draw(state_of(program, backend), seed=9, first_shot=10, shots=200) == first


@pytest.mark.parametrize("backend", list(Backend))
def test_shots_don_t_depend_on_the_cut(backend):
    state = state_of(to_program(small_sequence()), backend)
    whole = draw(state, seed=2, first_shot=5, shots=300)
    parts = [(5, 1), (6, 100), (106, 199)]
    cut = sum((draw(state, seed=2, first_shot=a, shots=n) for a, n in parts), Counter())
    assert cut == whole
    assert len(whole) > 3


def test_a_bond_dimension_that_was_cut_is_told():
    program = to_program(small_sequence(atoms=REGISTER, duration_ns=300, amplitude=9.0))
    limits = EmulationLimits(installed(), Backend.EMU_MPS, max_bond_dim=2)
    state = emulate(program, device_json("AnalogDevice"), limits)
    assert dict(state.versions)["emu-mps bond dimension"] == "2 (bound 2, reached: cut)"


def test_one_atom_is_too_few_for_emu_mps():
    program = to_program(small_sequence(atoms={"a": (0.0, 0.0)}))
    with pytest.raises(ProgramRefused, match="emu-mps: it needs at least 2 atoms"):
        state_of(program, Backend.EMU_MPS)
    found = state_of(program, Backend.EMU_SV)
    assert np.frombuffer(found.probabilities).shape == (2,)
