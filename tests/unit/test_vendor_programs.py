import json
import pickle

import pytest

from qpu_executor.errors import ProgramError, ProgramRefused
from qpu_executor.programs.program import Program
from qpu_executor.programs.pulser_sequence import to_program
from qpu_executor.programs.vendor_programs import (
    FELIS,
    IQM,
    QISKIT,
    check,
    counts_in,
    said_shots,
    with_shots,
)


def sampler(*pubs, **parameters):
    content = {"program_id": "sampler", "parameters": {"pubs": list(pubs), **parameters}}
    return Program(QISKIT, json.dumps(content))


def circuits(*names, **request):
    found = {"circuits": [{"name": one} for one in names], **request}
    return Program(IQM, json.dumps({"job_type": "circuit", "iqmjson": found}))


def felis(**params):
    return Program(FELIS, json.dumps({"human_qir": "call x", "input_params": params}))


def test_the_shots_of_a_sampler_are_those_of_its_only_pub():
    found = with_shots(sampler(["qasm", [0.5]], options={"dynamical_decoupling": {}}), 40)
    assert found["parameters"] == {
        "version": 2,
        "pubs": [["qasm", [0.5], 40]],
        "options": {"dynamical_decoupling": {}},
        "support_qiskit": False,
    }


def test_a_pub_may_be_the_circuit_alone():
    assert with_shots(sampler("qasm"), 7)["parameters"]["pubs"] == [["qasm", None, 7]]


def test_the_shots_of_other_vendors_are_where_they_look_for_them():
    assert with_shots(circuits("a", calibration_set_id="c"), 9)["iqmjson"]["shots"] == 9
    assert with_shots(felis(averageNbPhotons=4), 9)["input_params"] == {
        "averageNbPhotons": 4,
        "nbShots": 9,
    }


def test_a_request_of_iqm_may_be_text_as_in_qrmi_s_payload_files():
    content = {"job_type": "circuit", "iqmjson": json.dumps({"circuits": [{}], "shots": 5})}
    program = Program(IQM, json.dumps(content))
    assert said_shots(program) == 5
    assert with_shots(program, 3)["iqmjson"] == {"circuits": [{}], "shots": 3}


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (sampler(["qasm", None, 100]), 100),
        (sampler(["qasm"], options={"default_shots": 50}), 50),
        (sampler(["qasm"]), None),
        (circuits("a", shots=8), 8),
        (circuits("a"), None),
        (felis(nbShots=6), 6),
        (felis(), None),
        (Program(QISKIT, "nothing"), None),
    ],
)
def test_the_shots_that_a_program_names(program, said):
    assert said_shots(program) == said


def test_a_program_that_names_another_number_than_its_task_is_refused():
    check(sampler(["qasm", None, 100]), 100)
    with pytest.raises(ProgramRefused, match="itself asks for 100 shots, the task for 200"):
        check(sampler(["qasm", None, 100]), 200)


@pytest.mark.parametrize(
    ("program", "rule"),
    [
        (Program(QISKIT, "{"), "format"),
        (Program(QISKIT, "[]"), "format"),
        (Program(QISKIT, "[" * 100_000), "format"),
        (Program(QISKIT, json.dumps({"program_id": "estimator"})), "counts"),
        (Program(QISKIT, json.dumps({"program_id": "sampler"})), "format"),
        (sampler(), "one_pub"),
        (sampler(["a"], ["b"]), "one_pub"),
        (sampler(["a", [[0.1], [0.2]]]), "one_pub"),
        (sampler(["a", {"x": [0.1, 0.2]}]), "one_pub"),
        (sampler(["a"], support_qiskit=True), "counts"),
        (circuits("a", "b"), "one_circuit"),
        (circuits(), "one_circuit"),
        (Program(IQM, json.dumps({"job_type": "sweep", "iqmjson": {}})), "counts"),
        (Program(IQM, json.dumps({"job_type": "circuit"})), "format"),
        (Program(IQM, json.dumps({"iqmjson": "{"})), "format"),
        (Program(FELIS, "{}"), "format"),
        (Program(FELIS, json.dumps({"human_qir": "x", "input_params": 3})), "format"),
        (Program("abacus", "{}"), "kind"),
    ],
)
def test_what_can_t_be_scheduled_is_refused_by_rule(program, rule):
    with pytest.raises(ProgramRefused) as caught:
        check(program, 10)
    assert caught.value.rule == rule
    assert pickle.loads(pickle.dumps(caught.value)).rule == rule


@pytest.mark.parametrize("program", [sampler(["qasm"]), circuits("a"), felis()])
def test_a_payload_file_of_qrmi_is_told_by_its_keys_as_text_and_as_a_dict(program):
    assert to_program(program.content) == program
    assert to_program(json.loads(program.content)).kind == program.kind


@pytest.mark.parametrize("text", ["{", "[]", '{"program_id": "sampler"}'])
def test_what_is_neither_a_sequence_nor_a_payload_file_is_refused_as_before(text):
    with pytest.raises(ProgramError, match="JSON"):
        to_program(text)


def sampled(**registers):
    data = {
        name: {"samples": samples, "num_bits": bits} for name, (bits, samples) in registers.items()
    }
    return json.dumps({"results": [{"data": data}]})


@pytest.mark.parametrize(
    ("kind", "result", "counts"),
    [
        (QISKIT, sampled(c=(3, ["0x1", "0x7", "0x1"])), {"001": 2, "111": 1}),
        (QISKIT, sampled(a=(1, ["0x1", "0x0"]), b=(2, ["0x2", "0x0"])), {"110": 1, "000": 1}),
        (
            IQM,
            json.dumps({"measurement_counts": [{"counts": {"01": 4}}], "measurements": None}),
            {"01": 4},
        ),
        (FELIS, "00,3\n11,4\n", {"00": 3, "11": 4}),
    ],
)
def test_counts_of_a_result(kind, result, counts):
    assert counts_in(kind, result) == counts


@pytest.mark.parametrize(
    ("kind", "result"),
    [
        (QISKIT, "<html>"),
        (QISKIT, json.dumps({"results": []})),
        (QISKIT, json.dumps({"results": [{"data": {}}]})),
        (QISKIT, json.dumps({"results": [{"data": {"evs": [0.5]}}]})),
        (QISKIT, sampled(a=(1, ["0x1"]), b=(1, ["0x1", "0x0"]))),
        (IQM, json.dumps({"measurement_counts": None})),
        (IQM, json.dumps({"measurement_counts": [{"counts": {"ab": 1}}]})),
        (FELIS, "memory,count\n00,1\n"),
        (FELIS, "00\n"),
        ("abacus", "{}"),
    ],
)
def test_a_result_without_counts_is_said_to_be_one(kind, result):
    with pytest.raises(ProgramRefused) as caught:
        counts_in(kind, result)
    assert caught.value.rule in ("counts", "kind")
