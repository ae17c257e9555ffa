"""Values that don't unpickle: what the guard makes of them in HTEX's result thread."""

import copyreg
import pickle
import threading

import dill
import parsl.executors.high_throughput.executor as htex
import pulser
import pytest
from parsl.app.errors import RemoteExceptionWrapper
from parsl.serialize import facade
from pulser.exceptions.sequence import DistanceError
from pulser.waveforms import InterpolatedWaveform

from qpu_executor.errors import CallerError
from qpu_executor.parsl.unreadable import RESULT_THREAD, GuardedSerializer, guard_results
from qpu_executor.programs.pulser_pickling import install_if_imported

TIMEOUT = 60


class NeedsArgumentsError(Exception):
    """Like many people's exceptions: pickles, and fails when it is read back."""

    def __init__(self, place, value):
        super().__init__(f"{value} at {place}")
        self.place = place


class Hopeless:
    """Nothing can read this back."""

    def __reduce__(self):
        return _refuse, ()


def _refuse():
    raise LookupError("not on this machine")


def read_in_result_thread(body, code=b"02"):
    """What HTEX's result thread gets for a result."""
    guard_results()
    got = []
    thread = threading.Thread(
        target=lambda: got.append(facade.deserialize(code + b"\n" + body)), name=RESULT_THREAD
    )
    thread.start()
    thread.join(TIMEOUT)
    return got[0]


def test_the_result_thread_still_has_the_name_that_the_guard_looks_for():
    import inspect

    assert f'name="{RESULT_THREAD}"' in inspect.getsource(htex)


def test_plain_values_are_read_as_ever():
    assert read_in_result_thread(dill.dumps({"a": [1, 2]})) == {"a": [1, 2]}


def test_an_interpolated_waveform_of_an_unprepared_worker_is_restored(monkeypatch):
    waveform = InterpolatedWaveform(100, [0, 1, 0])
    monkeypatch.delitem(copyreg.dispatch_table, InterpolatedWaveform, raising=False)
    body = dill.dumps({"w": waveform})
    with pytest.raises(KeyError):
        dill.loads(body)
    read = read_in_result_thread(body)["w"]
    assert type(read) is InterpolatedWaveform
    assert read == waveform


def test_exceptions_with_their_own_constructor_are_restored_with_their_fields():
    try:
        raise NeedsArgumentsError("home", 3)
    except NeedsArgumentsError as error:
        wrapper = RemoteExceptionWrapper(type(error), error, error.__traceback__)
    read = read_in_result_thread(dill.dumps(wrapper))
    with pytest.raises(NeedsArgumentsError, match="3 at home") as caught:
        read.reraise()
    assert caught.value.place == "home"


def test_what_cannot_be_read_becomes_an_error_value_that_says_what_to_do():
    read = read_in_result_thread(dill.dumps(Hopeless()))
    with pytest.raises(CallerError, match=r"not on this machine.*return plain values"):
        read.reraise()


def test_a_broken_pickle_becomes_an_error_value():
    with pytest.raises(CallerError, match="can't be read here"):
        read_in_result_thread(b"garbage").reraise()


def test_outside_of_the_result_thread_errors_are_raised_as_ever():
    guard_results()
    with pytest.raises(LookupError):
        facade.deserialize(b"02\n" + dill.dumps(Hopeless()))


def test_guarding_twice_guards_once():
    guard_results()
    guard_results()
    for serializer in [*facade.methods_for_data.values(), *facade.methods_for_code.values()]:
        assert isinstance(serializer, GuardedSerializer)
        assert not isinstance(serializer.inner, GuardedSerializer)


def test_pulser_objects_pickle_once_the_reducers_are_installed():
    install_if_imported()
    waveform = InterpolatedWaveform(100, [0, 1, 0])
    register = pulser.Register.square(2, spacing=6, prefix="q")
    sequence = pulser.Sequence(register, pulser.AnalogDevice)
    sequence.declare_channel("global", "rydberg_global")
    sequence.add(pulser.Pulse.ConstantDetuning(waveform, 0, 0), "global")
    close = pulser.Register({"q0": (0, 0), "q1": (1, 0)})
    with pytest.raises(DistanceError) as caught:
        pulser.AnalogDevice.validate_register(close)
    for module in (pickle, dill):
        assert module.loads(module.dumps(waveform)) == waveform
        again = module.loads(module.dumps(sequence))
        assert again.to_abstract_repr() == sequence.to_abstract_repr()
        error = module.loads(module.dumps(caught.value))
        assert type(error) is DistanceError
        assert str(error) == str(caught.value)
