"""The site file, read once at the edge; every layer is handed its own part of it."""

from __future__ import annotations

from qpu_executor.settings.policy import JobClassSettings, PolicySettings
from qpu_executor.settings.qpus import QpuSettings
from qpu_executor.settings.site import (
    ManagerSettings,
    SiteSettings,
    embedded_site,
    parse_site,
    read_site,
    state_directory,
)
from qpu_executor.settings.store import StoreSettings

__all__ = [
    "JobClassSettings",
    "ManagerSettings",
    "PolicySettings",
    "QpuSettings",
    "SiteSettings",
    "StoreSettings",
    "embedded_site",
    "parse_site",
    "read_site",
    "state_directory",
]
