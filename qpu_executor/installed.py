"""Versions of what is installed here: what must fit between client and manager."""

from __future__ import annotations

import functools
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType

DISTRIBUTIONS = (
    "qpu-executor",
    "pulser-core",
    "pulser-simulation",
    "emu-sv",
    "emu-mps",
    "qrmi",
    "pasqal-cloud",
    "parsl",
    "distributed",
)
"""What programs, results and QPUs depend on."""


@functools.cache
def versions() -> Mapping[str, str]:
    """Version by distribution, and `python`; what isn't installed is left out."""
    found = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return MappingProxyType(found)
