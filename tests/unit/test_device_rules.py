import dataclasses
import json
import pickle

import pulser
import pytest
from pulser import AnalogDevice, DigitalAnalogDevice, MockDevice, Pulse
from pulser.register.register_layout import RegisterLayout

from qpu_executor.errors import ProgramError, ProgramRefused
from qpu_executor.programs.device_rules import check
from qpu_executor.programs.devices import device_json
from qpu_executor.programs.program import PULSER, Program
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.testing.sequences import line, small_sequence

ANALOG = device_json("AnalogDevice")


def refused(program, device=ANALOG, shots=None):
    with pytest.raises(ProgramRefused) as caught:
        check(program, device, shots)
    copied = pickle.loads(pickle.dumps(caught.value))
    assert (str(copied), copied.rule) == (str(caught.value), caught.value.rule)
    assert "\n" not in str(copied)
    return caught.value


def on_mock(**settings):
    """What a device that allows everything would let through."""
    return to_program(small_sequence(MockDevice, **settings))


def test_facts_of_a_program_that_is_allowed():
    sequence = small_sequence()
    facts = check(to_program(sequence), ANALOG)
    assert facts.atoms == 3
    assert facts.qubit_ids == ("a", "b", "c")
    assert facts.duration_ns == sequence.get_duration() == 200
    assert type(facts.duration_ns) is int, "a NumPy integer would reach the store as bytes"
    assert facts.layout == sequence.get_register().layout.static_hash()


def test_programs_on_the_same_layout_share_its_name():
    layout = small_sequence().get_register().layout
    other = layout.define_register(0, 1)
    sequence = pulser.Sequence(other, AnalogDevice)
    sequence.declare_channel("ising", "rydberg_global")
    sequence.add(Pulse.ConstantPulse(100, 1.0, 0.0, 0.0), "ising")
    first, second = check(to_program(small_sequence()), ANALOG), check(to_program(sequence), ANALOG)
    assert first.layout == second.layout


def test_without_a_layout_the_coordinates_name_it():
    mock = device_json("MockDevice")
    plain = check(on_mock(layout=False), mock).layout
    assert plain == check(on_mock(layout=False, amplitude=2.0), mock).layout
    assert plain != check(on_mock(layout=False, atoms=line(3)), mock).layout


def test_atoms_too_close_are_named_with_distance_and_limit():
    atoms = {"q0": (0.0, 0.0), "q1": (0.0, 9.0), "q3": (3.2, 0.0)}
    refusal = refused(on_mock(atoms=atoms, layout=False))
    assert refusal.rule == "min_atom_distance"
    assert "atoms q0 and q3 are 3.2 um apart; AnalogDevice needs at least 5 um" in str(refusal)


def test_an_atom_too_far_out_is_named_with_radius_and_limit():
    refusal = refused(on_mock(atoms={"q0": (0.0, 0.0), "far": (60.0, 0.0)}, layout=False))
    assert refusal.rule == "max_radial_distance"
    assert "atom far is 60 um away from the centre; AnalogDevice allows at most 38 um" in str(
        refusal
    )


def test_too_many_atoms_are_counted():
    small = device_json("AnalogDevice", {"max_atom_num": 2, "name": "Two"})
    refusal = refused(to_program(small_sequence()), small)
    assert refusal.rule == "max_atom_num"
    assert "3 atoms; Two takes at most 2" in str(refusal)


def test_a_register_without_the_required_layout_says_how_to_get_one():
    refusal = refused(to_program(small_sequence(layout=False)))
    assert refusal.rule == "requires_layout"
    assert "register.with_automatic_layout(device)" in str(refusal)


def test_a_layout_that_is_not_calibrated_is_refused_where_new_ones_are():
    fixed = device_json("AnalogDevice", {"accepts_new_layouts": False})
    assert refused(to_program(small_sequence()), fixed).rule == "accepts_new_layouts"


def test_traps_too_close_are_refused_although_the_atoms_are_not():
    layout = RegisterLayout([(0.0, 0.0), (5.0, 0.0), (0.0, 20.0), (20.0, 0.0)])
    sequence = pulser.Sequence(layout.define_register(0, 3), AnalogDevice)
    sequence.declare_channel("ising", "rydberg_global")
    sequence.add(Pulse.ConstantPulse(100, 1.0, 0.0, 0.0), "ising")
    wide = device_json(
        "AnalogDevice", {"min_atom_distance": 8.0, "name": "Wide", "pre_calibrated_layouts": ()}
    )
    refusal = refused(to_program(sequence), wide)
    assert refusal.rule == "min_atom_distance"
    assert "traps 0 and 2 are 5 um apart; Wide needs at least 8 um" in str(refusal)


@pytest.mark.parametrize(
    ("settings", "rule", "text"),
    [
        ({"amplitude": 20.0}, "max_amp", "an amplitude of 20 rad/us; AnalogDevice allows at most"),
        ({"detuning": -200.0}, "max_abs_detuning", "a detuning of 200 rad/us"),
    ],
)
def test_a_channel_limit_is_named_with_value_and_limit(settings, rule, text):
    relaxed = dataclasses.replace(
        AnalogDevice,
        channel_objects=(
            dataclasses.replace(
                AnalogDevice.channels["rydberg_global"], max_amp=1000.0, max_abs_detuning=1000.0
            ),
        ),
    )
    refusal = refused(to_program(small_sequence(relaxed, **settings)))
    assert refusal.rule == rule
    assert text in str(refusal)


def test_a_pulse_that_the_program_s_own_device_refuses_is_refused_too():
    found = json.loads(to_program(small_sequence()).content)
    found["operations"][0]["amplitude"]["value"] = 20.0
    assert "amplitude" in str(refused(to_program(found)))


def test_a_laxer_device_inside_the_program_is_not_believed():
    lax = dataclasses.replace(AnalogDevice, max_sequence_duration=60_000)
    program = to_program(small_sequence(lax, duration_ns=8_000))
    assert check(program, device_json("AnalogDevice", {"max_sequence_duration": 60_000}))
    refusal = refused(program)
    assert refusal.rule == "max_sequence_duration"
    assert "8000 ns" in str(refusal)
    assert "6000 ns" in str(refusal)


def test_the_fall_time_counts_into_the_duration():
    refusal = refused(to_program(small_sequence(duration_ns=6_000)))
    assert refusal.rule == "max_sequence_duration"
    assert "fall time included" in str(refusal)


def test_another_name_of_the_same_device_is_no_reason_to_refuse():
    renamed = dataclasses.replace(AnalogDevice, name="Somewhere")
    assert check(to_program(small_sequence(renamed)), ANALOG).atoms == 3


def test_another_rydberg_level_is_refused_with_both():
    refusal = refused(
        to_program(small_sequence(dataclasses.replace(AnalogDevice, rydberg_level=70)))
    )
    assert refusal.rule == "rydberg_level"
    assert "70; AnalogDevice uses 60" in str(refusal)


def test_a_channel_that_the_device_lacks_is_refused_with_what_it_has():
    sequence = small_sequence(DigitalAnalogDevice, measured=False)
    sequence.declare_channel("raman", "raman_local", initial_target="a")
    sequence.add(Pulse.ConstantPulse(100, 1.0, 0.0, 0.0), "raman")
    sequence.measure("digital")
    relaxed = device_json("AnalogDevice", {"rydberg_level": DigitalAnalogDevice.rydberg_level})
    refusal = refused(to_program(sequence), relaxed)
    assert refusal.rule == "channel"
    assert "'raman' is Raman Local digital" in str(refusal)
    assert "rydberg_global" in str(refusal)


def test_pulses_that_would_change_on_the_device_are_refused():
    # 201 ns is no multiple of the device's clock period of 4 ns.
    mock = dataclasses.replace(MockDevice, rydberg_level=AnalogDevice.rydberg_level)
    refusal = refused(to_program(small_sequence(mock, duration_ns=201)))
    assert refusal.rule == "device_match"
    assert "AnalogDevice" in str(refusal)


def test_an_empty_sequence_is_refused():
    sequence = pulser.Sequence(small_sequence().get_register(), AnalogDevice)
    sequence.declare_channel("ising", "rydberg_global")
    assert refused(to_program(sequence)).rule == "empty"


def test_json_without_a_measurement_is_measured():
    text = small_sequence(measured=False).to_abstract_repr()
    assert check(Program(PULSER, text), ANALOG).atoms == 3


def test_more_shots_than_the_device_takes_in_one_run_are_refused():
    program = to_program(small_sequence())
    assert check(program, ANALOG, 2000).atoms == 3
    refusal = refused(program, shots=2001)
    assert refusal.rule == "max_runs"
    assert "2001 shots; AnalogDevice takes at most 2000" in str(refusal)


def test_another_kind_of_program_is_refused():
    assert refused(Program("openqasm", "OPENQASM 3;")).rule == "kind"


@pytest.mark.parametrize(
    "change",
    [
        {"register": "nonsense"},
        {"device": "annotations"},
        {"operations": [{"op": "unknown"}]},
        {"channels": {"ising": "nowhere"}},
        {"version": "99"},
        {"layout": {"coordinates": [[0, 0]]}},
        {"register": []},
    ],
)
def test_a_damaged_representation_is_a_clear_error(change):
    found = json.loads(to_program(small_sequence()).content) | change
    with pytest.raises(ProgramError) as caught:
        check(Program(PULSER, json.dumps(found)), ANALOG)
    assert "\n" not in str(pickle.loads(pickle.dumps(caught.value)))
    assert len(str(caught.value)) < 600


def test_checks_are_repeatable():
    program = to_program(small_sequence())
    assert check(program, ANALOG) == check(program, ANALOG)
