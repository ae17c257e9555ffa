"""A QPU or an emulator at Pasqal Cloud (kind `pasqal-cloud`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qpu_executor.qpus.adapter_settings import read_settings
from qpu_executor.qpus.job_service_qpu import JobServiceQpu
from qpu_executor.qpus.pasqal_cloud_service import PasqalCloudService
from qpu_executor.qpus.pasqal_cloud_settings import PasqalCloudSettings


def build(name: str, settings: Mapping[str, Any]) -> JobServiceQpu:
    """The entry point. Raises ConfigError for settings that it doesn't know."""
    found = read_settings(PasqalCloudSettings, name, settings)
    return JobServiceQpu(name, found, PasqalCloudService(f"QPU {name}", found))
