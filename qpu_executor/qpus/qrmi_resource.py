"""A QPU that is a resource of QRMI (kind `qrmi`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qpu_executor.qpus.adapter_settings import read_settings
from qpu_executor.qpus.job_service_qpu import JobServiceQpu
from qpu_executor.qpus.qrmi_service import QrmiService
from qpu_executor.qpus.qrmi_settings import QrmiSettings


def build(name: str, settings: Mapping[str, Any]) -> JobServiceQpu:
    """The entry point. Raises ConfigError for settings that it doesn't know."""
    found = read_settings(QrmiSettings, name, settings)
    return JobServiceQpu(name, found, QrmiService(name, f"QPU {name}", found))
