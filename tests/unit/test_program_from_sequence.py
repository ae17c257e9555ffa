import json
import pickle
import sys

import pulser
import pytest

from qpu_executor.errors import BuilderError, ProgramError
from qpu_executor.programs.program import PULSER, Program
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.testing.sequences import small_sequence


def parametrised():
    sequence = small_sequence(measured=False)
    length = sequence.declare_variable("length", dtype=int)
    sequence.add(pulser.Pulse.ConstantPulse(length, 1.0, 0.0, 0.0), "ising")
    return sequence


def mappable():
    layout = small_sequence().get_register().layout
    sequence = pulser.Sequence(layout.make_mappable_register(2), pulser.AnalogDevice)
    sequence.declare_channel("ising", "rydberg_global")
    sequence.add(pulser.Pulse.ConstantPulse(100, 1.0, 0.0, 0.0), "ising")
    return sequence


def test_a_measured_sequence_becomes_its_abstract_representation():
    sequence = small_sequence()
    program = to_program(sequence)
    assert program.kind == PULSER
    assert json.loads(program.content) == json.loads(sequence.to_abstract_repr())


def test_equal_sequences_have_the_same_hash():
    assert to_program(small_sequence()).hash == to_program(small_sequence()).hash
    assert to_program(small_sequence()).hash != to_program(small_sequence(amplitude=4.0)).hash


def test_an_unmeasured_sequence_is_measured_in_the_copy_only():
    sequence = small_sequence(measured=False)
    program = to_program(sequence)
    assert not sequence.is_measured()
    rebuilt = pulser.Sequence.from_abstract_repr(program.content)
    assert rebuilt.get_measurement_basis() == "ground-rydberg"


def test_an_unmeasured_sequence_on_two_bases_is_refused():
    sequence = small_sequence(pulser.MockDevice, measured=False)
    sequence.declare_channel("raman", "raman_global")
    with pytest.raises(ProgramError, match=r"several bases.*sequence\.measure\(basis\)"):
        to_program(sequence)


def test_a_program_json_text_and_a_dict_are_taken_as_they_are():
    text = small_sequence().to_abstract_repr()
    program = Program("other", "whatever")
    assert to_program(program) is program
    assert to_program(text) == Program(PULSER, text)
    assert json.loads(to_program(json.loads(text)).content) == json.loads(text)


def test_variables_without_values_name_the_build_call():
    with pytest.raises(ProgramError, match=r"call sequence\.build\(length=\.\.\.\)"):
        to_program(parametrised())
    text = parametrised().to_abstract_repr(skip_validation=True)
    with pytest.raises(ProgramError, match=r"call sequence\.build\(length=\.\.\.\)"):
        to_program(text)
    assert to_program(parametrised().build(length=100)).kind == PULSER


def test_a_mappable_register_names_the_build_call():
    with pytest.raises(ProgramError, match="mappable"):
        to_program(mappable())
    with pytest.raises(ProgramError, match="mappable"):
        to_program(mappable().to_abstract_repr(skip_validation=True))


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        (None, "NoneType"),
        ([1, 2], "list"),
        (42, "int"),
        (pulser.Register({"a": (0, 0)}), "pulser.register.register.Register"),
    ],
)
def test_anything_else_is_named_with_what_was_expected(wrong, name):
    with pytest.raises(BuilderError) as caught:
        to_program(wrong)
    assert caught.value.message == f"{name} is no program"
    assert "pulser.Sequence" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1,}', "line 1 column"),
        ("[1]", "list, not an object"),
        ('{"device": {}}', "'register', 'channels', 'operations' missing"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_json_that_is_no_sequence_is_refused_with_where(text, message):
    with pytest.raises(ProgramError, match=message) as caught:
        to_program(text)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_without_pulser_json_is_taken_and_objects_name_the_extra(monkeypatch):
    text = small_sequence().to_abstract_repr()
    monkeypatch.setitem(sys.modules, "pulser", None)
    assert to_program(text).content == text
    with pytest.raises(BuilderError, match=r"pip install 'qpu-executor\[pulser\]'"):
        to_program(object())
