"""What a site file may say about a QPU of kind `qrmi`, and what the environment says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, model_validator

from qpu_executor.errors import ConfigError
from qpu_executor.qpus.job_service_settings import JobServiceSettings

Text = Annotated[str, Field(min_length=1, max_length=500)]

TYPES: Mapping[str, str] = {
    "pasqal-cloud": "PasqalCloud",
    "pasqal-local": "PasqalLocal",
    "ibm-quantum-system": "IBMQuantumSystem",
    "ibm-quantum-compute-service": "IBMQuantumComputeService",
    "qiskit-runtime-service": "IBMQiskitRuntimeService",
    "direct-access": "IBMQuantumSystem",
    "iqm-server": "IQMServer",
    "alice-bob-felis": "AliceBobFelis",
}
"""QRMI's names of resource types, as its configuration files have them (the older two
of IBM's as well), and the members of `qrmi.ResourceType` that they mean."""


class QrmiSettings(JobServiceSettings):
    """Beside the settings of any service:

    `resource`: QRMI's name of the resource (default: the QPU's own name in the site
    file). `type`: one of `TYPES`. `config_file`: QRMI's qrmi_config.json, where both are
    looked up, with the environment of the resource. `environment`: keys of the resource's
    environment, without the resource's name before them; they win. `secret_files`: the
    same, each value a file that holds it. `device`: the device that programs have to be
    built for, where the resource offers several (Pasqal): one of its own, one of Pulser's,
    or the path of a .json file. `acquire`: take a session when the QPU is opened and
    give it back when it is closed, instead of one that somebody else took.
    """

    resource: Annotated[str, Field(pattern=r"^[\w.,:-]{1,200}$")] | None = None
    type: Text | None = None
    config_file: Text | None = None
    environment: dict[str, str] = Field(default={}, repr=False)
    secret_files: dict[str, str] = {}
    device: Text | None = None
    acquire: bool = False

    @model_validator(mode="after")
    def _known_type(self) -> Self:
        if self.type is not None and self.type not in TYPES:
            raise ValueError(f"type must be one of {', '.join(TYPES)}")
        return self


def from_environment(where: str, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Resources that the job's environment names, with their types, in its order.

    QRMI_JOB_QPU_RESOURCES and QRMI_JOB_QPU_TYPES, else their older names SLURM_JOB_QPU_*;
    lists are separated by QRMI_LIST_DELIMITER (a comma, if it isn't set). Raises
    ConfigError where the two lists don't match.
    """
    separator = environment.get("QRMI_LIST_DELIMITER") or ","
    for prefix in ("QRMI_JOB_QPU", "SLURM_JOB_QPU"):
        if f"{prefix}_RESOURCES" not in environment:
            continue
        names, types = (
            [one for one in environment.get(f"{prefix}_{what}", "").split(separator) if one]
            for what in ("RESOURCES", "TYPES")
        )
        if len(names) != len(types):
            raise ConfigError(
                f"{prefix}_RESOURCES names {len(names)} resources, {prefix}_TYPES {len(types)}",
                where=where,
                expected="one type for each resource",
            )
        return dict(zip(names, types, strict=True))
    return {}
