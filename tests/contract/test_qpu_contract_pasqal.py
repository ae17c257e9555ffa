"""Pasqal's cloud, and QRMI's ways to Pasqal's QPUs, against the suite that third parties run."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from qpu_executor.qpus.base import QpuAdapter
from qpu_executor.qpus.pasqal_cloud import build as build_pasqal_cloud
from qpu_executor.qpus.qrmi_resource import build as build_qrmi
from qpu_executor.testing.contracts.qpu import *  # noqa: F403
from qpu_executor.testing.contracts.qpu import Subject
from qpu_executor.testing.vendor_stand_in.process import StandInProcess


def make_pasqal_cloud(stand_in: StandInProcess, token_file: str) -> QpuAdapter:
    settings = {
        "device_type": "FRESNEL",
        "project_id": "project",
        "token_file": token_file,
        "core_url": f"{stand_in.url}/core-fast",
        "max_atoms": 25,
        "poll_s": [0.02, 0.2],
    }
    return build_pasqal_cloud("cloud", settings)


def make_qrmi_cloud(stand_in: StandInProcess, token_file: str) -> QpuAdapter:
    settings = {
        "resource": "FRESNEL",
        "type": "pasqal-cloud",
        "environment": {
            "QRMI_PASQAL_CLOUD_PROJECT_ID": "project",
            "QRMI_PASQAL_CLOUD_BASE_URL": stand_in.url,
        },
        "secret_files": {"QRMI_PASQAL_CLOUD_AUTH_TOKEN": token_file},
        "max_atoms": 25,
        "poll_s": [0.02, 0.2],
    }
    return build_qrmi("qrmi-cloud", settings)


def make_qrmi_local(stand_in: StandInProcess, token_file: str) -> QpuAdapter:
    settings = {
        "type": "pasqal-local",
        "environment": {
            "QRMI_WARDEN_URL": stand_in.url,
            "QRMI_JOB_UID": "0",
            "QRMI_JOB_ID": "1",
        },
        "acquire": True,
        "max_atoms": 25,
        "poll_s": [0.02, 0.2],
    }
    return build_qrmi("qrmi-local", settings)


@pytest.fixture(
    params=[
        make_pasqal_cloud,
        make_qrmi_cloud,
        pytest.param(make_qrmi_local, marks=pytest.mark.apart),
    ],
    ids=["pasqal-cloud", "qrmi-pasqal-cloud", "qrmi-pasqal-local"],
    scope="module",
)
def make(
    request: pytest.FixtureRequest, behind_stand_in: Callable[..., Any]
) -> Iterator[Callable[[], Subject]]:
    if request.param is make_qrmi_local:
        request.getfixturevalue("munge")
    with behind_stand_in(request.param) as subject:
        yield subject
