"""Other vendors' QPUs behind QRMI against the suite that third parties run."""

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from qpu_executor.programs.program import Program
from qpu_executor.programs.vendor_programs import FELIS, IQM, QISKIT
from qpu_executor.qpus.base import QpuAdapter
from qpu_executor.qpus.qrmi_resource import build
from qpu_executor.testing.contracts.qpu import *  # noqa: F403
from qpu_executor.testing.contracts.qpu import Subject
from qpu_executor.testing.vendor_stand_in.process import StandInProcess

Wanted = tuple[Program, Program, Program, Program]
"""Two programs that run, one that is used for long orders, and one that is refused."""


def vendor(name: str, settings: dict[str, object]) -> QpuAdapter:
    return build(name, {**settings, "max_atoms": 25, "poll_s": [0.02, 0.2]})


def of_kind(kind: str, *contents: object) -> Wanted:
    one, another, long, refused = (Program(kind, json.dumps(content)) for content in contents)
    return one, another, long, refused


def make_qrmi_ibm(stand_in: StandInProcess, token_file: str) -> QpuAdapter:
    settings = {
        "resource": "ibm_stand_in",
        "type": "ibm-quantum-compute-service",
        "environment": {
            "QRMI_IBM_QCS_ENDPOINT": f"{stand_in.url}/api/v1",
            "QRMI_IBM_QCS_IAM_ENDPOINT": stand_in.url,
            "QRMI_IBM_QCS_IAM_APIKEY": "key",
            "QRMI_IBM_QCS_SERVICE_CRN": "crn",
        },
    }
    return vendor("qrmi-ibm", settings)


def for_ibm() -> Wanted:
    def program(circuit: str) -> dict[str, object]:
        return {"program_id": "sampler", "parameters": {"pubs": [[circuit]]}}

    estimator = {"program_id": "estimator", "parameters": {"pubs": [["", "", [], 0.1]]}}
    return of_kind(QISKIT, *(program(f"{gate} q[0]; c = measure q;") for gate in "xhz"), estimator)


def make_qrmi_iqm(stand_in: StandInProcess, token_file: str) -> QpuAdapter:
    settings = {
        "resource": "iqm_1",
        "type": "iqm-server",
        "environment": {"QRMI_IQM_ISA_ENDPOINT": f"{stand_in.url}/iqm"},
        "secret_files": {"QRMI_IQM_ISA_TOKEN": token_file},
    }
    return vendor("qrmi-iqm", settings)


def for_iqm() -> Wanted:
    def program(*circuits: str) -> dict[str, object]:
        request = {"circuits": [{"name": one, "instructions": []} for one in circuits]}
        return {"job_type": "circuit", "iqmjson": request}

    return of_kind(IQM, *(program(one) for one in "abc"), program("one", "another"))


def make_qrmi_felis(stand_in: StandInProcess, token_file: str) -> QpuAdapter:
    settings = {
        "resource": "ab_emu_1q_stand_in",
        "type": "alice-bob-felis",
        "environment": {
            "QRMI_AB_FELIS_BASE_ENDPOINT": f"{stand_in.url}/felis",
            "QRMI_AB_FELIS_API_KEY": b64encode(b"someone:key").decode(),
        },
    }
    return vendor("qrmi-felis", settings)


def for_felis() -> Wanted:
    def program(code: str) -> dict[str, object]:
        return {"human_qir": code, "input_params": {"averageNbPhotons": 4}}

    return of_kind(FELIS, *(program(one) for one in "abc"), {})


@pytest.fixture(
    params=[(make_qrmi_ibm, for_ibm), (make_qrmi_iqm, for_iqm), (make_qrmi_felis, for_felis)],
    ids=["qrmi-ibm", "qrmi-iqm", "qrmi-felis"],
    scope="module",
)
def make(
    request: pytest.FixtureRequest, behind_stand_in: Callable[..., Any]
) -> Iterator[Callable[[], Subject]]:
    make_qpu, wanted = request.param
    one, another, long, refused = wanted()
    with behind_stand_in(make_qpu) as subject:
        yield lambda: replace(subject(), programs=(one, another), endless=long, invalid=refused)
