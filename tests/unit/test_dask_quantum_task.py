"""quantum_task without a cluster: what it refuses, how it pickles, what Dask calls it."""

import pickle
import sys
import types

import cloudpickle
import pytest
from dask.tokenize import tokenize
from dask.utils import funcname
from distributed.utils import iscoroutinefunction

from qpu_executor.dask import QuantumTask, quantum_task
from qpu_executor.dask.options import QuantumOptions
from qpu_executor.dask.registration import Offer, _known, _refuse_unknown
from qpu_executor.errors import RequestRefused
from qpu_executor.programs.program import Program


def build(value):
    """Builds."""
    return Program("test", str(value))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"shots": 0}, "shots=0"),
        ({"shots": 10**9}, "shots=1000000000"),
        ({"shots": 1, "seed": -1}, "seed=-1"),
        ({"shots": 1, "priority": 5000}, "priority=5000"),
        ({"shots": 9, "stop_when": {"min_shots": 10, "distinct": 1}}, "stop_when.min_shots"),
    ],
)
def test_impossible_values_are_refused_at_once_by_name(options, named):
    with pytest.raises(RequestRefused, match=named):
        quantum_task(build, **options)


@pytest.mark.parametrize("builder", [3, "sweep"])
def test_what_cant_be_called_is_refused(builder):
    with pytest.raises(RequestRefused, match="can't be a quantum task"):
        quantum_task(builder, shots=1)


def test_an_async_builder_is_refused():
    async def build_later():
        return Program("test", "1")

    with pytest.raises(RequestRefused, match="not async"):
        quantum_task(build_later, shots=1)


def test_as_a_decorator_it_keeps_name_and_documentation():
    @quantum_task(shots=3, job_class="development")
    def sweep(value):
        """Sweeps."""
        return build(value)

    assert isinstance(sweep, QuantumTask)
    assert (funcname(sweep), sweep.__doc__) == ("sweep", "Sweeps.")
    assert sweep.options == QuantumOptions(shots=3, job_class="development")


def test_a_quantum_task_gets_other_options_from_another_call():
    first = quantum_task(build, shots=3)
    second = quantum_task(first, shots=4)
    assert (second.builder, second.options.shots) == (build, 4)


def test_dask_awaits_it():
    assert iscoroutinefunction(quantum_task(build, shots=1))


@pytest.mark.parametrize("library", [pickle, cloudpickle])
def test_it_pickles(library):
    task = quantum_task(build, shots=3, seed=4)
    again = library.loads(library.dumps(task))
    assert (again.options, again.builder(5)) == (task.options, build(5))


def test_a_decorated_function_of_a_module_pickles_by_name():
    module = types.ModuleType("sweeps_of_a_user")
    exec(
        "from qpu_executor.dask import quantum_task\n"
        "@quantum_task(shots=3)\n"
        "def sweep(value): return value\n",
        module.__dict__,
    )
    sys.modules[module.__name__] = module
    try:
        module.sweep.__module__ = module.__name__
        assert pickle.loads(pickle.dumps(module.sweep)) is module.sweep
    finally:
        del sys.modules[module.__name__]


def test_its_token_is_new_every_time_unless_it_caches():
    once = quantum_task(build, shots=3)
    assert tokenize(once) != tokenize(once)
    cached = [quantum_task(build, shots=3, cache=True) for _ in range(2)]
    assert tokenize(cached[0]) == tokenize(cached[1])


@pytest.mark.parametrize(
    "other",
    [
        {"shots": 4},
        {"job_class": "test"},
        {"qpu": "fresnel"},
        {"seed": 1},
        {"stop_when": {"min_shots": 2, "distinct": 1}},
    ],
)
def test_with_cache_every_option_is_in_the_token(other):
    options = {"shots": 3, "cache": True}
    assert tokenize(quantum_task(build, **options)) != tokenize(
        quantum_task(build, **(options | other))
    )


def test_stopping_rule_goes_with_every_order():
    rule = {"min_shots": 2, "distinct": 1}
    options = quantum_task(build, shots=3, stop_when=rule).options
    orders = options.orders([build(1), build(2)], name="x", token="t", many=True)
    assert [order.stop_when for order in orders] == [rule, rule]


async def test_called_outside_of_dask_it_says_how_to_run_it():
    with pytest.raises(RequestRefused, match="worker only") as caught:
        await quantum_task(build, shots=1)(3)
    assert "client.submit(build" in caught.value.next_step


def test_an_unknown_qpu_is_refused_with_the_names_there_are():
    offer = Offer("http://head:8080", ("fresnel", "emulator"), ("production",), ("Fresnel",))
    assert _known(QuantumOptions(shots=1, qpu="fresnel", job_class="production"), offer)
    assert not _known(QuantumOptions(shots=1, qpu="fresnl"), offer)
    assert _known(QuantumOptions(shots=1, device="Fresnel"), offer)
    assert not _known(QuantumOptions(shots=1, device="fresnel"), offer)
    with pytest.raises(RequestRefused, match=r"no QPU 'fresnl'.*fresnel, emulator"):
        _refuse_unknown("fresnl", offer.qpus, "QPU", offer.manager, "here")
    _refuse_unknown("fresnl", None, "QPU", offer.manager, "here")
